from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from foretell.stats.table.copies import copy_sets, pooled_groups
from foretell.stats.table.joined import read_table
from tests.stats.tables import METRICS, head_table


def twice(frame: pl.DataFrame, n: int, *, dataset: str | None = None) -> pl.DataFrame:
    """Return a table with its first samples again under other ids, or in another dataset."""
    ids = frame.get_column("id").unique().sort()[:n]
    again = frame.filter(pl.col("id").is_in(ids.to_list())).with_columns(id="again-" + pl.col("id"))
    return pl.concat([frame, again if dataset is None else again.with_columns(dataset=pl.lit(dataset))])


def groups(frame: pl.DataFrame) -> dict[str, str]:
    return dict(read_table(frame).samples.select("id", "group").iter_rows())


@pytest.mark.parametrize("digits", [17, 4])
@pytest.mark.parametrize("n", [1, 20])
def test_copies_under_other_ids_are_one_group_and_in_the_ledger(n: int, digits: int) -> None:
    frame = head_table(datasets=("alpaca",)).with_columns(pl.col(METRICS).round(digits))
    table = read_table(twice(frame, n), sum_tolerance=1e-3)
    group = dict(table.samples.select("id", "group").iter_rows())
    assert len(set(group.values())) == 20
    assert group["again-alpaca-000"] == group["alpaca-000"] == "again-alpaca-000"
    assert any(note.startswith(f"alpaca: {n} of {20 + n} samples are exact copies") for note in table.ledger.notes)


def test_groups_of_copies_are_joined() -> None:
    frame = twice(head_table(datasets=("alpaca",)), 1).with_columns(group=pl.col("id").str.slice(0, 9))
    found = read_table(
        frame.with_columns(group=pl.when(pl.col("id") == "again-alpaca-000").then(pl.lit("z")).otherwise("group"))
    )
    assert found.samples.filter(pl.col("id") == "again-alpaca-000").get_column("group").to_list() == ["alpaca-00"]


def test_copies_with_other_labels_are_counted() -> None:
    frame = twice(head_table(datasets=("alpaca",)), 3)
    flipped = pl.when(pl.col("id") == "again-alpaca-001").then(1 - pl.col("behavior_label")).otherwise("behavior_label")
    notes = read_table(frame.with_columns(behavior_label=flipped)).ledger.notes
    assert any("copies of one sample are one group; 1 of them have both labels" in note for note in notes)


@pytest.mark.parametrize(
    "columns",
    [
        [[1, 2, 1, 2, 3, 3]],
        [[1, 2, 1, 2, 3, 3], [1, 2, 3, 4, 5, 6]],
        [[1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2]],
        [[0, 1] * 15, [5, 6] * 15],
        [[1, 2, 3, 4, 5, 6], [1, 2, 1, 2, 1, 2]],
    ],
)
def test_equal_values_that_may_be_chance_are_no_copies(columns: list[list[float]]) -> None:
    frame = pl.concat(
        pl.DataFrame({"id": [f"s{i}" for i in range(len(one))], "dataset": "x", "layer": 0, "head": head, "score": one})
        for head, one in enumerate(columns)
    ).with_columns(pl.col("score").cast(pl.Float64), behavior_label=pl.col("id").str.slice(1).cast(pl.Int64) % 2)
    table = read_table(frame, metrics=["score"])
    assert table.samples.get_column("group").equals(table.samples.get_column("id").alias("group"))


def test_codes_of_copies_come_from_both_halves() -> None:
    assert copy_sets(np.array([[7, 8, 7], [1, 2, 1]], dtype=np.uint64)) is not None
    assert copy_sets(np.array([[7, 8, 7], [1, 2, 3]], dtype=np.uint64)) is None
    assert copy_sets(np.array([[7, 8, 7, 8], [1, 1, 2, 2]], dtype=np.uint64)) is None
    assert copy_sets(np.zeros((2, 0), dtype=np.uint64)) is None


def test_names_and_copies_that_datasets_share_are_one_group_where_they_are_pooled() -> None:
    frame = head_table(n_samples=10)
    same_ids = frame.with_columns(pl.col("id").str.tail(3))
    pooled = pooled_groups(read_table(same_ids))
    assert (pooled["alpaca"] == pooled["flan"]).all()
    assert np.unique(np.concatenate(list(pooled_groups(read_table(frame)).values()))).size == 20
    copied = read_table(twice(frame.filter(dataset="alpaca"), 4, dataset="flan"))
    pooled = pooled_groups(copied)
    assert (pooled["flan"] == pooled["alpaca"][:4]).all()
    assert any("4 samples have exact copies in other datasets" in note for note in copied.ledger.notes)
    shared = read_table(frame.with_columns(group=pl.when(dataset="alpaca").then(pl.lit("p")).otherwise("id")))
    assert np.unique(pooled_groups(shared)["alpaca"]).size == 1


def test_another_dataset_does_not_join_the_groups_of_one() -> None:
    alone = head_table(n_samples=10, datasets=("alpaca",)).with_columns(group=pl.col("id"))
    bridge = alone.filter(pl.col("id") == "alpaca-001").with_columns(dataset=pl.lit("b"), group=pl.lit("alpaca-000"))
    both = read_table(pl.concat([alone, bridge]))
    assert both.samples.filter(dataset="alpaca").get_column("group").n_unique() == 10
    pooled = pooled_groups(both)
    assert pooled["alpaca"][0] == pooled["alpaca"][1] == pooled["b"][0]


def test_samples_that_lack_heads_are_counted_by_label() -> None:
    frame = head_table(datasets=("alpaca",))
    ones = frame.filter(behavior_label=1).get_column("id").unique().sort()[:3]
    lacking = frame.filter(~(pl.col("id").is_in(ones.to_list()) & (pl.col("head") == 2)))
    notes = read_table(lacking).ledger.notes
    assert notes == (
        "alpaca: 3 of 20 samples lack values of some layers, heads or metrics (0 with label 0 and 3 with label 1), "
        f'such as "{ones[0]}"',
    )
    assert read_table(frame).ledger.notes == ()
