"""JSON values of a text read piece by piece: the same as of the whole text, wherever the pieces end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from foretell.conversations.formats import read_conversations
from foretell.records import json_window
from foretell.records.json_window import Fault, JsonWindow

VALUES = [
    {"a": "long " * 40, "b": [1, -2.5e10, None, True, {"c": '\u00fc\U0001f600 \\ " \n'}]},
    {},
    12345,
    "\ud83d",
    {"n": float("inf")},
    [[]],
]


@pytest.mark.parametrize("piece", range(1, 40))
def test_values_do_not_depend_on_where_pieces_end(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_window, "_PIECE", piece)
    text = " \n".join(json.dumps(value) for value in VALUES)
    assert list(JsonWindow(io.StringIO(text)).values()) == VALUES


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
def test_a_line_that_is_no_json_is_one_fault_and_the_next_is_read(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_window, "_PIECE", piece)
    lines = ['{"a": 1}', '{"a": ', "nonsense that is long enough", '{"a": "cut', '{"a": 1, "a": 2}', '{"a": 3}', '{"a"']
    found = list(JsonWindow(io.StringIO("\n".join(lines))).values())
    assert [isinstance(one, Fault) for one in found] == [False, True, True, True, True, False, True]
    assert "two fields have the same name: a" in found[4]


def test_a_broken_line_does_not_read_the_rest_of_the_file() -> None:
    class Endless(io.StringIO):
        n_read = 0

        def read(self, size: int | None = -1, /) -> str:
            self.n_read += 1
            return super().read(size)

    stream = Endless('{"a": nothing}\n' + '{"a": 1}\n' * 1_000_000)
    assert isinstance(next(JsonWindow(stream).values()), Fault)
    assert stream.n_read == 1


def test_bytes_that_are_not_utf8_are_a_fault_and_half_characters_in_json_another(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"query": "\xff"}\n{"query": "\\udc80"}\n{"query": "a"}\n')
    found = read_conversations(path, errors="skip")
    assert [str(one) for one in found.skipped] == [
        "row 1: is not UTF-8: save the file as UTF-8",
        'row 2, column "query": holds half a character at position 1: it was cut or damaged',
    ]
