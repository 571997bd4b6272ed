"""Samples of inspect_ai in the forms of many versions: which turn is the answer, and when no score counts."""

from __future__ import annotations

from typing import Any

import pytest

from foretell.records.logs.inspect_samples import header_of, sample_answer
from foretell.records.logs.logged_answer import LogFieldError
from tests.records.logs.logged import SAMPLE, with_score

ASKED, ANSWERED = SAMPLE["messages"][:2], SAMPLE["messages"][2]
EXAMPLE = {"role": "assistant", "content": "an example", "source": "input"}


def texts(sample: dict[str, Any]) -> list[str]:
    return [message["content"] for message in sample_answer(sample).messages]


@pytest.mark.parametrize(
    ("messages", "asked", "answer"),
    [
        ([*ASKED, ANSWERED], ["S", "Q"], "A"),
        ([*ASKED, ANSWERED, {"role": "user", "content": "not answered"}], ["S", "Q"], "A"),
        ([*ASKED, ANSWERED, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "B"}],
         ["S", "Q", "A", "Sure?"], "B"),
        ([ASKED[0], ASKED[1], EXAMPLE, ASKED[1]], ["S", "Q", "an example", "Q"], None),
        ([ASKED[0], ASKED[1], EXAMPLE, ASKED[1], ANSWERED], ["S", "Q", "an example", "Q"], "A"),
        ([*ASKED, {"role": "assistant", "content": ""}], ["S", "Q"], ""),
        ([], ["Q"], None),
    ],
)  # fmt: skip
def test_the_answer_is_the_last_turn_that_was_not_asked(
    messages: list[Any], asked: list[str], answer: str | None
) -> None:
    sample = {**SAMPLE, "messages": messages}
    assert (texts(sample), sample_answer(sample).answer) == (asked, answer)


def test_a_sample_that_failed_before_its_messages_has_those_of_its_input() -> None:
    sample = {**SAMPLE, "messages": [], "input": ASKED}
    assert texts(sample) == ["S", "Q"]


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}], "AB"),
        ([{"type": "reasoning", "reasoning": "Hm.\n"}, {"type": "text", "text": "A"}], "<think>\nHm.\n</think>\n\nA"),
        ([{"type": "reasoning", "reasoning": "x7f", "redacted": True}, {"type": "text", "text": "A"}], "A"),
        ([{"type": "reasoning", "reasoning": "attachment://k"}, {"type": "text", "text": "tc://k"}],
         "<think>\nlong\n</think>\n\nlong"),
        ("attachment://k", "long"),
    ],
)  # fmt: skip
def test_parts_of_an_answer_are_one_text(content: Any, answer: str) -> None:
    turn = {**ANSWERED, "content": content}
    sample = {**SAMPLE, "messages": [*ASKED, turn], "attachments": {"k": "long"}}
    assert sample_answer(sample).answer == answer


def test_earlier_reasoning_is_left_out_as_templates_do() -> None:
    earlier = {**ANSWERED, "content": [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "A"}]}
    sample = {**SAMPLE, "messages": [*ASKED, earlier, ASKED[1], ANSWERED]}
    assert texts(sample) == ["S", "Q", "A", "Q"]


def test_the_oldest_logs_keep_long_texts_with_their_events_and_have_one_score() -> None:
    sample = {
        **{key: value for key, value in SAMPLE.items() if key != "scores"},
        "messages": [{"role": "user", "content": "tc://k"}, ANSWERED],
        "transcript": {"events": [], "content": {"k": "long"}},
        "score": {"value": "I"},
    }
    found = sample_answer(sample)
    assert (found.messages[0]["content"], found.scores["score"].label) == ("long", 0)


@pytest.mark.parametrize(
    "pool", [{"message_pool": SAMPLE["messages"]}, {"events_data": {"messages": SAMPLE["messages"]}}]
)
def test_messages_that_are_stored_once_are_put_in_their_places(pool: dict[str, Any]) -> None:
    shell = {key: value for key, value in SAMPLE.items() if key != "messages"}
    found = sample_answer({**shell, **pool, "message_refs": [[1, 2], [2, 3]]})
    assert ([one["content"] for one in found.messages], found.answer) == (["Q"], "A")
    with pytest.raises(LogFieldError, match="refers to messages that the log does not hold"):
        sample_answer({**shell, **pool, "message_refs": [[1, 9]]})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"error": {"message": "timed out", "traceback": ""}}, "the sample failed: timed out"),
        ({"error": "timed out"}, "the sample failed: timed out"),
        ({"invalidation": {"author": "me"}}, "the sample was declared invalid"),
        ({"scores": None}, "the sample was not scored: no score is 0 or 1 (there are none)"),
        ({"scores": {}}, "the sample was not scored: no score is 0 or 1 (there are none)"),
        ({"limit": {"type": "token", "limit": 10}}, None),
        ({}, None),
    ],
)
def test_why_no_score_of_a_sample_counts(change: dict[str, Any], reason: str | None) -> None:
    assert sample_answer({**with_score("I"), **change}).unlabelled == reason


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ({"task": "t", "model": "org/m"}, ("t", "org/m", None)),
        ({"task": "t", "model": "none/none", "headline_metric": {"scorer": "j", "score": "wit"}}, ("t", None, "j.wit")),
        ({"task": "t", "headline_metric": {"scorer": "m", "score": "m"}}, ("t", None, "m")),
        (None, (None, None, None)),
    ],
)
def test_what_a_header_says(evaluation: Any, expected: tuple[str | None, ...]) -> None:
    found = header_of({"eval": evaluation})
    assert (found.task, found.writer, found.headline) == expected


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"content": "", "tool_calls": [{}]}, "message 3 has tool_calls"),
        ({"content": [{"type": "image", "image": "x"}]}, "message 3 has a content that is no text"),
        ({"content": None}, "message 3 has a content that is no text"),
    ],
)
def test_an_answer_that_is_no_text_is_refused(last: dict[str, Any], message: str) -> None:
    with pytest.raises(LogFieldError, match=message):
        sample_answer({**SAMPLE, "messages": [*ASKED, {"role": "assistant", **last}]})
