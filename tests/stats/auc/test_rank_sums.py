"""The loops under the column statistics: compiled and numpy twins, ranks, keys."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from scipy import stats

from foretell.stats.auc import rank_sums as packed
from foretell.stats.auc.rank_sums import ColumnSums, column_sums, compiled_loops, midranks, pack


def strange_columns(generator: np.random.Generator, kind: Any, *, signed: bool) -> np.ndarray:
    values = generator.normal(size=(40, 60)) if signed else generator.gamma(1.0, size=(40, 60))
    values[:10] = values[:10].round(1)
    values[10] = 0.0
    values[11] *= 1e-300 if kind is np.float64 else 1e-38
    values[12, ::2] = -0.0
    values[13] = np.nan
    values[14, 1:] = np.nan
    values[generator.random(values.shape) < 0.02] = np.nan
    return values.astype(kind)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("signed", [False, True])
def test_compiled_loops_and_numpy_agree(kind: Any, signed: bool, generator: np.random.Generator) -> None:
    values, label = strange_columns(generator, kind, signed=signed), generator.integers(0, 2, 60)
    fast, slow = (column_sums(values, label, engine=engine) for engine in ("numba", "numpy"))
    for field in fields(ColumnSums):
        first, second = getattr(fast, field.name), getattr(slow, field.name)
        if field.name in {"spread", "contrast"}:
            np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)
        else:
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("engine", ["numba", "numpy"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_midranks_equal_scipy(engine: Any, kind: Any, generator: np.random.Generator) -> None:
    values = strange_columns(generator, kind, signed=True)
    expected = stats.rankdata(values, axis=1, nan_policy="omit")
    np.testing.assert_array_equal(midranks(values, engine=engine), expected)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("signed", [False, True])
def test_keys_rise_with_the_values_and_carry_the_label(kind: Any, signed: bool, generator: np.random.Generator) -> None:
    values = strange_columns(generator, kind, signed=signed)
    label = generator.integers(0, 2, 60).astype(np.uint32)
    keys = pack(values, label)
    for column, row in zip(values, keys, strict=True):
        there = ~np.isnan(column)
        found = row[: there.sum()]
        order = np.lexsort((label[there], column[there]))
        np.testing.assert_array_equal(found & 1, label[there][order])
        steps = np.diff(found >> 1) != 0
        np.testing.assert_array_equal(steps, np.diff(column[there][order]) != 0)


def test_many_blocks_in_threads_give_the_same_as_one(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, label = strange_columns(generator, np.float64, signed=False), generator.integers(0, 2, 60)
    whole, ranks = column_sums(values, label), midranks(values)
    monkeypatch.setattr(packed, "_BLOCK", 200)
    parts = column_sums(values, label)
    for field in fields(ColumnSums):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(parts, field.name))
    np.testing.assert_array_equal(midranks(values), ranks)


def test_no_columns_and_no_samples_are_no_error() -> None:
    assert column_sums(np.empty((0, 5)), np.zeros(5)).n.shape == (0,)
    empty = column_sums(np.empty((3, 0)), np.zeros(0))
    assert empty.n.tolist() == [0, 0, 0]


def test_without_numba_numpy_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foretell.stats.auc.compiled", None)
    monkeypatch.delattr("foretell.stats.auc.compiled", raising=False)
    assert compiled_loops("auto") is None
    with pytest.raises(ImportError):
        compiled_loops("numba")
