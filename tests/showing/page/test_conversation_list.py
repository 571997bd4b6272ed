"""Conversations of the page: which are listed, and in which form."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import polars as pl
import pytest

from foretell.showing.page import conversation_list as listing
from foretell.showing.page.conversation_list import conversation_list
from foretell.showing.page.packed import packed, plain_columns
from tests.showing.conftest import make_conversations
from tests.showing.hostile import HOSTILE, hostile_conversations


def unpacked(text: str) -> Any:
    """Read what the page's script reads."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_numbers_keep_every_digit_and_undefined_ones_are_null() -> None:
    frame = pl.DataFrame(
        {"x": [0.1 + 0.2, float("nan"), None, float("inf")], "n": [1, None, 3, 4], "t": ["a", None, "", "b"]}
    )
    assert unpacked(packed(plain_columns(frame))) == [
        [0.1 + 0.2, None, None, None],
        [1, None, 3, 4],
        ["a", None, "", "b"],
    ]
    with pytest.raises(ValueError, match="not JSON compliant"):
        packed([float("nan")])


def test_texts_of_all_kinds_come_back_as_they_were() -> None:
    assert unpacked(packed(list(HOSTILE))) == list(HOSTILE)
    found = conversation_list(hostile_conversations())
    assert found is not None
    first = unpacked(found.chunks[0])
    assert first["answer"] == hostile_conversations()["answer"].to_list()
    stored = [text.encode("utf-8", "replace").decode() for text in HOSTILE]  # a frame holds no lone surrogate
    assert [one[0][1] for one in first["messages"]] == stored


def test_conversations_come_in_chunks_with_rounded_colours() -> None:
    every = make_conversations(1100)
    found = conversation_list(every)
    assert found is not None
    assert (found.n, found.n_listed, len(found.chunks)) == (1100, 1100, 3)
    chunk, row = unpacked(found.chunks[2]), every.row(1003, named=True)
    assert chunk["id"][3] == row["id"]
    assert chunk["scores"][1][3] == row["score: activity “lying”"]
    names = [one["name"] for one in found.settings["colourings"]]
    assert names == ["log-probability", "activity “lying”"]
    assert chunk["colours"][1][3] == [round(100 * value) for value in row["token: activity “lying”"]]
    assert found.settings["datasets"] == ("alpaca", "flan", "sharegpt")


def test_a_page_lists_no_more_than_it_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MOST_BYTES", 60_000)
    found = conversation_list(make_conversations(2000))
    assert found is not None
    assert 0 < found.n_listed < found.n == 2000
    assert conversation_list(None) is conversation_list(make_conversations(1).clear()) is None
