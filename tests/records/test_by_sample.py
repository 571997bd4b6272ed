"""Groups, strata and labels by column, by mapping, or as one value per sample: used, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from foretell.errors import TableError
from foretell.stats.heads.out_of_core import stream_association
from foretell.stats.table.joined import read_table
from tests.stats.tables import head_table

TABLE = head_table(n_samples=10, datasets=("x",))
IDS = TABLE.get_column("id").unique().sort().to_list()
VALUES = [f"g{index // 2}" for index in range(10)]
BY_ID = dict(zip(IDS, VALUES, strict=True))
PER_ROW = [BY_ID[name] for name in TABLE.get_column("id")]


@pytest.mark.parametrize("name", ["group", "stratum"])
@pytest.mark.parametrize(
    "given",
    [
        "column",
        BY_ID,
        {("x", name): value for name, value in BY_ID.items()},
        pd.Series(BY_ID),
        VALUES,
        tuple(VALUES),
        np.array(VALUES),
        pl.Series(VALUES),
        pd.Series(VALUES),
        PER_ROW,
        np.array(PER_ROW, dtype=object),
    ],
    ids=lambda given: type(given).__name__,
)
def test_groups_and_strata_in_every_form_are_the_same(given: Any, name: str) -> None:
    table = TABLE.with_columns(column=pl.col("id").replace_strict(BY_ID))
    found = read_table(table, **{name: given}).samples
    assert dict(found.select("id", name).iter_rows()) == BY_ID


def test_values_are_in_the_order_in_which_samples_first_appear() -> None:
    found = read_table(TABLE.reverse(), group=VALUES[::-1]).samples
    assert dict(found.select("id", "group").iter_rows()) == BY_ID


def test_numbers_and_missing_values_name_groups_as_cells_do() -> None:
    given = [1, 1.0, "1", None, float("nan"), "nan", 2, 2, 2, 2]
    found = read_table(TABLE, group=given).samples.get_column("group").to_list()
    assert found == ["1", "1", "1", *IDS[3:6], *["2"] * 4]


def test_a_series_by_number_is_by_id_where_the_ids_are_these_numbers() -> None:
    table = TABLE.with_columns(id=pl.col("id").str.tail(3).cast(pl.Int64)).sort("id", descending=True)
    found = read_table(table, group=pd.Series(VALUES)).samples
    assert dict(found.select("id", "group").iter_rows()) == {str(index): VALUES[index] for index in range(10)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", 'column "nowhere": the column is missing'),
        ({"strange": "a"}, "group has none of the ids: the table has \"x-000\", the mapping has 'strange'"),
        ({}, "group has none of the ids"),
        (pd.Series({"strange": "a"}), "group has none of the ids"),
        (VALUES[:-1], "group has 9 values: there are 10 samples in 60 rows"),
        (np.zeros((10, 2)), "group is a ndarray: give a column's name, a mapping from id, or one value per sample"),
        (7, "group is a int"),
        (pl.DataFrame({"id": IDS, "group": VALUES}), "group is a DataFrame"),
        ([*PER_ROW[:-1], "other"], 'group has two values for the sample "x-009"'),
        (pd.Series(["a", "b"], index=["x-000", "x-000"]), "names a row twice"),
    ],
)
def test_arguments_that_fit_no_sample_are_refused(given: Any, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_table(TABLE, group=given)


def test_a_column_that_differs_within_a_sample_is_refused() -> None:
    table = TABLE.with_columns(group=pl.int_range(pl.len()).cast(pl.String))
    with pytest.raises(TableError, match='column "group": id "x-000" has two values of group'):
        read_table(table)


def test_a_mapping_by_id_is_refused_where_datasets_share_it() -> None:
    shared = head_table(n_samples=4).with_columns(pl.col("id").str.tail(3))
    with pytest.raises(TableError, match=r'stratum has the id "000", which several datasets have: map from \(dataset'):
        read_table(shared, stratum={"000": "a", "001": "b"})
    found = read_table(shared, stratum={("flan", "000"): "a"}).samples
    assert found.filter(pl.col("stratum") == "a").select("dataset", "id").rows() == [("flan", "000")]


def test_a_mapping_may_leave_out_samples() -> None:
    found = read_table(TABLE, group={IDS[0]: "a", IDS[1]: "a"}).samples
    assert found.get_column("group").to_list() == ["a", "a", *IDS[2:]]


@pytest.mark.parametrize(
    "labels",
    [
        dict(zip(IDS, [0, 1] * 5, strict=True)),
        pd.Series(dict(zip(IDS, [False, True] * 5, strict=True))),
        [0, 1] * 5,
        pl.Series(["no", "yes"] * 5),
        np.array([0.0, 1.0] * 5),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_in_every_form_are_the_same(labels: Any) -> None:
    found = read_table(TABLE.drop("behavior_label"), labels=labels).samples
    assert found.get_column("behavior_label").to_list() == [0, 1] * 5


def test_a_table_read_in_parts_takes_mappings_and_refuses_an_order(tmp_path: Any) -> None:
    path = tmp_path / "table.parquet"
    TABLE.sort("dataset", "layer", "head", "id").write_parquet(path)
    with pytest.raises(TableError, match="group: a table that is read in parts has no order of samples"):
        stream_association(path, group=VALUES, n_permutations=0, progress=False)
    for n_rows in (1, 10_000):
        found = stream_association(path, group=pd.Series(BY_ID), n_permutations=0, n_rows=n_rows, progress=False)
        by_column = stream_association(_with_groups(path), group="column", n_permutations=0, progress=False)
        assert found.frame.equals(by_column.frame)
        with pytest.raises(TableError, match="group has none of the ids"):
            stream_association(path, group={"strange": "a"}, n_permutations=0, n_rows=n_rows, progress=False)


def _with_groups(path: Any) -> Any:
    """Return a file of the same table with the groups as a column."""
    other = path.with_name("with.parquet")
    pl.read_parquet(path).with_columns(column=pl.col("id").replace_strict(BY_ID)).write_parquet(other)
    return other
