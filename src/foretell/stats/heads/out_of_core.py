"""The association table of a file that need not fit into memory.

    result = stream_association("attention.parquet", n_permutations=0)
    result.frame, result.ledger, result.validity

A sorted Parquet file (every head lists the same samples in the same order) is read once, a few million rows at a time,
and once more for permutations.
Any other Parquet or comma-separated file is first split into temporary files, one per dataset and layer, which are
cleaned and tested one by one. Small files and other formats are read into memory. The result equals that of
`read_table` and `association`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.errors import InputError, TableError, located
from foretell.jobs.ray_pool import Workers, connected, in_order
from foretell.records.binary_tables import is_parquet, parquet_parts
from foretell.records.by_sample import require_keyed, values_by_sample
from foretell.records.label_rows import label_source_of, read_label_rows
from foretell.records.matching_ids import match_labels
from foretell.records.skipped import Errors
from foretell.schema.tables import SHARES
from foretell.stats.heads.association import (
    ColumnStatistics,
    association,
    association_frame,
    column_statistics,
)
from foretell.stats.heads.dataset_scan import (
    SampleFacts,
    SortedScan,
    StreamSettings,
    in_table_order,
    joined_statistics,
    notes_of_samples,
)
from foretell.stats.heads.max_statistic import joined_max_statistic
from foretell.stats.heads.sorted_parquet import NotSortedError, sorted_blocks
from foretell.stats.heads.split_by_layer import split_by_layer
from foretell.stats.table.cleaning import REASONS, Ledger, Validity, nothing_left_message
from foretell.stats.table.contents import Contents, dataset_contents
from foretell.stats.table.dense import dense_dataset
from foretell.stats.table.joined import BASELINES, StudyTable, read_table, require_one_label

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


def stream_association(  # noqa: PLR0913 - one keyword more than elsewhere, each a choice of its own
    source: Path | str,
    *,
    labels: Any = None,
    metrics: Sequence[str] = SHARES,
    group: Any = None,
    stratum: Any = None,
    compositional: bool | None = None,
    sum_tolerance: float | None = None,
    errors: Errors = "refuse",
    n_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    n_rows: int = 2_000_000,
    workers: int | Workers | None = None,
    progress: bool | None = None,
) -> StreamedAssociation:
    """Association of every dataset, layer, head and metric with the label, from a file of any size.

    Memory is bounded by `n_rows` rows or the rows of one layer of one dataset, whichever is larger; a file that is
    neither Parquet nor comma-separated is read into memory.

    Args:
        source: Path of anything that `read_table` reads.
        labels: See `read_table`, but no values in an order; held in memory.
        metrics: See `read_table`.
        group: A column, or a mapping from id or (dataset, id); see `read_table`.
        stratum: As `group`.
        compositional: See `read_table`.
        sum_tolerance: See `read_table`.
        errors: See `read_table`; with "skip", a text table is read into memory.
        n_permutations: See `association`.
        seed: See `association`.
        level: See `association`.
        n_rows: Approximate number of rows in memory, of each worker.
        workers: Layers of datasets at a time, each in a process of its own, with the numbers of one process; needs
            `foretell[ray]`. On other machines (`foretell.Workers`) the temporary folder (TMPDIR) must be shared.
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
        "group": require_keyed(group, name="group"),
        "stratum": require_keyed(stratum, name="stratum"),
        "errors": errors,
        "compositional": set(metrics) == set(SHARES) if compositional is None else compositional,
        "sum_tolerance": sum_tolerance,
    }
    settings = StreamSettings(metrics, table, n_permutations, seed, level, n_rows, progress)
    if labels is not None:
        extras = _wanted(settings) - set(metrics) - {"layer", "head"}
        table["labels"] = read_label_rows(label_source_of(labels), extras=extras, errors=errors)
    pool = Workers(workers) if isinstance(workers, int) else workers
    path = Path(source)
    if not path.exists():
        raise TableError(located(path, "there is no such file or folder"))
    files = parquet_parts(path) if path.is_dir() else [path]
    if is_parquet(path) and pool is None:
        try:
            return _from_sorted_parquet(files, settings)
        except (NotSortedError, TableError, pl.exceptions.PolarsError):
            pass  # the slower path handles it, or says what is wrong
    small = sum(file.stat().st_size for file in files) < _BYTES_PER_ROW * n_rows
    if small or (errors == "skip" and not is_parquet(path)):
        return _in_memory(path, settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            layers = split_by_layer(files, Path(folder), wanted=_wanted(settings))
            with connected(pool):
                return _layer_by_layer(path, layers, settings, pool)
        except NotSortedError:
            pass  # reading it into memory handles it, or says which row is malformed
        except TableError as error:
            raise TableError(str(error).replace(folder, str(path))) from error
    return _in_memory(path, settings)


def _require_unambiguous(samples: pl.DataFrame, settings: StreamSettings, path: str) -> None:
    """Refuse labels and mappings by id where datasets share ids, which parts of the table do not show."""
    ids = samples.select("id", "dataset").unique()
    if settings.table["labels"] is not None:
        match_labels(ids, settings.table["labels"], name=path, may_be_empty=True)
    for name in ("group", "stratum"):
        if isinstance(settings.table[name], Mapping):
            values_by_sample(settings.table[name], ids, name=name)


def _wanted(settings: StreamSettings) -> set[str]:
    named = {settings.table[name] for name in ("group", "stratum") if isinstance(settings.table[name], str)}
    return {"id", "dataset", "layer", "head", *_SAMPLE_COLUMNS, *settings.metrics, *named}


def _in_memory(path: Path, settings: StreamSettings) -> StreamedAssociation:
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


def _from_sorted_parquet(files: Sequence[Path], settings: StreamSettings) -> StreamedAssociation:
    """Return the association of sorted Parquet files; raises `NotSortedError` where they are not."""
    columns = pl.scan_parquet(files[0], glob=False).collect_schema().names()
    keys = {"id", "dataset", "layer", "head", *settings.metrics}
    blocks = partial(
        sorted_blocks,
        files,
        columns=[name for name in columns if name in _wanted(settings) - keys],
        metrics=settings.metrics,
        compositional=settings.table["compositional"],
        tolerance=settings.table["sum_tolerance"],
        n_rows=settings.n_rows,
    )
    scans: dict[str, SortedScan] = {}
    with settings.bar(unit="rows", unit_scale=True) as bar:
        for dataset, of_dataset in groupby(blocks(), key=lambda block: block.dataset):
            scans[dataset] = SortedScan(dataset, settings, bar)
            scans[dataset].read(of_dataset)
        samples = pl.concat([scan.table.samples for scan in scans.values()])
        _require_unambiguous(samples, settings, str(files[0]))
        regrouped = [name for name, scan in scans.items() if scan.facts.regroup()]
        if settings.n_permutations or regrouped:
            for dataset, of_dataset in groupby(blocks(), key=lambda block: block.dataset):
                scans[dataset].read_again(of_dataset, regrouped=dataset in regrouped)
    ledger = _sum_of_ledgers([scan.ledger for scan in scans.values()])
    notes = notes_of_samples({name: scan.facts for name, scan in scans.items()}, samples)
    return StreamedAssociation(
        pl.concat([scan.frame() for scan in scans.values()]).sort("dataset", maintain_order=True),
        replace(ledger, notes=(*ledger.notes, *notes)),
        _sum_of_validities([scan.validity for scan in scans.values()], samples),
        sorted_parquet=True,
    )


def _layer_by_layer(
    path: Path, folders: Sequence[Sequence[Path]], settings: StreamSettings, pool: Workers | None
) -> StreamedAssociation:
    """Return the association of a file that was split by dataset and layer."""
    if not folders:
        raise TableError(located(path, "the table has no rows"))
    tables: list[StudyTable] = []
    parts: dict[str, list[_Layer]] = {}
    of_folders = in_order(pool, partial(_layers_of, settings), folders)
    for table, layers in settings.bar(of_folders, total=len(folders), unit="layer"):
        for dataset, layer in layers.items():
            parts.setdefault(dataset, []).append(layer)
        tables.append(table)
    samples = pl.concat([table.samples for table in tables], how="diagonal").unique().sort("dataset", "id")
    require_one_label(samples, ["id", "dataset"], str(path))
    _require_unambiguous(samples, settings, str(path))
    ledger = _sum_of_ledgers([_named(table.ledger, table.source, str(path)) for table in tables])
    if not parts:
        raise TableError(located(path, nothing_left_message(ledger)))
    frames, facts = [], {}
    for dataset, layers in sorted(parts.items()):
        facts[dataset] = SampleFacts.of(samples.filter(dataset=dataset).unique("id", maintain_order=True))
        frames.append(_joined_layers(dataset, layers, facts[dataset], settings, pool))
    notes = notes_of_samples(facts, samples.unique(["dataset", "id"], maintain_order=True))
    return StreamedAssociation(
        pl.concat(frames),
        replace(ledger, notes=(*ledger.notes, *notes)),
        _sum_of_validities([table.validity for table in tables], samples),
        sorted_parquet=False,
    )


@dataclass(frozen=True)
class _Layer:
    """The statistics of one dataset's columns in one folder."""

    folder: Sequence[Path]
    index: pl.DataFrame
    statistics: ColumnStatistics
    ids: Sequence[str]
    contents: Contents


def _layers_of(settings: StreamSettings, folder: Sequence[Path]) -> tuple[StudyTable, dict[str, _Layer]]:
    """Return what is known of one folder: its table without rows, and the statistics of each dataset in it."""
    table = _table_of(folder, settings)
    layers = {}
    for dataset in table.datasets:
        data = dense_dataset(table, dataset)
        statistics = column_statistics(
            data.columns, data.label, group=data.group, stratum=data.stratum, level=settings.level
        )
        contents = dataset_contents(data, ranked=settings.n_permutations > 0)
        layers[dataset] = _Layer(folder, data.column_index(), statistics, data.ids, contents)
    return replace(table, frame=table.frame.clear()), layers


def _joined_layers(
    dataset: str, layers: Sequence[_Layer], facts: SampleFacts, settings: StreamSettings, pool: Workers | None
) -> pl.DataFrame:
    """Return the association table of one dataset from its layers, which are read again for permutations."""
    names = np.array(facts.ids, dtype=object)
    for layer in layers:
        facts.contents.include(layer.contents, np.searchsorted(names, np.array(layer.ids, dtype=object)))
    statistics = [layer.statistics for layer in layers]
    folders = [layer.folder for layer in layers]
    again = partial(_aligned, dataset, facts, settings)
    if facts.regroup():
        options = {"group": facts.group, "stratum": facts.stratum, "level": settings.level}
        statistics = list(
            in_order(pool, lambda folder: column_statistics(again(folder).T, facts.label, **options), folders)
        )
    if pool is None or not settings.n_permutations:
        largest = settings.largest(facts, map(again, folders))
    else:
        apart = in_order(pool, lambda folder: settings.largest(facts, [again(folder)]), folders)
        largest = joined_max_statistic([part for part in apart if part is not None])
    index, stratified = pl.concat([layer.index for layer in layers]), facts.stratum is not None
    frame = association_frame(dataset, index, joined_statistics(statistics), largest, stratified=stratified)
    return in_table_order(frame, settings.metrics)


def _table_of(folder: Sequence[Path], settings: StreamSettings) -> StudyTable:
    source: Any = folder[0].parent
    if len(folder) > 1:
        source = pl.concat([pl.read_parquet(file, glob=False) for file in folder], how="diagonal_relaxed")
    return read_table(source, **settings.table, may_be_empty=True)


def _aligned(
    dataset: str, facts: SampleFacts, settings: StreamSettings, folder: Sequence[Path]
) -> Float[np.ndarray, "column sample"]:
    """Return the columns of one layer for all samples of the dataset, nan where a sample has no row."""
    data = dense_dataset(_table_of(folder, settings), dataset)
    columns = np.full((data.columns.shape[1], len(facts.ids)), np.nan)
    ids = np.array(facts.ids, dtype=object)
    columns[:, np.searchsorted(ids, np.array(data.ids, dtype=object))] = data.columns.T
    return columns


def _named(ledger: Ledger, part: str, path: str) -> Ledger:
    """Return the ledger of a part with the file's own name in its notes."""
    return replace(ledger, notes=tuple(note.replace(part, path) for note in ledger.notes))


def _sum_of_ledgers(ledgers: Sequence[Ledger]) -> Ledger:
    unread = {name for ledger in ledgers for name in ledger.unmatched_table_ids}
    unmatched = set.intersection(*(set(ledger.unmatched_label_ids) for ledger in ledgers))
    return Ledger(
        {reason: sum(ledger.entries[reason] for ledger in ledgers) for reason in REASONS},
        sum(ledger.n_read for ledger in ledgers),
        sum(ledger.n_kept for ledger in ledgers),
        tuple(sorted(unread)),
        tuple(sorted(unmatched)),
        tuple(dict.fromkeys(note for ledger in ledgers for note in ledger.notes)),
        tuple(dict.fromkeys(record for ledger in ledgers for record in ledger.malformed)),
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
        max(part.tolerance for part in parts),
        sum(part.n_not_finite for part in parts),
        sum(part.n_negative for part in parts),
    )
