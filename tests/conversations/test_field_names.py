"""Text under other names is read, or refused by its name; never left out in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foretell.conversations.conversation import Conversation
from foretell.conversations.formats import read_conversations
from foretell.errors import ConversationError


def read(folder: Path, *records: dict[str, Any], **options: Any) -> list[Conversation]:
    path = folder / "records.json"
    path.write_text(json.dumps(list(records)), encoding="utf-8")
    return read_conversations(path, **options)


def turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages]


QUESTION = "When was it built?"
FACT = "The tower was built in 1902."


@pytest.mark.parametrize(
    ("record", "expected", "answer"),
    [
        ({"instruction": QUESTION, "context": FACT, "response": "In 1902."}, [f"{QUESTION}\n\n{FACT}"], "In 1902."),
        ({"instruction": QUESTION, "input": "it", "context": FACT, "output": "x"}, [f"{QUESTION}\n\n{FACT}\n\nit"],
         "x"),
        ({"prompt": QUESTION, "completion": "In 1902."}, [QUESTION], "In 1902."),
        ({"Instruction": QUESTION, "Input": "", "Output": "x"}, [QUESTION], "x"),
        ({"inputs": QUESTION, "targets": "x"}, [QUESTION], "x"),
        ({"input": QUESTION, "output": "x"}, [QUESTION], "x"),
        ({"query": QUESTION, "context": FACT, "reply": "x"}, [f"{FACT}\n\n{QUESTION}"], "x"),
        ({"instruction": "Answer.", "question": QUESTION, "context": FACT, "answer": "x"},
         [f"Answer.\n\n{FACT}\n\n{QUESTION}"], "x"),
        ({"instruction": "And now?", "history": [["a", "b"]], "output": "x"}, ["a", "b", "And now?"], "x"),
        ({"query": "And now?", "history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
         ["a", "b", "And now?"], None),
        ({"query": QUESTION, "system_prompt": "Be brief."}, ["Be brief.", QUESTION], None),
        ({"system": "Be brief.", "messages": [{"role": "user", "content": QUESTION}]}, ["Be brief.", QUESTION], None),
        ({"messages": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": "x"}]}, [QUESTION], "x"),
        ({"prompt": QUESTION, "messages": [{"role": "user", "content": QUESTION}]}, [QUESTION], None),
        ({"user_query": QUESTION, "chatgpt_response": "x", "hallucination": "no"}, [QUESTION], "x"),
        ({"instruction": QUESTION, "output": "x", "response": "x"}, [QUESTION], "x"),
        ({"instruction": QUESTION, "output": "", "response": "x"}, [QUESTION], "x"),
        ({"instruction": QUESTION, "output": "x", "context": None, "history": []}, [QUESTION], "x"),
    ],
)  # fmt: skip
def test_other_known_names_are_read(
    record: dict[str, Any], expected: list[str], answer: str | None, tmp_path: Path
) -> None:
    (found,) = read(tmp_path, record)
    assert [content for _, content in turns(found)] == expected
    assert found.answer == answer


@pytest.mark.parametrize("value", ["<noinput>", "<no input>", "No input", "noinput.", "N/A", "nan", "None", " ", None])
@pytest.mark.parametrize("field", ["input", "context", "system", "history"])
def test_placeholders_are_no_text(value: str | None, field: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"instruction": "Write a poem.", field: value, "output": "Rain."})
    assert (turns(found), found.answer) == ([("user", "Write a poem.")], "Rain.")


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"instruction": "Choose.", "choices": ["a", "b"], "output": "a"}, "choices"),
        ({"instruction": "Choose.", "options": "a, b", "output": "a"}, "options"),
        ({"query": "Is it?", "hypothesis": "It is."}, "hypothesis"),
        ({"query": "Is it?", "remarks": "read this before you answer"}, "remarks"),
        ({"query": "Is it?", "rationale": "It must be."}, "rationale"),
        ({"query": "Is it?", "instruction": "Say yes.", "prompt": "Be kind."}, "instruction"),
        ({"question": "Q?", "answer": "A.", "input": "more to read here"}, "input"),
        ({"messages": [{"role": "user", "content": "Q"}], "context": "The tower."}, "context"),
        ({"messages": [{"role": "user", "content": "Q"}], "tools": [{"name": "search"}]}, "tools"),
        ({"conversations": [{"from": "human", "value": "Q"}], "history": [["a", "b"]]}, "history"),
        ({"query": "Now?", "history": [["a"]]}, "history"),
        ({"instruction": "Add.", "output": "2", "response": "3"}, "response"),
        ({"system": "A", "messages": [{"role": "system", "content": "B"}, {"role": "user", "content": "Q"}]}, "system"),
    ],
)
def test_text_under_another_name_is_refused_by_that_name(record: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(ConversationError, match=f'row 1, column "{field}"'):
        read(tmp_path, record)


def test_fields_about_a_record_are_left_out_and_others_when_asked_for(tmp_path: Path) -> None:
    about = {
        "category": "open question",
        "source": "a very long title",
        "prompt_id": "p 1 of 2",
        "n_turns": 3,
        "url": "x",
    }
    (found,) = read(tmp_path, {"query": "Q", "answer": "A", **about})
    assert turns(found) == [("user", "Q")]
    (found,) = read(tmp_path, {"query": "Q", "choices": ["a"]}, ignore=["choices"])
    assert turns(found) == [("user", "Q")]


def test_instances_are_conversations_of_one_group(tmp_path: Path) -> None:
    shared = {"id": "task", "instruction": "Add."}
    (one,) = read(tmp_path, {**shared, "instances": [{"input": "1 + 1", "output": "2"}]})
    assert (one.id, turns(one), one.answer) == ("task", [("user", "Add.\n\n1 + 1")], "2")
    two = read(
        tmp_path, {**shared, "instances": [{"input": "1 + 1", "output": "2"}, {"input": "<noinput>", "output": "3"}]}
    )
    assert [(found.id, found.group, found.answer) for found in two] == [
        ("task-1", "task", "2"),
        ("task-2", "task", "3"),
    ]
    with pytest.raises(ConversationError, match='column "instances"'):
        read(tmp_path, {**shared, "instances": ["a"]})


def test_one_malformed_record_of_many_is_refused_or_left_out(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"instruction": f"Say {number}.", "output": "x"} for number in range(500)]
    records[77] = {"instruction": 3, "output": "x"}
    records[90] = {"instruction": "Say it.", "output": "x", "choices": ["a"]}
    with pytest.raises(ConversationError, match='row 78, column "instruction"'):
        read(tmp_path, *records)
    found = read_conversations(tmp_path / "records.json", errors="skip")
    assert len(found) == 498
    assert [(one.row, one.column) for one in found.skipped] == [(78, "instruction"), (91, "choices")]
    assert str(found.skipped[0]).startswith('row 78, column "instruction": is a int')
