"""Columns read directly from sorted Parquet files, where every (layer, head) lists the same samples in the same order.

Large tables are usually written in this order. Such a file needs no sorting and no joining: consecutive rows already
are an array (column, sample). Everything that cleaning checks is checked while reading; the first row that fails raises
`NotSortedError`, and the caller falls back to a slower path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.errors import InputError
from foretell.stats.auc.rank_sums import compiled_loops
from foretell.stats.table.share_tolerance import EXACT, Rounding, rounding_tolerance

__all__ = ["Block", "NotSortedError", "sorted_blocks"]


_BUNDLE_BYTES = 1 << 25


class NotSortedError(InputError):
    """The rows are not in the expected order, or one of them needs cleaning."""


@dataclass(frozen=True)
class Block:
    """Complete columns of one dataset, each with all samples in the same order."""

    dataset: str
    samples: pl.DataFrame
    """The rows of the dataset's first column as in the file; they define the last axis of `values`."""
    layer: Int[np.ndarray, " column"]
    head: Int[np.ndarray, " column"]
    values: tuple[Float[np.ndarray, "column sample"], ...]
    """One array per metric, in the type of the file."""
    max_deviation: float
    """Largest deviation of a row's sum from 1; 0 where the metrics are not shares."""
    rounding: Rounding
    """What the deviation was held against."""


@dataclass
class _Reader:
    """State of the reader: the dataset it is in and the samples of its first column."""

    metrics: tuple[str, ...]
    compositional: bool
    tolerance: float | None
    dataset: str = ""
    samples: pl.DataFrame = field(default_factory=pl.DataFrame)
    last: tuple[int, int] = (-1, -1)
    finished: set[str] = field(default_factory=set)

    def enter(self, rows: pl.DataFrame, *, complete: bool) -> bool:
        """Take the first column of a new dataset as the reference; return whether it is complete."""
        ids = rows.get_column("id")
        again = (ids == ids[0]).arg_true()
        if again.len() < 2 and not complete:
            return False
        size = int(again[1]) if again.len() > 1 else rows.height
        dataset = str(rows.get_column("dataset")[0])
        if size < 2 or dataset in self.finished or ids.head(size).n_unique() != size:
            raise NotSortedError(f'dataset "{dataset}" is not written head by head')
        self.finished.add(dataset)
        self.dataset, self.samples, self.last = dataset, rows.head(size), (-1, -1)
        return True

    def block(self, rows: pl.DataFrame) -> Block:
        """Return the complete columns in these rows, checked."""
        size = self.samples.height
        n_columns = rows.height // size
        for name in set(rows.columns) - {*self.metrics, "dataset", "layer", "head"}:
            pattern = self.samples.get_column(name)
            if not rows.get_column(name).equals(pl.concat([pattern] * n_columns), null_equal=True):
                raise NotSortedError(f'column "{name}" differs between heads of dataset "{self.dataset}"')
        place = np.stack([rows.get_column(name).to_numpy().reshape(n_columns, size) for name in ("layer", "head")])
        if np.any(place != place[:, :, :1]) or place.min() < 0:
            raise NotSortedError(f'dataset "{self.dataset}" is not written head by head')
        keys = [self.last, *zip(*place[:, :, 0].tolist(), strict=True)]
        if any(second <= first for first, second in pairwise(keys)):
            raise NotSortedError(f'the layers and heads of dataset "{self.dataset}" are not ascending')
        self.last = keys[-1]
        flat = np.stack([_numbers(rows.get_column(metric)) for metric in self.metrics])
        deviation, rounding = self._deviation(flat)
        values = tuple(column.reshape(n_columns, size) for column in flat)
        return Block(self.dataset, self.samples, place[0, :, 0], place[1, :, 0], values, deviation, rounding)

    def _deviation(self, flat: Any) -> tuple[float, Rounding]:
        rounding = Rounding(EXACT if self.tolerance is None else self.tolerance, "")
        if not self.compositional:
            if np.isinf(flat).any() or np.isnan(flat).all(axis=0).any():
                raise NotSortedError("a value is infinite, or all of a row are missing")
            return 0.0, rounding
        worst = float(_largest_deviation(flat))
        if self.tolerance is None and EXACT < worst < 1:
            frame = pl.DataFrame(dict(zip(self.metrics, flat, strict=True)))
            rounding = rounding_tolerance(frame, self.metrics)
        if not worst <= rounding.tolerance:
            raise NotSortedError("a share is missing or negative, or a row does not sum to 1")
        return worst, rounding


