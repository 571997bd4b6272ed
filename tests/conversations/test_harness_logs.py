"""Logs of evaluation harnesses as conversations: what was asked, answered and scored, in the forms versions write."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from foretell.conversations.conversation import Conversation
from foretell.conversations.formats import read_conversations
from foretell.conversations.harness_logs import note_on_writers
from foretell.errors import ConversationError
from tests.optional import no_data
from tests.records.logs.logged import DOCUMENT

LOGS = Path(__file__).parents[3] / "shared" / "logs"
CHAT = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
SAMPLE: dict[str, Any] = {
    "id": "s",
    "epoch": 1,
    "input": "Q",
    "target": "A",
    "messages": [*CHAT, {"role": "assistant", "content": "A", "source": "generate"}],
    "output": {"choices": []},
    "scores": {"match": {"value": "C", "answer": "A"}},
}


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        DOCUMENT["arguments"],
        [["Q", {"until": ["\n"]}]],
        {"gen_args_0": {"arg_0": [json.dumps(CHAT[1:])], "arg_1": {}}},
        {"gen_args_0": {"arg_0": json.dumps(CHAT[1:]), "arg_1": {}}},
        {"gen_args_0": {"arg_0": CHAT[1:], "arg_1": {}}},
    ],
)
def test_the_prompt_of_a_document_in_every_form(arguments: Any, tmp_path: Path) -> None:
    (found,) = read_conversations(lines(tmp_path / "gsm8k.jsonl", {**DOCUMENT, "arguments": arguments}))
    assert [(message.role, message.content) for message in found.messages] == [("user", "Q")]
    assert (found.id, found.dataset, found.answer) == ("3", "gsm8k", "A")
    assert (found.behavior_label, found.label_source) == (1, "lm-eval exact_match")


def test_a_choice_is_answered_by_the_likeliest_continuation(tmp_path: Path) -> None:
    record = {
        **DOCUMENT,
        "arguments": {f"gen_args_{i}": {"arg_0": "Q", "arg_1": text} for i, text in enumerate((" a", " b", " c"))},
        "resps": [[["-0.9", "False"]], [["-0.1", "False"]], [["-10.0", "False"]]],
        "metrics": ["acc", "acc_norm"],
        "acc": "0.0",
        "acc_norm": "1.0",
    }
    (found,) = read_conversations(lines(tmp_path / "log.jsonl", record))
    assert (found.answer, found.behavior_label, found.label_source) == (" b", 0, "lm-eval acc")


def test_several_filters_count_once_and_repeats_have_no_label(tmp_path: Path) -> None:
    filters = [
        {**DOCUMENT, "filter": name, "exact_match": value} for name, value in (("strict", 0.0), ("flexible", 1.0))
    ]
    found = read_conversations(lines(tmp_path / "log.jsonl", *filters))
    assert [(one.id, one.behavior_label) for one in found] == [("3", 0)]
    assert [str(one) for one in found.skipped] == [
        "row 2, column \"filter\": scores the same answer by another filter; labels are by 'strict'"
    ]
    repeated = read_conversations(lines(tmp_path / "log.jsonl", {**DOCUMENT, "resps": [["A", "B"]]}))
    assert [(one.id, one.group, one.answer, one.behavior_label) for one in repeated] == [
        ("3", "3", "A", None),
        ("3-2", "3", "B", None),
    ]


@pytest.mark.parametrize(
    ("value", "label"),
    [("C", 1), ("I", 0), ("N", 0), (1, 1), (0.0, 0), (True, 1), ("P", None), (0.65, None), (None, None), ({}, None)],
)
def test_scores_of_samples(value: Any, label: int | None, tmp_path: Path) -> None:
    (found,) = read_conversations(lines(tmp_path / "log.jsonl", {**SAMPLE, "scores": {"match": {"value": value}}}))
    assert found.behavior_label == label
    assert (found.label_reason is None) == (label is not None)
    assert [message.content for message in found.messages] == ["S", "Q"]
    assert found.answer == "A"


@pytest.mark.parametrize("kind", ["object", "archive"])
def test_a_whole_log_with_epochs_attachments_and_parts_of_text(kind: str, tmp_path: Path) -> None:
    second = {
        **SAMPLE,
        "epoch": 2,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "attachment://abc"}]},
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": "not answered"},
        ],
        "attachments": {"abc": "long"},
    }
    path = tmp_path / "log.any"
    if kind == "object":
        path.write_text(
            json.dumps({"version": 2, "eval": {"task": "t"}, "samples": [SAMPLE, second], "reductions": [{}]})
        )
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.json", json.dumps({"eval": {"task": "t"}}))
            for sample in (second, SAMPLE):
                archive.writestr(f"samples/s_epoch_{sample['epoch']}.json", json.dumps(sample))
    one, two = read_conversations(path)
    assert (one.id, one.dataset, one.group, one.answer) == ("s", "t", "s", "A")
    assert (two.id, two.group, two.messages[0].content, two.answer) == ("s-epoch-2", "s", "long", "B")
    assert read_conversations(path, limit=1) == [one]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": None}, 'column "messages": is no list of messages'),
        ({"messages": [{"role": "user", "content": "attachment://x"}]}, "attachment x, which the log does not hold"),
        ({"messages": [*CHAT, {"role": "assistant", "content": "", "tool_calls": [{}]}]}, "message 3 has tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]}, "a content that is no text"),
    ],
)
def test_a_sample_that_cannot_be_read_is_refused_or_left_out(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = lines(tmp_path / "log.jsonl", SAMPLE, {**SAMPLE, "id": "other", **change})
    with pytest.raises(ConversationError, match=message) as refused:
        read_conversations(path)
    assert "row 2" in str(refused.value)
    found = read_conversations(path, errors="skip")
    assert ([one.id for one in found], [one.row for one in found.skipped]) == (["s"], [2])


@pytest.mark.parametrize(
    ("writers", "reader", "note"),
    [
        ((None, None), "org/small", None),
        (("hf/org/Small", "org__small", "models/small/"), "./cache/small", None),
        (("openai/big", "openai/big"), "org/small", "answers by openai/big are read by org/small: "),
        (("a/big", None, "b/huge", "a/big"), "small", "3 of 4 answers by a/big, b/huge are read by small: "),
    ],
)
def test_a_note_where_another_model_wrote_the_answers(
    writers: tuple[str | None, ...], reader: str, note: str | None
) -> None:
    given = [Conversation(str(n), "d", (), answer="a", writer=writer) for n, writer in enumerate(writers)]
    found = note_on_writers(given, reader)
    assert found is None if note is None else str(found).startswith(note)


@pytest.mark.parametrize("change", [{"arguments": {}}, {"resps": []}, {"resps": [[["a", "b"]]]}, {"arguments": [[7]]}])
def test_a_document_without_prompt_or_answer_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConversationError, match=f'row 1, column "{next(iter(change))}"'):
        read_conversations(lines(tmp_path / "log.jsonl", {**DOCUMENT, **change}))


def test_a_damaged_sample_of_an_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samples/1_epoch_1.json", json.dumps(SAMPLE))
        archive.writestr("samples/2_epoch_1.json", '{"id": ')
    with pytest.raises(ConversationError, match=r"row 2: samples/2_epoch_1.json cannot be read"):
        read_conversations(path)
    assert len(read_conversations(path, errors="skip")) == 1


@pytest.mark.parametrize(
    ("name", "count", "labels"),
    [
        ("lm_eval/lmeval__olot_gsm8k_2025-04-30.jsonl", 3, {0}),
        ("lm_eval/lmeval__own_dummy_0.4.13_multiple_choice.jsonl", 6, {0, 1}),
        ("lm_eval/lmeval__pyFade_gsm8k_2025-09-09.jsonl", 3, {0, 1}),
        ("inspect_ai/inspect__analysis_test_logs_2025-05-12T20-28-26-04-00_security-guide.json", 3, {1}),
        ("inspect_ai/inspect__analysis_test_logs_choices_mmlu-summary-choices.eval", 1, {0}),
        ("inspect_ai/inspect__every_eval_ever_data_cyse2_vuln_exploit_challenges.json", 1, {None}),
    ],
)
def test_real_logs_by_others(name: str, count: int, labels: set[int | None]) -> None:
    if not (LOGS / name).exists():
        no_data(name)
    found = read_conversations(LOGS / name)
    assert len(found) == count
    assert {one.behavior_label for one in found} == labels
    assert all(one.answer for one in found)
