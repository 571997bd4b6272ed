"""The association table of a file that need not fit into memory.

    result = stream_association("attention.parquet", n_permutations=0)
    result.frame, result.ledger, result.validity

A sorted Parquet file (every head lists the same samples in the same order) is read once, a few million rows at a time.
Any other Parquet or comma-separated file is first split into temporary files, one per dataset and layer, which are
cleaned and tested one by one. Small files and other formats are read into memory. The result equals that of
`read_table` and `association`.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from foretell.errors import InputError, TableError, located
from foretell.schema.tables import SHARES
from foretell.stats.auc.rank_sums import ColumnSums, column_sums, joined_sums
from foretell.stats.folds import derived_seed
from foretell.stats.heads.association import (
    ColumnStatistics,
    association,
    association_frame,
    column_statistics,
    statistics_from_sums,
)
from foretell.stats.heads.max_statistic import MaxStatistic, blockwise_max_statistic, permuted_labels
from foretell.stats.heads.sorted_parquet import Block, NotSortedError, sorted_blocks
from foretell.stats.heads.split_by_layer import split_by_layer
from foretell.stats.table.cleaning import REASONS, Ledger, Validity, nothing_left_message
from foretell.stats.table.dense import dense_dataset, sample_strata
from foretell.stats.table.joined import BASELINES, StudyTable, read_table, require_one_label
from foretell.stats.table.sources import is_parquet, parquet_parts

__all__ = ["StreamedAssociation", "stream_association"]

_BYTES_PER_ROW = 32
"""Approximate size of a row in a file; a file of fewer than `n_rows` rows is not split."""
_SAMPLE_COLUMNS = ("behavior_label", "group", "stratum", *BASELINES)


@dataclass(frozen=True)
class StreamedAssociation:
    """The association table of a file, with the ledger of its rows."""

    frame: pl.DataFrame
    """Columns of `foretell.schema.tables.ASSOCIATION`."""
    ledger: Ledger
    validity: Validity
    sorted_parquet: bool
    """Whether the file was sorted Parquet and read in one pass."""


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

    def largest(self, dataset: str, samples: pl.DataFrame, blocks: Iterable[Any], order: Any) -> MaxStatistic | None:
        """Return the max-statistic over blocks whose samples are those of the frame in the given order."""
        if not self.n_permutations:
            return None
        label, stratum = samples.get_column("behavior_label").to_numpy(), sample_strata(samples)
        permutations = permuted_labels(
            label,
            group=np.array(samples.get_column("group").to_list(), dtype=np.str_),
            stratum=stratum,
            n_permutations=self.n_permutations,
            seed=derived_seed(self.seed, "association", dataset),
        )
        moved = replace(permutations, labels=permutations.labels[:, order])
        return blockwise_max_statistic(blocks, label[order], moved, stratum=None if stratum is None else stratum[order])


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

    Memory is bounded by `n_rows` rows or the rows of one layer of one dataset, whichever is larger; a file that is
    neither Parquet nor comma-separated is read into memory.

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
        n_rows: Approximate number of rows in memory.
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
    files = parquet_parts(path) if path.is_dir() else [path]
    if is_parquet(path):
        try:
            return _from_sorted_parquet(files, settings)
        except (NotSortedError, TableError, pl.exceptions.PolarsError):
            pass  # the slower path handles it, or says what is wrong
    if sum(file.stat().st_size for file in files) < _BYTES_PER_ROW * n_rows:
        return _in_memory(path, settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _layer_by_layer(path, split_by_layer(files, Path(folder), wanted=_wanted(settings)), settings)
        except NotSortedError:
            pass  # reading it into memory handles it, or says which row is malformed
        except TableError as error:
            raise TableError(str(error).replace(folder, str(path))) from error
    return _in_memory(path, settings)


def _wanted(settings: _Settings) -> set[str]:
    named = {settings.table[name] for name in ("group", "stratum") if isinstance(settings.table[name], str)}
    return {"id", "dataset", "layer", "head", *_SAMPLE_COLUMNS, *settings.metrics, *named}


def _in_memory(path: Path, settings: _Settings) -> StreamedAssociation:
    """Return the association of a file that is read as a whole."""
    table = read_table(path, **settings.table)
    frame = association(
        table,
        n_permutations=settings.n_permutations,
        seed=settings.seed,
        level=settings.level,
        progress=settings.progress,
    )
    return StreamedAssociation(frame, table.ledger, table.validity, sorted_parquet=False)


def _from_sorted_parquet(files: Sequence[Path], settings: _Settings) -> StreamedAssociation:
    """Return the association of sorted Parquet files; raises `NotSortedError` where they are not."""
    columns = pl.scan_parquet(files[0], glob=False).collect_schema().names()
    keys = {"id", "dataset", "layer", "head", *settings.metrics}
    blocks = sorted_blocks(
        files,
        columns=[name for name in columns if name in _wanted(settings) - keys],
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
    unmatched = set.intersection(*(set(table.ledger.unmatched_label_ids) for table in tables))
    ledger = replace(_sum_of_ledgers([ledger for ledger, _ in accounts]), unmatched_label_ids=tuple(sorted(unmatched)))
    return StreamedAssociation(
        pl.concat(frames).sort("dataset", maintain_order=True),
        replace(ledger, notes=tables[0].ledger.notes),
        _sum_of_validities([validity for _, validity in accounts], pl.concat([table.samples for table in tables])),
        sorted_parquet=True,
    )


class _DatasetScan:
    """The statistics of one dataset of a sorted file, accumulated block by block."""

    def __init__(self, dataset: str, settings: _Settings, bar: Any) -> None:
        self.dataset, self.settings, self.bar = dataset, settings, bar
        self.results: list[tuple[pl.DataFrame, ColumnStatistics | ColumnSums]] = []
        self.n_rows, self.n_missing, self.n_negative, self.deviation = 0, 0, 0, 0.0

    def frame(self, blocks: Iterator[Block]) -> pl.DataFrame:
        """Return the association table of the dataset."""
        first = next(blocks)
        self.table = read_table(first.samples, **self.settings.table)
        samples = self.table.samples
        if samples.height != first.samples.height:
            raise NotSortedError(f'samples of dataset "{self.dataset}" need cleaning')
        ids = first.samples.select(pl.col("id").cast(pl.String)).get_column("id")
        order = ids.replace_strict(samples.get_column("id"), pl.int_range(samples.height, eager=True)).to_numpy()
        self.label = samples.get_column("behavior_label").to_numpy()[order]
        self.group = np.array(samples.get_column("group").to_list(), dtype=np.str_)[order]
        columns = self._columns(first, blocks)
        largest = self.settings.largest(self.dataset, samples, columns, order)
        deque(columns, maxlen=0)  # without permutations no column was read yet
        places = pl.concat([place for place, _ in self.results])
        sums = [found for _, found in self.results if isinstance(found, ColumnSums)]
        clustered = [found for _, found in self.results if isinstance(found, ColumnStatistics)]
        statistics = statistics_from_sums(joined_sums(sums), level=self.settings.level) if sums else _joined(clustered)
        return _sorted(association_frame(self.dataset, places, statistics, largest), self.settings.metrics)

    def _columns(self, first: Block, blocks: Iterator[Block]) -> Iterator[Any]:
        independent = np.unique(self.group).size == self.group.size
        shares = self.settings.table["compositional"]
        for block in chain([first], blocks):
            self.n_rows += block.values[0].size
            self.deviation = max(self.deviation, block.max_deviation)
            self.bar.update(block.values[0].size)
            for metric, values in zip(self.settings.metrics, block.values, strict=True):
                place = pl.DataFrame({"layer": block.layer, "head": block.head}).with_columns(metric=pl.lit(metric))
                if not shares:
                    self.n_missing += int(np.count_nonzero(np.isnan(values)))
                    self.n_negative += int(np.count_nonzero(values < 0))
                if independent:
                    self.results.append((place, column_sums(values, self.label)))
                else:
                    level = self.settings.level
                    self.results.append((place, column_statistics(values.T, self.label, group=self.group, level=level)))
                yield values

    @property
    def ledger(self) -> Ledger:
        """The ledger of the dataset's rows; no row of a sorted file is dropped."""
        return Ledger(dict.fromkeys(REASONS, 0), self.n_rows, self.n_rows)

    @property
    def validity(self) -> Validity:
        """How valid the rows are."""
        deviation = self.deviation if self.settings.table["compositional"] else None
        tolerance = self.settings.table["sum_tolerance"]
        return Validity(self.n_rows, {}, deviation, deviation, tolerance, self.n_missing, self.n_negative)


