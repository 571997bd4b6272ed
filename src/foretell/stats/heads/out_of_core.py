"""The association table of a file that need not fit into memory.

    result = stream_association("attention.parquet", n_permutations=0)
    result.frame, result.ledger, result.validity

A regular Parquet file (every head lists the same samples in the same order) is read once, a few million rows at a time.
Any other Parquet or comma-separated file is first split into temporary files, one per dataset and layer, and each of
those is cleaned and tested alone. Small files and files of other kinds are read at once. All ways give what
`read_table` and `association` give in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from foretell.errors import InputError, TableError, located
from foretell.schema.tables import SHARES
from foretell.stats.auc.rank_sums import ColumnSums, column_sums
from foretell.stats.folds import derived_seed
from foretell.stats.heads.association import (
    ColumnStatistics,
    association,
    association_frame,
    column_statistics,
    statistics_of_sums,
)
from foretell.stats.heads.max_statistic import MaxStatistic, no_permutations, permutations_of, scan_max_statistic
from foretell.stats.heads.sorted_parquet import Block, IrregularError, regular_blocks
from foretell.stats.heads.split_by_layer import split_by_layer
from foretell.stats.table.cleaning import REASONS, Ledger, LedgerEntry, Validity, nothing_left
from foretell.stats.table.dense import dense, strata_of
from foretell.stats.table.joined import BASELINES, StudyTable, read_table, refuse_conflicts
from foretell.stats.table.sources import is_parquet, parquet_parts

__all__ = ["StreamedAssociation", "stream_association"]

_BYTES_OF_ROW = 32
"""About what a row of a file takes; a file that should have less than `n_rows` rows is not worth splitting."""
_SAMPLE_COLUMNS = ("behavior_label", "group", "stratum", *BASELINES)


@dataclass(frozen=True)
class StreamedAssociation:
    """The association table of a file, and the account of its rows."""

    frame: pl.DataFrame
    """Columns of `foretell.schema.tables.ASSOCIATION`."""
    ledger: Ledger
    validity: Validity
    regular: bool
    """Whether the file was read straight; otherwise it was split by dataset and layer first."""


@dataclass(frozen=True)
class _Settings:
    metrics: tuple[str, ...]
    table: Mapping[str, Any]
    """Keyword arguments of `read_table`."""
    n_permutations: int
    seed: int
    level: float
    n_rows: int
    progress: bool | None

    def bar(self, work: Iterable[Any] | None = None, **options: Any) -> Any:
        hidden = None if self.progress is None else not self.progress
        return tqdm(work, desc="association", disable=hidden, **options)

    def largest(self, dataset: str, samples: pl.DataFrame, blocks: Iterable[Any], order: Any) -> MaxStatistic:
        """Return the max-statistic over blocks whose samples are those of the frame taken in an order."""
        label, stratum = samples.get_column("behavior_label").to_numpy(), strata_of(samples)
        permutations = permutations_of(
            label,
            group=np.array(samples.get_column("group").to_list(), dtype=np.str_),
            stratum=stratum,
            n_permutations=self.n_permutations,
            seed=derived_seed(self.seed, "association", dataset),
        )
        moved = replace(permutations, labels=permutations.labels[:, order])
        return scan_max_statistic(blocks, label[order], moved, stratum=None if stratum is None else stratum[order])


def stream_association(
    source: Path | str,
    *,
    labels: Path | str | pl.DataFrame | None = None,
    metrics: Sequence[str] = SHARES,
    group: str | Mapping[str, str] | None = None,
    stratum: str | Mapping[str, str] | None = None,
    compositional: bool | None = None,
    sum_tolerance: float = 1e-6,
    n_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    n_rows: int = 2_000_000,
    progress: bool | None = None,
) -> StreamedAssociation:
    """Association of every dataset, layer, head and metric with the label, from a file of any size.

    Memory is bounded by `n_rows` rows or the rows of one layer of one dataset, whichever are more; a file that is
    neither Parquet nor comma-separated is read at once.

    Args:
        source: Path of anything that `read_table` reads.
        labels: See `read_table`; held in memory.
        metrics: See `read_table`.
        group: See `read_table`.
        stratum: See `read_table`.
        compositional: See `read_table`.
        sum_tolerance: See `read_table`.
        n_permutations: See `association`.
        seed: See `association`.
        level: See `association`.
        n_rows: About how many rows are in memory at once.
        progress: Show a progress bar; None means only on a terminal.

    Raises:
        TableError: As `read_table`.
        InputError: A setting is out of range.
    """
    if not 0 < level < 1 or n_permutations < 0 or n_rows < 1:
        raise InputError(f"level {level}, {n_permutations} permutations or {n_rows} rows at a time are out of range")
    metrics = tuple(dict.fromkeys(metrics))
    table: dict[str, Any] = {
        "labels": labels,
        "metrics": metrics,
        "group": group,
        "stratum": stratum,
        "compositional": set(metrics) == set(SHARES) if compositional is None else compositional,
        "sum_tolerance": sum_tolerance,
    }
    settings = _Settings(metrics, table, n_permutations, seed, level, n_rows, progress)
    path = Path(source)
    if not path.exists():
        raise TableError(located(path, "there is no such file or folder"))
    parts = parquet_parts(path) if path.is_dir() else [path]
    if is_parquet(path):
        try:
            return _regular(parts, settings)
        except (IrregularError, TableError, pl.exceptions.PolarsError):
            pass  # the slower way can handle it, or say what is wrong
    if sum(part.stat().st_size for part in parts) < _BYTES_OF_ROW * n_rows:
        return _at_once(path, settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _split(path, split_by_layer(parts, Path(folder), wanted=_wanted(settings)), settings)
        except IrregularError:
            pass  # reading at once can handle it, or say in which row it breaks
        except TableError as error:
            raise TableError(str(error).replace(folder, str(path))) from error
    return _at_once(path, settings)


def _wanted(settings: _Settings) -> set[str]:
    named = {settings.table[name] for name in ("group", "stratum") if isinstance(settings.table[name], str)}
    return {"id", "dataset", "layer", "head", *_SAMPLE_COLUMNS, *settings.metrics, *named}


def _at_once(path: Path, settings: _Settings) -> StreamedAssociation:
    """Return the association of a file that can only be read as a whole."""
    table = read_table(path, **settings.table)
    frame = association(
        table,
        n_permutations=settings.n_permutations,
        seed=settings.seed,
        level=settings.level,
        progress=settings.progress,
    )
    return StreamedAssociation(frame, table.ledger, table.validity, regular=False)


def _regular(parts: Sequence[Path], settings: _Settings) -> StreamedAssociation:
    """Return the association of regular Parquet files; raises `IrregularError` where they are not."""
    there = pl.scan_parquet(parts[0], glob=False).collect_schema().names()
    keys = {"id", "dataset", "layer", "head", *settings.metrics}
    blocks = regular_blocks(
        parts,
        columns=[name for name in there if name in _wanted(settings) - keys],
        metrics=settings.metrics,
        compositional=settings.table["compositional"],
        tolerance=settings.table["sum_tolerance"],
        n_rows=settings.n_rows,
    )
    tables: list[StudyTable] = []
    accounts: list[tuple[Ledger, Validity]] = []
    frames: list[pl.DataFrame] = []
    with settings.bar(unit="rows", unit_scale=True) as bar:
        for dataset, of_dataset in groupby(blocks, key=lambda block: block.dataset):
            scan = _DatasetScan(dataset, settings, bar)
            frames.append(scan.frame(of_dataset))
            tables.append(scan.table)
            accounts.append((scan.ledger, scan.validity))
    strangers = set.intersection(*(set(table.ledger.unmatched_label_ids) for table in tables))
    ledger = replace(_sum_of_ledgers([ledger for ledger, _ in accounts]), unmatched_label_ids=tuple(sorted(strangers)))
    return StreamedAssociation(
        pl.concat(frames).sort("dataset", maintain_order=True),
        replace(ledger, notes=tables[0].ledger.notes),
        _sum_of_validities([validity for _, validity in accounts], pl.concat([table.samples for table in tables])),
        regular=True,
    )


class _DatasetScan:
    """The statistics of one dataset of a regular file, gathered while its blocks pass by."""

    def __init__(self, dataset: str, settings: _Settings, bar: Any) -> None:
        self.dataset, self.settings, self.bar = dataset, settings, bar
        self.parts: list[tuple[pl.DataFrame, ColumnStatistics | ColumnSums]] = []
        self.n_rows, self.n_missing, self.n_negative, self.deviation = 0, 0, 0, 0.0

    def frame(self, blocks: Iterator[Block]) -> pl.DataFrame:
        """Return the association table of the dataset."""
        first = next(blocks)
        self.table = read_table(first.samples, **self.settings.table)
        samples = self.table.samples
        if samples.height != first.samples.height:
            raise IrregularError(f'samples of dataset "{self.dataset}" need cleaning')
        ids = first.samples.select(pl.col("id").cast(pl.String)).get_column("id")
        order = ids.replace_strict(samples.get_column("id"), pl.int_range(samples.height, eager=True)).to_numpy()
        self.label = samples.get_column("behavior_label").to_numpy()[order]
        self.group = np.array(samples.get_column("group").to_list(), dtype=np.str_)[order]
        columns = self._columns(first, blocks)
        if self.settings.n_permutations:
            largest = self.settings.largest(self.dataset, samples, columns, order)
        else:
            n_columns = sum(len(block) for block in columns)
            largest = no_permutations(n_columns, seed=self.settings.seed)
        places = pl.concat([place for place, _ in self.parts])
        sums = [found for _, found in self.parts if isinstance(found, ColumnSums)]
        done = [found for _, found in self.parts if isinstance(found, ColumnStatistics)]
        statistics = statistics_of_sums(_joined_sums(sums), level=self.settings.level) if sums else _joined(done)
        return _sorted(association_frame(self.dataset, places, statistics, largest), self.settings.metrics)

    def _columns(self, first: Block, blocks: Iterator[Block]) -> Iterator[Any]:
        alone = np.unique(self.group).size == self.group.size
        shares = self.settings.table["compositional"]
        for block in _chained(first, blocks):
            self.n_rows += block.values[0].size
            self.deviation = max(self.deviation, block.max_deviation)
            self.bar.update(block.values[0].size)
            for metric, values in zip(self.settings.metrics, block.values, strict=True):
                place = pl.DataFrame({"layer": block.layer, "head": block.head}).with_columns(metric=pl.lit(metric))
                if not shares:
                    self.n_missing += int(np.count_nonzero(np.isnan(values)))
                    self.n_negative += int(np.count_nonzero(values < 0))
                if alone:
                    self.parts.append((place, column_sums(values, self.label)))
                else:
                    level = self.settings.level
                    self.parts.append((place, column_statistics(values.T, self.label, group=self.group, level=level)))
                yield values

    @property
    def ledger(self) -> Ledger:
        """The account of the dataset's rows; a regular file loses none."""
        return Ledger(tuple(LedgerEntry(reason, 0) for reason in REASONS), self.n_rows, self.n_rows)

    @property
    def validity(self) -> Validity:
        """How valid the rows are."""
        deviation = self.deviation if self.settings.table["compositional"] else None
        tolerance = self.settings.table["sum_tolerance"]
        return Validity(self.n_rows, {}, deviation, deviation, tolerance, self.n_missing, self.n_negative)


