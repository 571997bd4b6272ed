"""Requests: what is taken, and that everything else is refused by its place before anything is done with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foretell.conversations.conversation import Span
from foretell.jobs.reading_settings import Sampling
from foretell.serving.question import AskedAnswer, Steering, parse_question
from foretell.serving.request_bounds import MAX_ANSWERS, MAX_NEW_TOKENS, RefusedError
from tests.serving.conftest import asked


def parsed(**fields: Any) -> Any:
    return parse_question(json.dumps(asked(**fields)).encode())


def test_a_whole_request_is_taken_as_it_is() -> None:
    spans = [[0, 4, "prompt"], [6, 10, "query"]]
    question = parsed(
        id="c1",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Née ✓ Why?"[:10], "spans": spans},
        ],
        answers=[{"title": "a", "text": "Yes.", "token_ids": [5, 6]}, {}],
        direction="direction-1",
        monitor="monitor-1",
        sampling={"max_new_tokens": 3, "temperature": 0.5, "top_p": 0.9, "seed": 4},
        steering={"dose": -2.5, "layers": [1, 2]},
    )
    assert [message.role for message in question.messages] == ["system", "user"]
    assert question.messages[1].spans == (Span(0, 4, "prompt"), Span(6, 10, "query"))
    assert question.answers == (AskedAnswer("a", "Yes.", (5, 6)), AskedAnswer("written 2", None, None))
    assert (question.conversation.id, question.direction, question.monitor) == ("c1", "direction-1", "monitor-1")
    assert question.sampling == Sampling(3, 0.5, 0.9, 4)
    assert question.steering == Steering(-2.5, 1, 2)


def test_what_is_left_out_has_a_default() -> None:
    question = parse_question(json.dumps(asked(sampling=None)).encode())
    assert (question.direction, question.monitor, question.steering) == (None, None, None)
    assert question.sampling == Sampling()
    assert question.conversation.id == "asked"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[1, 2", b"nul", b'{"model": NaN}', b'{"a": 1e', b"[" * 100_000, b'"' + b"a" * 10],
    ids=range(9),
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError, match="is no JSON") as refused:
        parse_question(body)
    assert refused.value.status == 400


@pytest.mark.parametrize("body", [b"null", b"[]", b"3", b'"text"', b"true"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError, match="a JSON object is needed") as refused:
        parse_question(body)
    assert refused.value.status == 422


USER = {"role": "user", "content": "Hi"}
GIVEN: dict[str, Any] = {"text": "Yes."}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "model: is missing"),
        ({"model": 3}, "model: a text"),
        ({"model": "a" * 201}, "more than 200"),
        ({"path": "/etc/passwd"}, "'path' is no field"),
        ({"messages": None}, "messages: is missing"),
        ({"messages": "Hi"}, "messages are not a JSON list"),
        ({"messages": []}, "nothing to answer"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "nothing to answer"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "nothing to answer"),
        ({"messages": [{"role": "root", "content": "Hi"}]}, "has the role 'root'"),
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, "has the role"),
        ({"messages": [{"role": "user", "content": 3}]}, "content that is no text"),
        ({"messages": [{**USER, "spans": [[0, 3, "query"]]}]}, "leaves its text"),
        ({"messages": [{**USER, "spans": [[0, 1, "generated"]]}]}, "has a span of"),
        ({"messages": [{**USER, "spans": [[0, 1, {}]]}]}, "has a span of"),
        ({"messages": [{**USER, "spans": 7}]}, "spans that are no list"),
        ({"messages": [{"role": "user", "content": "a\ud800"}]}, "half a character"),
        ({"answers": None}, "answers: is missing"),
        ({"answers": []}, "a list of 1 to"),
        ({"answers": [{}] * (MAX_ANSWERS + 1)}, "a list of 1 to"),
        ({"answers": {"a": 1}}, "a list of 1 to"),
        ({"answers": [3]}, "answer 1: : a JSON object|answer 1"),
        ({"answers": [{"text": ""}]}, "answer 1: is empty"),
        ({"answers": [{}, {"text": 3}]}, "answer 2: text: a text"),
        ({"answers": [{"text": "\udfff"}]}, "half a character"),
        ({"answers": [{"title": "t" * 81}]}, "more than 80"),
        ({"answers": [{"token_ids": [1]}]}, "need the text"),
        ({"answers": [{**GIVEN, "token_ids": []}]}, "no list of token ids"),
        ({"answers": [{**GIVEN, "token_ids": [-1]}]}, "no list of token ids"),
        ({"answers": [{**GIVEN, "token_ids": [True]}]}, "no list of token ids"),
        ({"answers": [{**GIVEN, "token_ids": [2**31]}]}, "no list of token ids"),
        ({"direction": 1}, "direction: a text"),
        ({"monitor": []}, "monitor: a text"),
        ({"sampling": []}, "sampling: : a JSON object|sampling"),
        ({"sampling": {"max_new_tokens": 0}}, "max_new_tokens: a whole number from 1"),
        ({"sampling": {"max_new_tokens": MAX_NEW_TOKENS + 1}}, "max_new_tokens: a whole number"),
        ({"sampling": {"max_new_tokens": 2.0}}, "max_new_tokens: a whole number"),
        ({"sampling": {"max_new_tokens": True}}, "max_new_tokens: a whole number"),
        ({"sampling": {"temperature": -0.1}}, "temperature: a number from 0"),
        ({"sampling": {"temperature": "hot"}}, "temperature: a number from 0"),
        ({"sampling": {"top_p": 0}}, "top_p: a number"),
        ({"sampling": {"seed": -1}}, "seed: a whole number"),
        ({"sampling": {"seed": 2**53}}, "seed: a whole number"),
        ({"sampling": {"beams": 4}}, "'beams' is no field"),
        ({"steering": {"dose": 1, "layers": [0, 1]}}, "name the direction"),
        ({"direction": "d", "steering": {"dose": 1}}, "layers: is missing"),
        ({"direction": "d", "steering": {"dose": 1, "layers": [1]}}, "first, last"),
        ({"direction": "d", "steering": {"dose": 1, "layers": [2, 1]}}, "first, last"),
        ({"direction": "d", "steering": {"dose": 1, "layers": ["0", "1"]}}, "first, last"),
        ({"direction": "d", "steering": {"dose": 1e9, "layers": [0, 1]}}, "dose: a number from -100"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        parsed(**fields)
    assert refused.value.status == 422


def test_a_number_beyond_all_floats_is_refused() -> None:
    body = json.dumps(asked()).replace('"max_new_tokens": 8', '"temperature": 1e999').encode()
    with pytest.raises(RefusedError, match="temperature"):
        parse_question(body)
