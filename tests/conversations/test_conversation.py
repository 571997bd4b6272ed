"""Messages survive their table cell, and damaged cells are refused with a reason."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretell.conversations.conversation import Conversation, Message, Span, messages_from_entries, require_answers
from foretell.errors import ConversationError, InputError


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text()), min_size=1, max_size=4))
def test_messages_survive_their_table_cell(turns: list[tuple[str, str]]) -> None:
    messages = messages_from_entries([{"role": role, "content": content} for role, content in turns])
    assert Conversation.messages_from_json(Conversation("a", "b", messages).messages_json()) == messages


def test_spans_survive_their_table_cell() -> None:
    messages = (
        Message("system", "Be brief."),
        Message("user", "Add: 1 + 1", (Span(0, 4, "prompt"), Span(5, 10, "query"))),
    )
    assert Conversation.messages_from_json(Conversation("a", "b", messages).messages_json()) == messages


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"role": "user"}, "not a JSON list"),
        ("text", "not a JSON list"),
        ([3], "message 1 is not an object"),
        ([{"role": "user"}], "message 1 is not an object with role and content"),
        ([{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}], "message 2 has the role 'robot'"),
        ([{"role": ["user"], "content": "a"}], "has the role"),
        ([{"role": "user", "content": 3}], "no text"),
        ([{"role": "user", "content": "abc", "spans": "x"}], "no list"),
        ([{"role": "user", "content": "abc", "spans": [[0, 1]]}], "not [start, stop, segment]"),
        ([{"role": "user", "content": "abc", "spans": [[0, 1.5, "query"]]}], "no whole numbers"),
        ([{"role": "user", "content": "abc", "spans": [[0, 1, "generated"]]}], "'generated'"),
        ([{"role": "user", "content": "abc", "spans": [[0, 4, "query"]]}], "leaves its text"),
        ([{"role": "user", "content": "abc", "spans": [[0, 2, "query"], [1, 3, "prompt"]]}], "overlaps"),
        ([{"role": "user", "content": "abc", "spans": [[-1, 2, "query"]]}], "leaves its text"),
    ],
)
def test_damaged_messages_say_which_and_why(entries: object, message: str) -> None:
    with pytest.raises(ConversationError) as caught:
        messages_from_entries(entries)
    assert message in str(caught.value)
    with pytest.raises(ConversationError):
        Conversation.messages_from_json(json.dumps(entries))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_a_cell_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ConversationError, match="not a JSON list"):
        Conversation.messages_from_json(text)


def test_answers_are_required_of_one_at_least() -> None:
    bare = Conversation("a", "b", (Message("user", "Hi"),))
    for one in (bare, replace(bare, answer=""), replace(bare, answer="", answer_token_ids=())):
        with pytest.raises(InputError, match=r"none of the 2 conversations has an answer .*--answers generate"):
            require_answers([bare, one])
    for one in (replace(bare, answer="Hello"), replace(bare, answer_token_ids=(4,))):
        require_answers([bare, one])