def sorted_blocks(
    files: Sequence[Path],
    *,
    columns: Sequence[str],
    metrics: Sequence[str],
    compositional: bool,
    tolerance: float | None = None,
    n_rows: int = 2_000_000,
) -> Iterator[Block]:
    """Yield the columns of sorted Parquet files in blocks, in the order of the files.

    Args:
        files: Files that together are the table.
        columns: Columns to read besides id, dataset, layer, head and the metrics; each must depend on the sample only.
        metrics: Columns of numbers.
        compositional: Whether the metrics are shares that sum to 1.
        tolerance: Largest accepted deviation of their sum from 1; None: what rounding explains.
        n_rows: Approximate number of rows in memory.

    Raises:
        NotSortedError: The table is not in the expected order or needs cleaning.
    """
    reader = _Reader(tuple(metrics), compositional, tolerance)
    chosen = ["id", "dataset", "layer", "head", *metrics, *columns]
    rest: pl.DataFrame | None = None
    for rows, last in _batches(files, chosen, n_rows):
        rest = rows if rest is None or not rest.height else pl.concat([rest, rows])
        while rest.height:
            dataset = rest.get_column("dataset")
            if dataset[0] != reader.dataset and not reader.enter(rest, complete=last):
                break
            ends = (dataset != reader.dataset).arg_max() if dataset[-1] != reader.dataset else rest.height
            n_whole = int(ends or 0) // reader.samples.height * reader.samples.height
            if n_whole < int(ends or 0) and (last or ends != rest.height):
                raise NotSortedError(f'a head of dataset "{reader.dataset}" lacks samples')
            if n_whole == 0:
                break
            yield reader.block(rest.head(n_whole))
            rest = rest.tail(rest.height - n_whole)


def _batches(files: Sequence[Path], columns: Sequence[str], n_rows: int) -> Iterator[tuple[pl.DataFrame, bool]]:
    """Yield about `n_rows` rows at a time, and whether they are the last."""
    scans = [pl.scan_parquet(bundle, glob=False).select(columns) for bundle in _bundles(files)]
    ahead: pl.DataFrame | None = None
    for scan in scans:
        for start in count(0, n_rows):
            rows = scan.slice(start, n_rows).collect()
            if rows.height:
                _check_types(rows)
                if ahead is not None:
                    yield ahead, False
                ahead = rows
            if rows.height < n_rows:
                break
    if ahead is None:
        raise NotSortedError("the table has no rows")
    yield ahead, True


def _bundles(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield small files in bundles and large files one by one."""
    bundle: list[Path] = []
    size = 0
    for file in files:
        length = file.stat().st_size
        if bundle and size + length > _BUNDLE_BYTES:
            yield bundle
            bundle, size = [], 0
        bundle.append(file)
        size += length
    yield bundle


def _check_types(rows: pl.DataFrame) -> None:
    dtypes = rows.schema
    whole = all(dtypes[name].is_integer() for name in ("layer", "head"))
    if not whole or rows.select(pl.col("id", "dataset", "layer", "head").is_null().any()).row(0) != (False,) * 4:
        raise NotSortedError("a layer or head is not an integer, or a key is null")
    if not all(dtype.is_numeric() or dtype in (pl.String, pl.Boolean) for dtype in dtypes.values()):
        raise NotSortedError("a column is neither text nor number")


def _numbers(column: pl.Series) -> Any:
    if column.dtype not in (pl.Float32, pl.Float64):
        column = column.cast(pl.Float64) if column.dtype.is_numeric() else column.cast(pl.Float64, strict=False)
    return column.fill_null(np.nan).to_numpy()


def _largest_deviation(shares: Float[np.ndarray, "metric row"]) -> float:
    """Return the largest deviation of a sum of shares from 1; infinite where a share is missing or negative."""
    loops = compiled_loops("auto")
    if loops is not None:
        out = np.empty(2)
        loops.share_deviations(shares, out)
        return float("inf") if out[1] else float(out[0])
    if not np.all((shares >= 0) & np.isfinite(shares)):
        return float("inf")
    return float(np.abs(shares.sum(axis=0, dtype=np.float64) - 1).max(initial=0.0))
