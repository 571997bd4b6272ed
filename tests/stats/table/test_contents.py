from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from foretell.stats.table.contents import Contents, content_order, content_seed, dataset_contents, in_order
from foretell.stats.table.dense import dense_dataset
from foretell.stats.table.joined import read_table
from tests.stats.tables import head_table


def keys(values: np.ndarray, *, ranked: bool = True) -> Contents:
    """Return the contents of columns that are heads of one layer."""
    found, head = Contents.none(values.shape[1]), np.arange(len(values))
    found.add(values, np.zeros_like(head), head, np.zeros_like(head), ranked=ranked)
    return found


def test_keys_follow_their_samples_and_columns_come_in_any_blocks(generator: np.random.Generator) -> None:
    values = generator.normal(size=(7, 20))
    values[2, 3] = np.nan
    whole, order = keys(values), generator.permutation(20)
    moved, parts = keys(values[:, order]), Contents.none(20)
    for columns in (np.array([5, 6]), np.arange(5)):
        parts.add(values[columns], np.zeros_like(columns), columns, np.zeros_like(columns))
    for one, other in ((moved, whole.at(order)), (parts, whole)):
        np.testing.assert_array_equal(one.exact, other.exact)
        np.testing.assert_array_equal(one.ranked, other.ranked)
    assert np.unique(whole.ranked).size == np.unique(whole.exact[0]).size == 20
    assert (whole.n_values == np.where(np.arange(20) == 3, 6, 7)).all()


def test_increasing_transforms_change_no_rank_key_and_any_other_change_does(generator: np.random.Generator) -> None:
    values = generator.normal(size=(4, 30)).round(1)
    assert (keys(np.exp(values)).ranked == keys(values).ranked).all()
    assert (keys(-values).ranked != keys(values).ranked).any()
    assert (keys(np.exp(values)).exact != keys(values).exact).any()
    assert (keys(values.astype(np.float32)).ranked == keys(values).ranked).all()
    assert (keys(np.where(values == 0, -0.0, values)).exact == keys(values).exact).all()


def test_equal_samples_are_ordered_by_label_then_by_what_surrounds_them() -> None:
    content = np.array([1, 1, 1, 5], dtype=np.uint64)
    label, group = np.array([1, 0, 0, 1]), np.array(["x", "x", "y", "y"])
    found = content_order(content, label, group=group)
    assert set(found[:2]) == {1, 2}
    for order in ([3, 2, 1, 0], [2, 0, 3, 1]):
        names = np.where(group == "x", "b", "a")[order]
        moved = content_order(content[order], label[order], group=names)
        assert np.array(order)[moved].tolist() == found.tolist()


def test_seeds_depend_on_the_contents_only() -> None:
    content = np.arange(9, dtype=np.uint64)
    assert content_seed(3, "folds", content) == content_seed(3, "folds", content[::-1])
    others = {content_seed(3, "folds", content[:8]), content_seed(4, "folds", content), content_seed(3, "x", content)}
    assert len(others | {content_seed(3, "folds", content)}) == 4


@pytest.mark.parametrize("complete", [True, False])
def test_a_dataset_in_another_order_is_the_same_dataset(complete: bool) -> None:
    frame = head_table(n_samples=12).with_columns(stratum=pl.col("id").str.tail(1))
    data = dense_dataset(read_table(frame if complete else frame.tail(-1)), "alpaca")
    order = np.random.default_rng(0).permutation(12)
    moved = in_order(data, order)
    np.testing.assert_array_equal(moved.values, data.values[order])
    np.testing.assert_array_equal(moved.by_column, data.by_column[:, order])
    assert moved.ids == tuple(data.ids[index] for index in order)
    assert (moved.label == data.label[order]).all()
    assert (dataset_contents(moved).ranked == dataset_contents(data).ranked[order]).all()
