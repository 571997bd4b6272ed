"""Files of four shapes in five containers, and every way in which one can be wrong."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretell.conversations.conversation import Conversation, Message, Span
from foretell.conversations.formats import Format, as_conversations, read_conversations
from foretell.errors import ConversationError
from foretell.records.cells import label_of
from tests.optional import no_data

DATA = Path(__file__).parents[3] / "shared" / "data"
EXTRA = {"id": "x", "dataset": "mine", "group": "g", "stratum": "s", "behavior": "added", "behavior_label": "yes"}
VERIFIER = {"name": "max_words", "count": 3}
SHAPES: dict[str, dict[str, Any]] = {
    "own": {"prompt": "Add.", "query": "1 + 1", "answer": "2"},
    "alpaca": {"instruction": "Add.", "input": "1 + 1", "output": "2"},
    "flan": {"instruction": "Add.", "question": "1 + 1", "answer": "2"},
}


def _write(path: Path, container: str, records: list[dict[str, Any]]) -> Path:
    if container == "json":
        path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    elif container == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    elif container == "parquet":
        pl.DataFrame(records).write_parquet(path)
    else:
        flat = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in record.items()} for record in records]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(flat[0]), delimiter="\t" if container == "tsv" else ",")
        writer.writeheader()
        writer.writerows(flat)
        path.write_text(text.getvalue(), encoding="utf-8")
    return path


@pytest.mark.parametrize("container", ["json", "jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("shape", ["own", "alpaca", "flan", "sharegpt"])
def test_every_shape_in_every_container_carries_everything(tmp_path: Path, shape: str, container: str) -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "1 + 1"}]
    fields = SHAPES.get(shape) or {"conversations": [*turns, {"from": "gpt", "value": "2"}]}
    path = _write(tmp_path / "odd.name", container, [{**fields, **EXTRA, "verifier": VERIFIER}])
    (conversation,) = read_conversations(path)
    if shape == "sharegpt":
        messages: tuple[Message, ...] = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "1 + 1"))
    else:
        messages = (Message("user", "Add.\n\n1 + 1", (Span(0, 4, "prompt"), Span(6, 11, "query"))),)
    assert conversation == Conversation(
        "x", "mine", messages, "2", "g", "s", VERIFIER, behavior_label=1, label_source="file", behaviour="added"
    )


def test_messages_as_list_and_as_json_text_are_the_same(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q", "spans": [[0, 1, "query"]]}]
    listed = read_conversations(_write(tmp_path / "a.jsonl", "jsonl", [{"messages": messages}]), dataset="d")
    for container in ("csv", "jsonl", "parquet"):
        path = _write(tmp_path / f"b.{container}", container, [{"messages": json.dumps(messages)}])
        assert read_conversations(path, dataset="d") == listed
    assert listed[0].id == "d-1"


def test_a_last_assistant_message_is_the_given_answer(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    (conversation,) = read_conversations(_write(tmp_path / "a.json", "json", [{"messages": messages}]))
    assert (conversation.messages, conversation.answer) == ((Message("user", "Q"),), "A")


def test_system_and_lone_parts_and_empty_answers(tmp_path: Path) -> None:
    records = [{"system": "S", "query": "Q", "answer": ""}, {"prompt": "P"}, {"instruction": "I", "query": "Q"}]
    first, second, third = read_conversations(_write(tmp_path / "mine.json", "json", records))
    assert first.messages == (Message("system", "S"), Message("user", "Q"))
    assert first.answer == ""
    assert second.messages == (Message("user", "P"),)
    assert second.answer is None
    assert (second.id, second.dataset, second.group) == ("mine-2", "mine", None)
    assert third.messages == (Message("user", "I\n\nQ", (Span(0, 1, "prompt"), Span(3, 4, "query"))),)


def test_alpaca_without_input_and_output(tmp_path: Path) -> None:
    records = [{"instruction": "Name a tree.", "input": "", "output": ""}]
    (conversation,) = read_conversations(_write(tmp_path / "a.json", "json", records))
    assert conversation == Conversation("alpaca-1", "alpaca", (Message("user", "Name a tree."),))


def test_flan_without_header_keeps_quotes_and_opens_new_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(
        'Is "it", or, well, not, it?\\nOptions:\\n- yes\tyes\t"It" is.\n"What" is it?\tno\tIt is not.\n',
        encoding="utf-8",
    )
    first, second = read_conversations(path)
    assert first.messages[0].content.endswith('Is "it", or, well, not, it?\nOptions:\n- yes')
    assert first.answer == '"It" is. The answer is yes.'
    assert [span.segment for span in second.messages[0].spans] == ["prompt", "query"]
    assert "step by step" in second.messages[0].content


def test_byte_order_mark_line_ends_and_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffquery,answer\r\n"a, ""b""",\r\n\r\n"c\nd",e\r\n'.encode())
    first, second = read_conversations(path)
    assert (first.messages[0].content, first.answer) == ('a, "b"', None)
    assert (second.messages[0].content, second.answer) == ("c\nd", "e")
    assert read_conversations(path, limit=1) == [first]


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        (b"", "auto", "is empty"),
        (b" \n ", "auto", "is empty"),
        (b"\xff\xfea\x00", "auto", "UTF-16"),
        (b"query\na\x00b\n", "auto", "line 2 holds a null byte"),
        (b"query\nok\n\xe9t\xe9\n", "auto", "row 2: cannot be read as CSV: not UTF-8 text"),
        (b"PAR1nothing", "auto", "damaged Parquet"),
        (b"[]", "auto", "empty list"),
        (b"[1]", "auto", "row 1: is a int, not an object"),
        (b"[{]", "auto", "is no JSON"),
        (b"[" * 200_000, "auto", "nested too deeply"),
        (b'{\n"a": 1\n}', "auto", "unknown shape with the fields a: expected messages"),
        (b"{\n'a': 1\n}", "auto", "a JSON list, or one object per line"),
        (b'{"query": "a"}\nnonsense', "auto", "row 2: is no JSON object"),
        (b'[{"text": "a"}]', "auto", "unknown shape with the fields text: expected messages"),
        (b"text\na\n", "auto", "unknown shape"),
        (b"query\n", "auto", "no rows"),
        (b"query,answer\na\n", "auto", "row 1: cannot be read as CSV: 1 cells where the header has 2"),
        (b"query,query\na,b\n", "auto", "same name: query"),
        (b'query\n"a\n', "auto", "row 1: "),
        (b"a\tb\tc\td\n", "auto", "no header line, and 4 columns"),
        (b'[{"query": ""}]', "auto", 'row 1, column "query": is missing or empty'),
        (b'[{"query": 3}]', "auto", 'column "query": is a int, not a text'),
        (b'[{"query": "\\ud800"}]', "auto", "half a character"),
        (
            b'[{"query": "a", "id": 1}, {"query": "b", "id": "1"}]',
            "auto",
            "row 2, column \"id\": '1' is the id of row 1",
        ),
        (b'[{"query": "a", "id": 1.5}]', "auto", 'column "id"'),
        (b'[{"query": "a", "behavior_label": 2}]', "auto", "column \"behavior_label\": '2' is no label"),
        (b'[{"query": "a", "behavior_label": "maybe"}]', "auto", "is no label: use 0 or 1"),
        (b'[{"query": "a", "verifier": "max_words"}]', "auto", 'column "verifier": is no JSON'),
        (b'[{"query": "a", "verifier": [1]}]', "auto", 'column "verifier": is no object'),
        (b'[{"messages": []}]', "auto", "no user or tool turn"),
        (b'[{"messages": [{"role": "x", "content": ""}]}]', "auto", 'column "messages": message 1 has the role'),
        (b'[{"messages": [], "query": "a"}]', "auto", "stands beside messages"),
        (b'[{"instruction": "", "input": "a"}]', "auto", 'column "instruction"'),
        (b'[{"question": null}]', "auto", 'column "question"'),
        (b'[{"conversations": []}]', "auto", "no user or tool turn"),
        (b'[{"conversations": 3}]', "auto", "no list of turns"),
        (b'[{"conversations": [3]}]', "auto", "turn 1 is no object"),
        (b'[{"conversations": [{"from": "dog", "value": "a"}]}]', "auto", "turn 1 is from 'dog'"),
        (b'[{"conversations": [{"from": "human", "value": null}]}]', "auto", "turn 1 has a value that is no text"),
        (b'[{"conversations": [{"from": "gpt", "value": "a"}]}]', "auto", "no user or tool turn"),
        (b'[{"query": "a"}]', "csv", "was to be read as csv but is json"),
        (b'[{"query": "a"}]', "alpaca", "none of its fields; it looks like own"),
        (b'{"text": "a"}', "jsonl", "none of its fields; expected messages"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_place(
    tmp_path: Path, content: bytes, format: Format, message: str
) -> None:
    path = tmp_path / "wrong.file"
    path.write_bytes(content)
    with pytest.raises(ConversationError) as caught:
        read_conversations(path, format=format)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(ConversationError, match="no such file"):
        read_conversations(tmp_path / "none.json")
    with pytest.raises(ConversationError, match="cannot be read"):
        read_conversations(tmp_path)
    path = _write(tmp_path / "a.json", "json", [{"query": "a"}])
    with pytest.raises(ConversationError, match="limit must be 1 or more"):
        read_conversations(path, limit=0)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bytes"
    path.write_bytes(content)
    problem = ""
    try:
        assert read_conversations(path)
    except ConversationError as error:
        problem = str(error)
    assert not problem or str(path) in problem


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_prompt_and_query_are_found_again_by_their_spans(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, query: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "pair.json"
    path.write_text(json.dumps([{"prompt": prompt, "query": query}]), encoding="utf-8")
    (message,) = read_conversations(path)[0].messages
    assert [message.content[s.start : s.stop] for s in message.spans] == [prompt, query]


def test_labels_in_all_their_spellings() -> None:
    assert [label_of(v) for v in (1, 1.0, True, "1", "TRUE", " yes ", "1.0")] == [1] * 7
    assert [label_of(v) for v in (0, 0.0, False, "0", "False", "NO")] == [0] * 6
    assert [label_of(v) for v in (None, float("nan"), "", "NaN", "null")] == [None] * 5
    wrong: object
    for wrong in (2, -1, 0.5, "y", "positive", [], (1,)):
        with pytest.raises(ValueError, match="is no label"):
            label_of(wrong)


@pytest.mark.parametrize(
    ("name", "dataset", "count"),
    [
        ("alpaca_demo/alpaca_en_demo.json", "alpaca", 999),
        ("flan_cot/strategyqa_train.tsv", "flan", 2061),
        ("flan_cot/qasc_train.tsv", "flan", 1084),
        ("fastchat/dummy_conversation.json", "sharegpt", None),
    ],
)
def test_real_files_by_others(name: str, dataset: str, count: int | None) -> None:
    path = DATA / name
    if not path.exists():
        no_data(path.name)
    conversations = read_conversations(path)
    assert {conversation.dataset for conversation in conversations} == {dataset}
    assert count is None or len(conversations) == count
    assert all(conversation.answer for conversation in conversations)
    assert all(conversation.messages[-1].role == "user" for conversation in conversations)


MESSAGES = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Q", [("given-1", "Q", None)]),
        ({"instruction": "Q", "response": "A", "id": 7}, [("7", "Q", "A")]),
        (MESSAGES, [("given-1", "Q", "A")]),
        ({"messages": MESSAGES}, [("given-1", "Q", "A")]),
        (["Q", {"query": "R"}, MESSAGES], [("given-1", "Q", None), ("given-2", "R", None), ("given-3", "Q", "A")]),
        (Conversation("a", "d", (Message("user", "Q"),)), [("a", "Q", None)]),
        ([Conversation("a", "d", (Message("user", "Q"),))], [("a", "Q", None)]),
        ([], []),
    ],
)
def test_conversations_without_a_file(given: Any, expected: list[tuple[str, str, str | None]]) -> None:
    found = as_conversations(given)
    assert [(one.id, one.messages[0].content, one.answer) for one in found] == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "entry 1 is a int: give a text, a dict, a list of messages"),
        (["Q", None], "entry 2 is a NoneType"),
        (" ", 'row 1, column "query": is missing or empty'),
        ({"text": "Q"}, "entry 1 has the fields text: expected messages"),
        ([{"role": "user", "content": "Q"}, {"role": "dog", "content": "A"}], "message 2 has the role 'dog'"),
        (__file__, "is a file: read it with read_conversations"),
    ],
)
def test_what_is_no_conversation_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConversationError, match=message):
        as_conversations(given)
