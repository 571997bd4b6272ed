"""Documents of lm-evaluation-harness: what was asked, which choice was the answer, what was scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foretell.records.logs.lm_eval_documents import document_answers, document_scores, header_beside
from foretell.records.logs.logged_answer import LogFieldError, LoggedAnswer
from tests.records.logs.logged import DOCUMENT

CHAT = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]


def choice(*continuations: tuple[str, str, float], **fields: Any) -> dict[str, Any]:
    """Return a document with a request per prompt, continuation and log-likelihood."""
    requests = {f"gen_args_{n}": {"arg_0": one[0], "arg_1": one[1]} for n, one in enumerate(continuations)}
    responses = [[[str(likelihood), "False"]] for *_, likelihood in continuations]
    return {**DOCUMENT, "arguments": requests, "resps": responses, **fields}


def answer(record: dict[str, Any], scorer: str | None = None) -> LoggedAnswer:
    (found,) = document_answers(record, scorer=scorer)
    return found


@pytest.mark.parametrize(
    ("prompt", "messages", "beginning"),
    [
        ("Q", [{"role": "user", "content": "Q"}], ""),
        ([json.dumps(CHAT)], CHAT, ""),
        (json.dumps(CHAT), CHAT, ""),
        (CHAT, CHAT, ""),
        ([*CHAT, {"role": "assistant", "content": "So, "}], CHAT, "So, "),
        ("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nSo, ", CHAT, "So, "),
        ("[1, 2] is a list?", [{"role": "user", "content": "[1, 2] is a list?"}], ""),
        ("[]", [{"role": "user", "content": "[]"}], ""),
    ],
)
def test_a_prompt_in_every_form(prompt: Any, messages: list[Any], beginning: str) -> None:
    found = answer({**DOCUMENT, "arguments": [[prompt, {"until": []}]]})
    assert (found.messages, found.answer) == (messages, f"{beginning}A")


@pytest.mark.parametrize(
    ("record", "scorer", "prompt", "expected"),
    [
        (choice(("Q", " a", -0.9), ("Q", " b", -0.1)), None, "Q", " b"),
        (choice(("Q", " ab", -3.0), ("Q", " a long one", -4.0)), None, "Q", " ab"),
        (choice(("Q", " ab", -3.0), ("Q", " a long one", -4.0)), "acc_norm", "Q", " a long one"),
        (choice(("Q", " ab", -3.0), ("Q", " a long one", -4.0)), "acc_norm,none", "Q", " a long one"),
        (choice(("Ann ran as Ann", " fell", -2.0), ("Ann ran as Bo", " fell", -1.0)), None, "Ann ran as Bo", " fell"),
        (choice(("Q", " a", -2.0), ("Q", " b", -3.0), ("", " a", -1.0), ("", " b", -9.0)), None, "Q", " a"),
        (choice(("Q", " word", -0.2)), None, "Q", " word"),
    ],
)
def test_a_choice_is_answered_by_the_likeliest(
    record: dict[str, Any], scorer: str | None, prompt: str, expected: str
) -> None:
    found = answer(record, scorer)
    assert (found.messages[0]["content"], found.answer) == (prompt, expected)


def test_a_text_that_was_scored_as_a_whole_answers_nothing() -> None:
    record = {**DOCUMENT, "arguments": {"gen_args_0": {"arg_0": "A text."}}, "resps": [["-12.5"]]}
    with pytest.raises(LogFieldError, match="scored as a whole"):
        answer(record)


def test_category_and_repeats() -> None:
    record = {**DOCUMENT, "doc": {"Subject": "anatomy"}, "resps": [["A", "B", "A"]]}
    found = list(document_answers(record, scorer=None))
    assert [(one.id, one.group, one.stratum, one.answer) for one in found] == [
        ("3", "3", "anatomy", "A"),
        ("3-2", "3", "anatomy", "B"),
        ("3-3", "3", "anatomy", "A"),
    ]
    assert {one.unlabelled for one in found} == {"one score for 3 answers"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"exact_match": 1}),
        ({"filter": "strict"}, {"exact_match,strict": 1}),
        ({"exact_match": "0.0"}, {"exact_match": 0}),
        ({"metrics": ["a", "b"], "a": [True, False], "b": True}, {"a": None, "b": 1}),
        ({"metrics": None, "acc": 0.0}, {"exact_match": 1, "acc": 0}),
    ],
)
def test_metrics_are_named_with_their_filter(change: dict[str, Any], expected: dict[str, int | None]) -> None:
    assert {name: score.label for name, score in document_scores({**DOCUMENT, **change}).items()} == expected


def test_the_results_beside_a_log_name_its_model(tmp_path: Path) -> None:
    date = "2025-04-30T10-11-12.123456"
    log = tmp_path / f"samples_mmlu_anatomy_{date}.jsonl"
    assert (header_beside(log).task, header_beside(log).writer) == ("mmlu_anatomy", None)
    (tmp_path / f"results_{date}.json").write_text(json.dumps({"model_name": "org/m", "results": {}}))
    assert header_beside(log).writer == "org/m"
    (tmp_path / f"results_{date}.json").write_text("{")
    assert header_beside(log).writer is None
    assert header_beside(tmp_path / "own.jsonl").task is None
