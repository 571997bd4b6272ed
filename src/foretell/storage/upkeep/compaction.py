"""Compaction: the rows of many parts in few files, sorted, each with one dataset and layer.

A study of one layer then opens one file instead of every part, and hidden states of a layer lie together. The new files
are written beside the old ones; one small file, written last, names them all and the parts that they replace. Before it
is there the run is the old one, afterwards the new one, wherever a crash falls. One table is split by dataset and layer
on disk and sorted piece by piece, so memory does not grow with the run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import polars as pl

from foretell.errors import RunError
from foretell.schema.tables import SAMPLES, TABLES, conform, empty
from foretell.storage.atomic import saving
from foretell.storage.commits.job_identity import job_hash
from foretell.storage.commits.part_commit import Part, PartFile, RunTable
from foretell.storage.commits.run_folder import RunFolder
from foretell.storage.upkeep.compact_states import compact_states
from foretell.storage.upkeep.repair import remove_drafts, remove_parts
from foretell.storage.writer_lock import writing_alone

__all__ = ["compact_run"]

_ROWS = 1_000_000
"""Rows in one file, unless one sample has more."""
_AT_ONCE = 200
"""Parts that are split at once."""
_SPOOL = ".compacting-"


def compact_run(run: RunFolder) -> None:
    """Put the rows of all parts of a run into few files; see `Run.compact`."""
    with writing_alone(run.location):
        _remove_spools(run.path)
        remove_drafts(run)
        parts = run.parts
        _remove_replaced(run, parts)
        if len(parts) < 2:
            return
        run.verify()  # what is damaged stays where a repair costs one part
        manifest = run.read_manifest()
        if manifest.listed is not None:
            run.upgrade(manifest)
        names = run.part_names
        numbers = [int(name[8:]) for name in names if name.startswith("compact-") and name[8:].isdigit()]
        name = f"compact-{max(numbers, default=-1) + 1:05d}"
        remove_parts(run, [name])  # files of a compaction that was killed
        with saving(run.location), tempfile.TemporaryDirectory(prefix=_SPOOL, dir=run.path) as spool:
            files = _compacted(run, parts, name, Path(spool))
        ids = tuple(own for part in parts if part.of_table("samples") for own in part.ids or ())
        run.commit(Part(name, job_hash(manifest.job), ids, tuple(files), tuple(sorted(names))))
        _remove_replaced(run, run.parts)


def _compacted(run: RunFolder, parts: Sequence[Part], name: str, spool: Path) -> list[PartFile]:
    """Write the new files and return them."""
    files: list[PartFile] = []
    chunks = _Chunks(run, parts)
    for table in get_args(RunTable):
        if table == "hidden":
            files += compact_states(run, parts, name)
        elif any(part.of_table(table) for part in parts):
            files += _compacted_table(run, parts, table, name=name, spool=spool / table, chunks=chunks)
            shutil.rmtree(spool / table)
    return files


class _Chunks:
    """Samples by their order, so that a file has the rows of neighbours, and datasets by number.

    Names of datasets come from anywhere and are no names of folders.
    """

    def __init__(self, run: RunFolder, parts: Sequence[Part]) -> None:
        files = [file.place for part in parts for file in part.of_table("samples")]
        run.fetch(files)
        known = [pl.read_parquet(run.path / file, columns=["id", "dataset"]) for file in files]
        samples = pl.concat([empty(SAMPLES).select("id", "dataset"), *known]).sort("id").with_row_index("rank")
        self._samples = samples.with_columns(pl.col("dataset").rank("dense").alias("_dataset")).drop("dataset")
        self.n_samples = max(1, samples.height)

    def of(self, n_per_file: int) -> pl.LazyFrame:
        """Return dataset and chunk of each sample, where a file takes so many."""
        return self._samples.lazy().select("id", "_dataset", (pl.col("rank") // n_per_file).alias("_chunk"))


def _compacted_table(
    run: RunFolder, parts: Sequence[Part], table: RunTable, *, name: str, spool: Path, chunks: _Chunks
) -> list[PartFile]:
    files = [file for part in parts for file in part.of_table(table)]
    run.fetch(file.place for file in files)
    paths = [run.contained(file.place) for file in files]
    keys: list[str] = [] if table == "samples" else [key for key in ("dataset", "layer") if key in TABLES[table].dtypes]
    n_pieces = 1 if not keys else max(1, pl.read_parquet(paths[0], columns=keys).unique().height)
    split_by = [{"dataset": "_dataset"}.get(key, key) for key in keys]
    n_rows = sum(file.n_rows or 0 for file in files)
    chunk_of = chunks.of(max(1, _ROWS * n_pieces * chunks.n_samples // max(1, n_rows)))
    spool.mkdir()
    for first in range(0, len(paths), _AT_ONCE):
        rows = pl.concat(map(pl.scan_parquet, paths[first : first + _AT_ONCE]), how="diagonal")
        split = pl.PartitionBy(spool / f"{first:06d}", key=[*split_by, "_chunk"])
        rows.join(chunk_of, on="id", how="left").sink_parquet(split, mkdir=True)
    pieces: dict[tuple[str, ...], list[Path]] = {}
    for path in sorted(spool.rglob("*.parquet")):
        pieces.setdefault(path.relative_to(spool).parent.parts[1:], []).append(path)
    order = [*keys, *(["head"] if "head" in TABLES[table].dtypes else [])]
    order += [key for key in TABLES[table].key if key not in order]
    written = []
    for number, key in enumerate(sorted(pieces, key=_by_number)):
        frame = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in pieces[key]], how="diagonal")
        sorted_rows = conform(frame, TABLES[table]).sort(order)
        written.append(run.write_rows(table, f"{name}.{number:06d}.parquet", sorted_rows))
    if sum(file.n_rows or 0 for file in written) != n_rows:
        raise RunError(f"{run.location}/{table}: lost rows while it was compacted; the run is as it was")
    return written


def _by_number(key: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Return a key of folders such as `layer=10` that sorts as numbers do."""
    values = [one.partition("=")[2] for one in key]
    return tuple(("", int(value)) if value.isdigit() else (value, 0) for value in values)


def _remove_replaced(run: RunFolder, active: Sequence[Part]) -> None:
    """Delete the parts that were compacted into others; a finished run then names those that it has."""
    names = tuple(part.name for part in active)
    replaced = {name for part in active for name in part.replaces} - set(names)
    if replaced:
        manifest = run.read_manifest()
        if run.finished and manifest.parts != names:
            run.write_manifest(replace(manifest, parts=names))
        remove_parts(run, sorted(replaced))


def _remove_spools(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.glob(f"{_SPOOL}*"):
            shutil.rmtree(path, ignore_errors=True)
