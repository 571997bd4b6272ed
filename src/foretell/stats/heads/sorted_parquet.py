"""Columns straight from Parquet, where every (layer, head) lists the same samples in the same order.

Large tables are written by machines and are mostly regular. Such a file needs no sorting and no joining: a run of rows
is already an array (column, sample). Everything that cleaning would look for is checked on the way; the first row that
is not as it should be ends the reading with `IrregularError`, and the caller takes the slower way that can handle it.

    for block in regular_blocks(parts, metrics=("PAM_norm",), compositional=False):
        block.values        # (metric, column, sample)
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

__all__ = ["Block", "IrregularError", "regular_blocks"]


_BUNDLE_BYTES = 1 << 25


class IrregularError(InputError):
    """The rows are not in the regular order, or one of them needs cleaning."""


@dataclass(frozen=True)
class Block:
    """Whole columns of one dataset, every one with all samples in one order."""

    dataset: str
    samples: pl.DataFrame
    """The rows of the dataset's first column as they stand in the file; the order of the last axis of `values`."""
    layer: Int[np.ndarray, " column"]
    head: Int[np.ndarray, " column"]
    values: tuple[Float[np.ndarray, "column sample"], ...]
    """One array per metric, in the type of the file."""
    max_deviation: float
    """Largest distance of a row's sum from 1; 0 where the metrics are no shares."""


@dataclass
class _Reader:
    """What the reader knows of the dataset it is in."""

    metrics: tuple[str, ...]
    compositional: bool
    tolerance: float
    dataset: str = ""
    samples: pl.DataFrame = field(default_factory=pl.DataFrame)
    last: tuple[int, int] = (-1, -1)
    finished: set[str] = field(default_factory=set)

    def enter(self, rows: pl.DataFrame, *, complete: bool) -> bool:
        """Take the first column of a new dataset as the pattern; return whether it is there as a whole."""
        ids = rows.get_column("id")
        again = (ids == ids[0]).arg_true()
        if again.len() < 2 and not complete:
            return False
        size = int(again[1]) if again.len() > 1 else rows.height
        dataset = str(rows.get_column("dataset")[0])
        if size < 2 or dataset in self.finished or ids.head(size).n_unique() != size:
            raise IrregularError(f'dataset "{dataset}" is not written head by head')
        self.finished.add(dataset)
        self.dataset, self.samples, self.last = dataset, rows.head(size), (-1, -1)
        return True

    def block(self, rows: pl.DataFrame) -> Block:
        """Return the whole columns that the rows consist of, checked."""
        size = self.samples.height
        n_columns = rows.height // size
        for name in set(rows.columns) - {*self.metrics, "dataset", "layer", "head"}:
            pattern = self.samples.get_column(name)
            if not rows.get_column(name).equals(pl.concat([pattern] * n_columns), null_equal=True):
                raise IrregularError(f'column "{name}" differs between heads of dataset "{self.dataset}"')
        place = np.stack([rows.get_column(name).to_numpy().reshape(n_columns, size) for name in ("layer", "head")])
        if np.any(place != place[:, :, :1]) or place.min() < 0:
            raise IrregularError(f'dataset "{self.dataset}" is not written head by head')
        keys = [self.last, *zip(*place[:, :, 0].tolist(), strict=True)]
        if any(second <= first for first, second in pairwise(keys)):
            raise IrregularError(f'the layers and heads of dataset "{self.dataset}" do not rise')
        self.last = keys[-1]
        flat = np.stack([_numbers(rows.get_column(metric)) for metric in self.metrics])
        deviation = self._deviation(flat)
        values = tuple(column.reshape(n_columns, size) for column in flat)
        return Block(self.dataset, self.samples, place[0, :, 0], place[1, :, 0], values, deviation)

    def _deviation(self, flat: Any) -> float:
        if not self.compositional:
            if np.isinf(flat).any() or np.isnan(flat).all(axis=0).any():
                raise IrregularError("a value is infinite, or all of a row are missing")
            return 0.0
        worst = _worst(flat)
        if not worst <= self.tolerance:
            raise IrregularError("a share is missing, negative, or off its sum")
        return float(worst)


