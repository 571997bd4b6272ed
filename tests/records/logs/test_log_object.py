"""Logs that are one JSON object: read sample by sample, cut off, in unknown formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foretell.conversations.formats import read_conversations
from foretell.errors import ConversationError
from foretell.records import json_window
from tests.records.logs.logged import HEADER, SAMPLE

LOG = {**HEADER, "results": {"scores": []}, "samples": [{**SAMPLE, "id": n} for n in range(4)], "reductions": [{}]}


@pytest.mark.parametrize("form", ["written", "indented", "sorted", "marked"])
@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_a_log_in_every_form_and_in_pieces(
    form: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_window, "_PIECE", piece)
    path = tmp_path / "log.json"
    text = json.dumps(LOG, indent=2 if form == "indented" else None, sort_keys=form == "sorted")
    path.write_text(text, encoding="utf-8-sig" if form == "marked" else "utf-8")
    found = read_conversations(path)
    assert [(one.id, one.dataset, one.writer) for one in found] == [(str(n), "sums", "openai/small") for n in range(4)]
    assert [one.id for one in read_conversations(path, limit=2)] == ["0", "1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "is a log of inspect_ai in format 99; formats up to 3 are read"),
        ({"samples": None}, "holds no samples"),
        ({"samples": ...}, "holds no samples"),
        ({"samples": []}, "holds no samples"),
    ],
)
def test_a_log_that_cannot_be_read_says_why(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    log = {name: value for name, value in {**LOG, "reductions": None, **change}.items() if value is not ...}
    (tmp_path / "log.json").write_text(json.dumps(log))
    with pytest.raises(ConversationError, match=f"log.json.*{message}"):
        read_conversations(tmp_path / "log.json")


def test_format_3_is_read(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps({**LOG, "version": 3}))
    assert len(read_conversations(tmp_path / "log.json")) == 4


def test_what_was_cut_off_or_is_no_sample_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    whole = json.dumps({**LOG, "samples": [SAMPLE, 7, {**SAMPLE, "id": "t"}, {**SAMPLE, "id": "u"}]})
    path.write_text(whole[: whole.index('"u"') + 30])
    with pytest.raises(ConversationError, match="row 2: is a int, not an object"):
        read_conversations(path)
    found = read_conversations(path, errors="skip")
    assert [one.id for one in found] == ["s", "t"]
    assert [one.row for one in found.skipped] == [2, 4]
    assert "cut off or damaged" in str(found.skipped[1])
    path.write_text(whole[: whole.index(', {"id": "u"')])
    assert "the log was cut off" in str(read_conversations(path, errors="skip").skipped[-1])
