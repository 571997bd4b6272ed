"""A long table as an array: every number at its place, in any order of the rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from foretell.storage.views.dense_arrays import dense_array


def table() -> pl.DataFrame:
    sample, layer, head = (axis.ravel() for axis in np.indices((3, 2, 4)))
    ids = np.array(["b", "a", "c"])[sample]
    return pl.DataFrame({"id": ids, "layer": 10 * layer, "head": head, "PAM": 100.0 * sample + 10 * layer + head})


def test_every_number_is_at_its_place() -> None:
    found = dense_array(table().sample(fraction=1, shuffle=True, seed=1), ("layer", "head"), "PAM")
    assert found.axes == ("sample", "layer", "head")
    assert found.values.shape == (3, 2, 4)
    for row in table().iter_rows(named=True):
        place = found.ids.index(row["id"]), found.places["layer"].tolist().index(row["layer"]), row["head"]
        assert found.values[place] == row["PAM"]


def test_what_is_missing_or_null_is_nan() -> None:
    rows = table().filter(~((pl.col("id") == "a") & (pl.col("head") == 2)))
    rows = rows.with_columns(PAM=pl.when((pl.col("id") == "c") & (pl.col("head") == 0)).then(None).otherwise("PAM"))
    found = dense_array(rows, ("layer", "head"), "PAM")
    missing = np.isnan(found.values)
    assert missing.sum() == 4
    assert missing[0, :, 2].all()
    assert missing[2, :, 0].all()


def test_numpy_takes_it_as_an_array() -> None:
    found = dense_array(table(), ("layer", "head"), "PAM")
    np.testing.assert_array_equal(np.asarray(found), found.values)
    assert np.asarray(found, dtype=np.float32).dtype == np.float32
    assert repr(found) == "DenseArray('PAM': 3 samples, 2 layers, 4 heads)"


def test_an_empty_table_is_an_empty_array() -> None:
    found = dense_array(table().clear(), ("layer", "head"), "PAM")
    assert found.values.shape == (0, 0, 0)
    assert found.ids == []


@pytest.mark.parametrize("column", ["layer", "head"])
def test_places_are_ascending(column: str) -> None:
    found = dense_array(table().reverse(), ("layer", "head"), "PAM")
    assert (np.diff(found.places[column]) > 0).all()