def regular_blocks(
    parts: Sequence[Path],
    *,
    columns: Sequence[str],
    metrics: Sequence[str],
    compositional: bool,
    tolerance: float = 1e-6,
    n_rows: int = 2_000_000,
) -> Iterator[Block]:
    """Yield the columns of Parquet files in blocks, in the order of the files.

    Args:
        parts: Files that together are the table.
        columns: Columns to read besides id, dataset, layer, head and the metrics; each must depend on the sample only.
        metrics: Columns of numbers.
        compositional: Whether the metrics are shares of one whole.
        tolerance: Largest accepted distance of their sum from 1.
        n_rows: About how many rows are in memory at once.

    Raises:
        IrregularError: The table is not in the regular order or needs cleaning.
    """
    reader = _Reader(tuple(metrics), compositional, tolerance)
    chosen = ["id", "dataset", "layer", "head", *metrics, *columns]
    rest: pl.DataFrame | None = None
    for rows, last in _batches(parts, chosen, n_rows):
        rest = rows if rest is None or not rest.height else pl.concat([rest, rows])
        while rest.height:
            dataset = rest.get_column("dataset")
            if dataset[0] != reader.dataset and not reader.enter(rest, complete=last):
                break
            ends = (dataset != reader.dataset).arg_max() if dataset[-1] != reader.dataset else rest.height
            n_whole = int(ends or 0) // reader.samples.height * reader.samples.height
            if n_whole < int(ends or 0) and (last or ends != rest.height):
                raise IrregularError(f'a head of dataset "{reader.dataset}" lacks samples')
            if n_whole == 0:
                break
            yield reader.block(rest.head(n_whole))
            rest = rest.tail(rest.height - n_whole)


def _batches(parts: Sequence[Path], columns: Sequence[str], n_rows: int) -> Iterator[tuple[pl.DataFrame, bool]]:
    """Yield about `n_rows` rows at a time, and whether they are the last."""
    scans = [pl.scan_parquet(files, glob=False).select(columns) for files in _bundles(parts)]
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
        raise IrregularError("the table has no rows")
    yield ahead, True


def _bundles(parts: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield small files together and large ones alone."""
    bundle: list[Path] = []
    size = 0
    for part in parts:
        length = part.stat().st_size
        if bundle and size + length > _BUNDLE_BYTES:
            yield bundle
            bundle, size = [], 0
        bundle.append(part)
        size += length
    yield bundle


def _check_types(rows: pl.DataFrame) -> None:
    dtypes = rows.schema
    whole = all(dtypes[name].is_integer() for name in ("layer", "head"))
    if not whole or rows.select(pl.col("id", "dataset", "layer", "head").is_null().any()).row(0) != (False,) * 4:
        raise IrregularError("a layer, a head or an id is not plain")
    if not all(dtype.is_numeric() or dtype in (pl.String, pl.Boolean) for dtype in dtypes.values()):
        raise IrregularError("a column is neither text nor number")


def _numbers(column: pl.Series) -> Any:
    if column.dtype not in (pl.Float32, pl.Float64):
        column = column.cast(pl.Float64) if column.dtype.is_numeric() else column.cast(pl.Float64, strict=False)
    return column.fill_null(np.nan).to_numpy()


def _worst(parts: Float[np.ndarray, "part row"]) -> float:
    """Return the largest distance of a sum of shares from 1; infinite where a share is missing or negative."""
    loops = compiled_loops("auto")
    if loops is not None:
        out = np.empty(2)
        loops.worst_shares(parts, out)
        return float("inf") if out[1] else float(out[0])
    if not np.all((parts >= 0) & np.isfinite(parts)):
        return float("inf")
    return float(np.abs(parts.sum(axis=0, dtype=np.float64) - 1).max(initial=0.0))
