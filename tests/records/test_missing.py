"""The words for "unknown", in every column of tables, labels and conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from foretell.conversations.formats import read_conversations
from foretell.records.missing import MISSING_WORDS, is_missing
from foretell.stats.table.joined import read_table
from tests.stats.tables import head_table

WORDS = ["", "nan", "NaN", "NA", "N/A", "null", "NULL", "None", "<NA>", "NaT", " nan "]


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, *WORDS])
def test_missing_values_of_every_library(value: object) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, False, "0", "nano", "Nancy", "no", [], "-"])
def test_values_that_only_look_like_them(value: object) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize("word", WORDS)
def test_the_same_words_are_missing_in_every_column_of_a_table(word: str) -> None:
    frame = head_table(datasets=("alpaca",))
    first = pl.col("id") == "alpaca-000"
    text = frame.with_columns(pl.all().cast(pl.String), group=pl.lit(word), stratum=pl.lit(word))
    alone = read_table(text).samples
    assert alone.get_column("group").to_list() == alone.get_column("id").to_list()
    assert alone.get_column("stratum").null_count() == alone.height
    for column, reason in (("behavior_label", "label null"), ("id", "id missing"), ("PAM_norm", "not finite")):
        found = read_table(text.with_columns(pl.when(first).then(pl.lit(word)).otherwise(column).alias(column)))
        assert {name: n for name, n in found.ledger.entries.items() if n} == {reason: 6}


@pytest.mark.parametrize("word", sorted(MISSING_WORDS))
def test_names_of_conversations_are_missing_and_answers_are_text(word: str, tmp_path: Path) -> None:
    record = {"query": "What does print return?", "answer": word, "group": word, "stratum": word, "id": word}
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(record), encoding="utf-8")
    (found,) = read_conversations(path)
    assert (found.id, found.group, found.stratum, found.answer) == ("one-1", None, None, word)