def _chained(first: Block, blocks: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from blocks


def _split(path: Path, folders: Sequence[Sequence[Path]], settings: _Settings) -> StreamedAssociation:
    """Return the association of a file that was split into parts by dataset and layer."""
    if not folders:
        raise TableError(located(path, "the table has no rows"))
    tables: list[StudyTable] = []
    parts: dict[str, list[tuple[Sequence[Path], pl.DataFrame, ColumnStatistics]]] = {}
    for folder in settings.bar(folders, unit="layer"):
        table = _table_of(folder, settings)
        for dataset in table.datasets:
            array = dense(table, dataset)
            found = column_statistics(array.columns, array.label, group=array.group, level=settings.level)
            parts.setdefault(dataset, []).append((folder, array.column_index(), found))
        tables.append(replace(table, frame=table.frame.clear()))
    samples = pl.concat([table.samples for table in tables], how="diagonal").unique().sort("dataset", "id")
    refuse_conflicts(samples, ["id", "dataset"], str(path))
    ledger = _sum_of_ledgers([table.ledger for table in tables])
    if not parts:
        told = ", ".join(f"{entry.n_rows} {entry.reason}" for entry in ledger.entries if entry.n_rows)
        raise TableError(located(path, nothing_left(ledger.n_read, told)))
    frames = []
    for dataset in sorted(parts):
        of_dataset = samples.filter(pl.col("dataset") == dataset).unique("id", maintain_order=True)
        columns = pl.concat([index for _, index, _ in parts[dataset]])
        statistics = _joined([found for _, _, found in parts[dataset]])
        if settings.n_permutations:
            blocks = (_aligned(folder, dataset, of_dataset, settings) for folder, _, _ in parts[dataset])
            largest = settings.largest(dataset, of_dataset, blocks, slice(None))
        else:
            largest = no_permutations(columns.height, seed=settings.seed)
        frames.append(_sorted(association_frame(dataset, columns, statistics, largest), settings.metrics))
    return StreamedAssociation(
        pl.concat(frames), ledger, _sum_of_validities([table.validity for table in tables], samples), regular=False
    )


def _table_of(folder: Sequence[Path], settings: _Settings) -> StudyTable:
    return read_table(folder[0].parent if len(folder) == 1 else _together(folder), **settings.table, may_be_empty=True)


def _together(files: Sequence[Path]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file, glob=False) for file in files], how="diagonal_relaxed")