def _layer_by_layer(path: Path, folders: Sequence[Sequence[Path]], settings: _Settings) -> StreamedAssociation:
    """Return the association of a file that was split by dataset and layer."""
    if not folders:
        raise TableError(located(path, "the table has no rows"))
    tables: list[StudyTable] = []
    results: dict[str, list[tuple[Sequence[Path], pl.DataFrame, ColumnStatistics]]] = {}
    for folder in settings.bar(folders, unit="layer"):
        table = _table_of(folder, settings)
        for dataset in table.datasets:
            data = dense_dataset(table, dataset)
            found = column_statistics(data.columns, data.label, group=data.group, level=settings.level)
            results.setdefault(dataset, []).append((folder, data.column_index(), found))
        tables.append(replace(table, frame=table.frame.clear()))
    samples = pl.concat([table.samples for table in tables], how="diagonal").unique().sort("dataset", "id")
    require_one_label(samples, ["id", "dataset"], str(path))
    ledger = _sum_of_ledgers([table.ledger for table in tables])
    if not results:
        raise TableError(located(path, nothing_left_message(ledger)))
    frames = []
    for dataset in sorted(results):
        of_dataset = samples.filter(pl.col("dataset") == dataset).unique("id", maintain_order=True)
        columns = pl.concat([index for _, index, _ in results[dataset]])
        statistics = _joined([found for _, _, found in results[dataset]])
        blocks = (_aligned(folder, dataset, of_dataset, settings) for folder, _, _ in results[dataset])
        largest = settings.largest(dataset, of_dataset, blocks, slice(None))
        frames.append(_sorted(association_frame(dataset, columns, statistics, largest), settings.metrics))
    return StreamedAssociation(
        pl.concat(frames),
        ledger,
        _sum_of_validities([table.validity for table in tables], samples),
        sorted_parquet=False,
    )


