"""Rank sums and moments of many columns against one binary label, with one sort per column.

Non-negative floats sort like their bit patterns, so the bits and the label fit into one integer key. After sorting the
keys of a column, one pass over its groups of ties gives the AUC, its DeLong variance, the tie correction and Spearman's
coefficient, all exactly. Columns with negative values and float64 columns use wider keys, or dense ranks where the bits
do not fit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt

__all__ = [
    "ColumnSums",
    "Engine",
    "column_sums",
    "compiled_loops",
    "in_blocks",
    "joined_sums",
    "midranks",
    "pack",
    "sort_order",
]

Engine = Literal["auto", "numba", "numpy"]
"""How inner loops run: compiled, in numpy, or compiled where numba can be imported."""

_BLOCK = 1 << 20
_LOW_BITS = np.uint64(0x7FFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class ColumnSums:
    """Sufficient statistics of each column; the first axis is the column."""

    n: Int[np.ndarray, " column"]
    """Values that are not missing."""
    n_positive: Int[np.ndarray, " column"]
    """Values whose label is 1."""
    wins: Float[np.ndarray, " column"]
    """Twice the Mann-Whitney U of the positives: pairs won count 2, ties 1."""
    ties: Float[np.ndarray, " column"]
    """Sum of t^3 - t over groups of t equal values."""
    squares_of_positive: Float[np.ndarray, " column"]
    """Sum over positives of the square of twice the number of negatives below, ties one half."""
    squares_of_negative: Float[np.ndarray, " column"]
    """Sum over negatives of the square of twice the number of positives above, ties one half."""
    spread: Float[np.ndarray, " column"]
    """Sum of squares of the values, centred and divided by their largest distance from the mean; nan if constant."""
    contrast: Float[np.ndarray, " column"]
    """Sum over the positives of the same centred, scaled values."""
    infinite: Shaped[np.ndarray, " column"]
    """Whether a value is infinite."""


def column_sums(
    values: Float[np.ndarray, "column sample"], label: Shaped[np.ndarray, " sample"], *, engine: Engine = "auto"
) -> ColumnSums:
    """Return the sums from which correlations and AUC of every column are computed.

    Args:
        values: float32 or float64, one column per row; nan where missing.
        label: 1 positive, 0 negative, one per sample.
        engine: Compiled loops or numpy; the results are equal up to rounding of the moments.
    """
    values = np.ascontiguousarray(values)
    positive = np.ascontiguousarray(label, dtype=np.uint32)
    return joined_sums(in_blocks(lambda block: _block_sums(block, positive, engine), values))


def joined_sums(blocks: Sequence[ColumnSums]) -> ColumnSums:
    """Return the sums of several blocks of columns as one."""
    names = [field.name for field in fields(ColumnSums)]
    return ColumnSums(**{name: np.concatenate([getattr(block, name) for block in blocks]) for name in names})


def compiled_loops(engine: Engine) -> Any:
    """Return the module of compiled loops, or None to use numpy."""
    if engine == "numpy":
        return None
    try:
        from foretell.stats.auc import compiled
    except ImportError:
        if engine == "numba":
            raise
        return None
    return compiled


def in_blocks(work: Callable[[Any], Any], values: Float[np.ndarray, "column sample"]) -> list[Any]:
    """Apply a function to blocks of columns of about a million values each, in threads if there is more than one."""
    size = max(1, _BLOCK // max(1, values.shape[1]))
    blocks = [values[start : start + size] for start in range(0, max(1, values.shape[0]), size)]
    if len(blocks) == 1:
        return [work(blocks[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, blocks))


def pack(
    values: Float[np.ndarray, "column sample"], label: UInt[np.ndarray, " sample"]
) -> UInt[np.ndarray, "column sample"]:
    """Return sorted keys `(order << 1) | label`, where order increases with the value and is equal for equal values.

    -0.0 equals 0.0; missing values have the largest key and are last.
    """
    values = values + values.dtype.type(0)  # -0.0 becomes 0.0
    missing = np.isnan(values)
    keys: np.ndarray
    if values.dtype == np.float32:
        bits = values.view(np.uint32)
        if not np.any((bits >> np.uint32(31)).astype(np.bool_) & ~missing):
            keys = (bits << np.uint32(1)) | label
        else:
            flip = np.where(bits >> np.uint32(31), np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
            keys = ((bits ^ flip).astype(np.uint64) << np.uint64(1)) | label
    elif np.any(values < 0):
        keys = (_dense_ranks(values).astype(np.uint64) << np.uint64(1)) | label
    else:
        keys = ((values.view(np.uint64) & _LOW_BITS) << np.uint64(1)) | label
    keys[missing] = np.iinfo(keys.dtype).max
    keys.sort(axis=1)
    return keys


def sort_order(values: Float[np.ndarray, "column sample"]) -> Int[np.ndarray, "column sample"]:
    """Return the order that sorts each column, missing values last; the order within ties is arbitrary."""
    if values.dtype == np.float32 and values.shape[1] < 2**32:
        values = values + np.float32(0)
        bits = values.view(np.uint32)
        flip = np.where(bits >> np.uint32(31), np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
        keys = (bits ^ flip).astype(np.uint64)
        keys[np.isnan(values)] = 0xFFFFFFFF
        keys = (keys << np.uint64(32)) | np.arange(values.shape[1], dtype=np.uint64)
        keys.sort(axis=1)
        return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return np.argsort(values, axis=1)


def midranks(
    values: Float[np.ndarray, "column sample"], *, engine: Engine = "auto"
) -> Float[np.ndarray, "column sample"]:
    """Return the rank of each value within its column, from 1, equal values sharing the mean of their ranks.

    Undefined:
        nan where the value is missing.

    Source:
        Must equal `scipy.stats.rankdata(values, axis=1, nan_policy="omit")`.
    """
    values = np.ascontiguousarray(values)
    return np.concatenate(in_blocks(lambda block: _block_ranks(block, engine), values))


def _block_ranks(values: Float[np.ndarray, "column sample"], engine: Engine) -> Float[np.ndarray, "column sample"]:
    loops = compiled_loops(engine)
    order = sort_order(values)
    n = np.count_nonzero(~np.isnan(values), axis=1)
    ranks = np.full(values.shape, np.nan)
    if loops is not None:
        loops.group_ranks(values, order, n, ranks)
        return ranks
    for column, size in enumerate(n):
        index = order[column, :size]
        ordered = values[column, index]
        edges = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])
        ranks[column, index] = np.repeat(0.5 * (edges[:-1] + edges[1:] + 1), np.diff(edges))
    return ranks


def _block_sums(values: Float[np.ndarray, "column sample"], label: Any, engine: Engine) -> ColumnSums:
    loops = compiled_loops(engine)
    n = np.empty(values.shape[0], dtype=np.int64)
    n_positive = np.empty_like(n)
    ranked = np.empty((values.shape[0], 4))
    moments = np.empty((values.shape[0], 4))
    keys: np.ndarray | None = None
    if loops is not None and values.dtype == np.float32:
        keys = np.empty(values.shape, dtype=np.uint32)
        if loops.pack_float32(values, label, keys, n, n_positive):
            keys = None
        else:
            keys.sort(axis=1)
    if keys is None:
        present = ~np.isnan(values)
        n[:] = np.count_nonzero(present, axis=1)
        n_positive[:] = present @ label.astype(np.int64)
        keys = pack(values, label)
    if loops is not None:
        loops.sweep_keys(keys, n, n_positive, ranked)
        loops.column_moments(values, label, moments)
    else:
        _sweep(keys, n, n_positive, ranked)
        _moments(values, label, moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = n_positive / n
        spread = moments[:, 1] - moments[:, 3] ** 2 / n
    return ColumnSums(
        n=n,
        n_positive=n_positive,
        wins=ranked[:, 0],
        ties=ranked[:, 1],
        squares_of_positive=ranked[:, 2],
        squares_of_negative=ranked[:, 3],
        spread=spread,
        contrast=moments[:, 2] - share * moments[:, 3],
        infinite=np.isnan(moments[:, 0]),
    )


def _sweep(keys: Any, n: Any, n_positive: Any, out: Any) -> None:
    """Fill the rank statistics of each column; the numpy version of `compiled.sweep_keys`."""
    for column, size in enumerate(n):
        row = keys[column, :size]
        value = row >> row.dtype.type(1)
        edges = np.flatnonzero(np.r_[True, value[1:] != value[:-1], True]) if size else np.zeros(1, dtype=np.int64)
        below = np.r_[0, np.cumsum((row & row.dtype.type(1)).astype(np.int64))][edges]
        p = np.diff(below).astype(np.float64)
        t = np.diff(edges).astype(np.float64)
        q = t - p
        negatives_below = 2.0 * (edges[:-1] - below[:-1]) + q
        positives_above = 2.0 * (n_positive[column] - below[:-1]) - p
        out[column] = (p @ negatives_below, np.sum(t * (t * t - 1)), p @ negatives_below**2, q @ positives_above**2)


def _moments(values: Any, label: Any, out: Any) -> None:
    """Fill the centred moments of each column; the numpy version of `compiled.column_moments`."""
    for column, row in enumerate(values):
        present = ~np.isnan(row)
        x = row[present].astype(np.float64)
        constant = x.size > 0 and x.min() == x.max()
        finite = bool(np.all(np.isfinite(x)))
        if x.size == 0 or constant or not finite:
            out[column] = (float(constant) if x.size == 0 or constant else np.nan, np.nan, np.nan, np.nan)
            continue
        x -= x.mean()
        x /= np.abs(x).max()
        out[column] = (0.0, x @ x, x @ label[present].astype(np.float64), x.sum())


def _dense_ranks(values: Float[np.ndarray, "column sample"]) -> Int[np.ndarray, "column sample"]:
    """Return integers that increase with the values of each column and are equal for equal values."""
    order = sort_order(values)
    ordered = np.take_along_axis(values, order, axis=1)
    steps = np.zeros(values.shape, dtype=np.int64)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=steps[:, 1:])
    ranks = np.empty_like(steps)
    np.put_along_axis(ranks, order, steps, axis=1)
    return ranks