def _aligned(folder: Sequence[Path], dataset: str, samples: pl.DataFrame, settings: _Settings) -> Any:
    """Return the columns of one layer with the samples of the whole dataset, nan where a sample lacks a row."""
    array = dense(_table_of(folder, settings), dataset)
    columns = np.full((array.columns.shape[1], samples.height), np.nan)
    columns[:, np.searchsorted(samples.get_column("id").to_numpy(), np.array(array.ids, dtype=object))] = (
        array.columns.T
    )
    return columns


def _sorted(frame: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    rank = pl.col("metric").replace_strict(list(metrics), list(range(len(metrics))))
    return frame.sort("dataset", "layer", "head", rank)


def _joined(parts: Sequence[ColumnStatistics]) -> ColumnStatistics:
    names = [field.name for field in fields(ColumnStatistics) if field.name not in {"reason", "level", "method"}]
    reason = tuple(reason for part in parts for reason in part.reason)
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return ColumnStatistics(**arrays, reason=reason, level=parts[0].level, method=parts[0].method)


def _joined_sums(parts: Sequence[ColumnSums]) -> ColumnSums:
    return ColumnSums(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(ColumnSums)}
    )


def _sum_of_ledgers(ledgers: Sequence[Ledger]) -> Ledger:
    counts = [sum(ledger.entries[index].n_rows for ledger in ledgers) for index in range(len(REASONS))]
    unread = {name for ledger in ledgers for name in ledger.unmatched_table_ids}
    strangers = set.intersection(*(set(ledger.unmatched_label_ids) for ledger in ledgers))
    return Ledger(
        tuple(LedgerEntry(reason, count) for reason, count in zip(REASONS, counts, strict=True)),
        sum(ledger.n_read for ledger in ledgers),
        sum(ledger.n_kept for ledger in ledgers),
        tuple(sorted(unread)),
        tuple(sorted(strangers)),
        ledgers[0].notes,
    )


def _sum_of_validities(parts: Sequence[Validity], samples: pl.DataFrame) -> Validity:
    def largest(values: list[float | None]) -> float | None:
        return max((value for value in values if value is not None), default=None)

    counted = samples.group_by("dataset").agg(pl.col("id").n_unique()).sort("dataset")
    return Validity(
        sum(part.n_rows for part in parts),
        dict(counted.iter_rows()),
        largest([part.max_deviation for part in parts]),
        largest([part.max_deviation_read for part in parts]),
        parts[0].tolerance,
        sum(part.n_not_finite for part in parts),
        sum(part.n_negative for part in parts),
    )