def _table_of(folder: Sequence[Path], settings: _Settings) -> StudyTable:
    source: Any = folder[0].parent
    if len(folder) > 1:
        source = pl.concat([pl.read_parquet(file, glob=False) for file in folder], how="diagonal_relaxed")
    return read_table(source, **settings.table, may_be_empty=True)


def _aligned(folder: Sequence[Path], dataset: str, samples: pl.DataFrame, settings: _Settings) -> Any:
    """Return the columns of one layer for all samples of the dataset, nan where a sample has no row."""
    data = dense_dataset(_table_of(folder, settings), dataset)
    columns = np.full((data.columns.shape[1], samples.height), np.nan)
    columns[:, np.searchsorted(samples.get_column("id").to_numpy(), np.array(data.ids, dtype=object))] = data.columns.T
    return columns


def _sorted(frame: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    rank = pl.col("metric").replace_strict(list(metrics), list(range(len(metrics))))
    return frame.sort("dataset", "layer", "head", rank)


def _joined(parts: Sequence[ColumnStatistics]) -> ColumnStatistics:
    names = [field.name for field in fields(ColumnStatistics) if field.name not in {"reason", "level", "method"}]
    reason = tuple(reason for part in parts for reason in part.reason)
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return ColumnStatistics(**joined, reason=reason, level=parts[0].level, method=parts[0].method)


def _sum_of_ledgers(ledgers: Sequence[Ledger]) -> Ledger:
    unread = {name for ledger in ledgers for name in ledger.unmatched_table_ids}
    unmatched = set.intersection(*(set(ledger.unmatched_label_ids) for ledger in ledgers))
    return Ledger(
        {reason: sum(ledger.entries[reason] for ledger in ledgers) for reason in REASONS},
        sum(ledger.n_read for ledger in ledgers),
        sum(ledger.n_kept for ledger in ledgers),
        tuple(sorted(unread)),
        tuple(sorted(unmatched)),
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
