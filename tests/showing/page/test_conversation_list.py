"""Conversations of the page: which are listed, and in which form."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from foretell.showing.page import conversation_list as listing
from foretell.showing.page.conversation_list import conversation_list
from foretell.showing.page.held_out_ranks import scored_conversations
from foretell.showing.page.packed import packed, plain_columns
from foretell.showing.report_data import ReportData
from tests.showing.conftest import make_conversations, make_data, make_signal_data
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


def ranked(*detectors: str, families: bool) -> tuple[ReportData, pl.DataFrame]:
    """Return a study of some conversations, and its held-out scores, none of the first conversation."""
    listed = make_conversations(30)
    scores = pl.concat(
        listed.select("dataset", "id").with_columns(
            detector=pl.lit(name), score=pl.lit(0.0), rank=pl.int_range(pl.len()) / (29 + place)
        )[1:]
        for place, name in enumerate(detectors)
    )
    data = make_signal_data() if families else make_data()
    facts = replace(data.facts, conversations=listed)
    return replace(data, tables={**data.tables, "held_out_scores": scores}, facts=facts), scores


@pytest.mark.parametrize(
    ("families", "shown"),
    [(True, ["attention", "all signals", "all baselines"]), (False, ["all heads", "all baselines"])],
)
def test_conversations_have_the_ranks_of_their_own_table(families: bool, shown: list[str]) -> None:
    data, scores = ranked("all heads", "attention", "all signals", "all baselines", families=families)
    found = scored_conversations(data)
    assert found is not None
    assert data.facts.conversations is not None
    assert found["id"].to_list() == data.facts.conversations["id"].to_list()
    listed = conversation_list(found)
    assert listed is not None
    assert listed.has_ranks
    assert listed.settings["scores"][: len(shown)] == [f"held-out rank, {name}" for name in shown]
    chunk = unpacked(listed.chunks[0])
    for place, name in enumerate(shown):
        own = scores.filter(pl.col("detector") == name)
        assert dict(zip(chunk["id"][1:], chunk["scores"][place][1:], strict=True)) == dict(
            zip(own["id"], own["rank"], strict=True)
        )
        assert chunk["scores"][place][0] is None


def test_conversations_of_a_study_without_scores_are_as_they_were() -> None:
    data, _ = ranked("all heads", families=False)
    without = replace(data, tables={name: one for name, one in data.tables.items() if name != "held_out_scores"})
    assert scored_conversations(without) is data.facts.conversations
    listed = conversation_list(data.facts.conversations)
    assert listed is not None
    assert not listed.has_ranks


def test_a_page_lists_no_more_than_it_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MOST_BYTES", 60_000)
    found = conversation_list(make_conversations(2000))
    assert found is not None
    assert 0 < found.n_listed < found.n == 2000
    assert conversation_list(None) is conversation_list(make_conversations(1).clear()) is None
