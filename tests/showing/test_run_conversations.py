"""Conversations of a run as the page lists them: texts, and means over layers and heads."""

from __future__ import annotations

import polars as pl
import pytest

from foretell.showing.run_conversations import run_conversations
from foretell.storage.runs import Run
from tests.showing.test_run_facts import JOB, sample


def test_activity_and_masses_are_means_by_token_and_by_sample() -> None:
    run = Run.create(None, JOB)
    places = [(layer, token) for layer in range(3) for token in range(2)]
    activity = pl.DataFrame(
        {
            "id": ["b"] * 6,
            "layer": [layer for layer, _ in places],
            "position": [5 + token for _, token in places],
            "answer_position": [token for _, token in places],
            "concept": ["lying"] * 6,
            "activity": [0.0, 1.0, 3.0, 1.0, 6.0, None],
        }
    )
    tokens = pl.DataFrame(
        {
            "id": ["b"] * 3,
            "position": [4, 5, 6],
            "answer_position": [None, 0, 1],
            "token_id": [7, 8, 9],
            "text": ["Hi", "Yo", "!"],
            "segment": ["query", "generated", "generated"],
            "logprob": [None, -0.5, -1.5],
        }
    )
    samples = pl.concat([sample("b", [0, 0, 1, 1, 2]), sample("a", [0, 0, 0, 0, 0], reason="the answer has no tokens")])
    run.append("part", {"samples": samples, "tokens": tokens, "activity": activity})
    found = run_conversations(run)
    assert found["id"].to_list() == ["a", "b"]
    row = found.row(1, named=True)
    assert row["tokens"] == ["Yo", "!"]
    assert row["token: log-probability"] == [-0.5, -1.5]
    assert row["token: activity “lying”"] == pytest.approx([3.0, 1.0])
    assert row["score: activity “lying”"] == pytest.approx(2.0)
    assert not [name for name in found.columns if "mass" in name]
    assert found.row(0, named=True)["tokens"] is None
    assert found.row(0, named=True)["reason"] == "the answer has no tokens"


def test_an_empty_run_has_no_conversation() -> None:
    assert run_conversations(Run.create(None, JOB)).is_empty()
