"""Whether the rows of a run belong together: unique keys, complete samples, masses that sum to 1, shards with rows.

What was changed on disk shows in checksums already; this finds what was written wrongly, or by another program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import polars as pl

from foretell.schema.tables import MASSES, POOLS, SEGMENTS, TABLES
from foretell.storage.commits.part_commit import Part, PartFile, RunTable
from foretell.storage.commits.run_folder import RunFolder
from foretell.storage.shard_file import tensors_of
from foretell.storage.upkeep.damage import Damage

__all__ = ["content_damages"]

_TODO = "repair the run (--repair removes it), then make the same call that read it"
_PLACES: dict[RunTable, tuple[str, ...]] = {
    "attention": ("layer", "head"),
    "checkpoints": ("layer", "head"),
    "rows": ("layer", "head"),
    "activity": ("layer", "concept"),
    "hidden": ("layer", "pool"),
    "tokens": (),
}
"""What every sample has each of, beside its tokens or checkpoints."""
_TOLERANCE = {"float16": 2e-2, "bfloat16": 2e-2}
_LEAST_TOLERANCE = 2e-3
_HALF_ROWS = 1e-2
"""Tolerance of masses that are stored in half precision."""
_RANGE = 1e-2


@dataclass
class _Contents:
    """What was found in the parts so far."""

    tables: set[RunTable] = field(default_factory=set)
    places: dict[RunTable, set[tuple[Any, ...]]] = field(default_factory=dict)
    counts: list[tuple[Part, pl.DataFrame, dict[RunTable, pl.DataFrame]]] = field(default_factory=list)
    """Of each part with samples: these, and the rows of each sample in each table."""
    states: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Layers and pools whose hidden states the job keeps."""
    n_whole_sums: int = 0
    short_sums: list[tuple[Part, PartFile, int, str]] = field(default_factory=list)
    """Files with masses that sum to less than 1, how many of them, and a sample."""
    damages: list[Damage] = field(default_factory=list)

    def add(self, part: Part, file: PartFile | None, what: str) -> None:
        place = part.place if file is None else file.place
        self.damages.append(Damage(place, what, _TODO, part.name))


def content_damages(run: RunFolder, parts: Sequence[Part], job: Mapping[str, Any]) -> list[Damage]:
    """Return what is wrong with the rows of parts whose files are whole.

    Args:
        run: The run.
        parts: Its parts.
        job: Its job.
    """
    found = _Contents()
    tolerance = _TOLERANCE.get(str(job.get("dtype")), _LEAST_TOLERANCE)
    states = job.get("hidden") or {"layers": (), "pools": ()}
    # Others were added by hand, of whatever samples.
    found.states = pl.DataFrame(
        list(product(states["layers"], states["pools"])), schema={"layer": pl.Int32, "pool": pl.String}, orient="row"
    )
    for part in parts:
        try:
            _look_at(run, part, found, tolerance)
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            found.add(part, None, f"has rows that cannot be read ({error})")
    for part, samples, counts in found.counts:
        _complete(part, samples, counts, found)
    n_short = sum(count for _, _, count, _ in found.short_sums)
    # Where attention sinks take a share, most rows sum to less than 1; elsewhere a single one is wrong.
    if n_short <= found.n_whole_sums:
        for part, file, count, own in found.short_sums:
            found.add(part, file, f"has {count} rows whose masses sum to less than 1, such as of {own!r}")
    return found.damages


def _look_at(run: RunFolder, part: Part, found: _Contents, tolerance: float) -> None:
    samples = []
    counts: dict[RunTable, list[pl.DataFrame]] = {}
    for file in part.files:
        if file.is_shard:
            continue
        run.fetch([file.place])
        frame = pl.read_parquet(run.contained(file.place), columns=_columns(run, file))
        if wrong := _wrong_rows(frame, file.table):
            found.add(part, file, wrong)
        if file.table == "samples":
            samples.append(frame)
            continue
        if file.table == "hidden":
            if wrong := _wrong_shards(run, part, frame):
                found.add(part, file, wrong)
            frame = frame.join(found.states, on=["layer", "pool"], how="semi")
        found.tables |= {file.table} if frame.height and part.of_table("samples") else set()
        places = _PLACES[file.table]
        if places and part.of_table("samples"):
            found.places.setdefault(file.table, set()).update(frame.select(places).unique().rows())
        counts.setdefault(file.table, []).append(_counted(frame, file.table))
        if set(MASSES) <= set(frame.columns):
            _sums(part, file, frame, found, _HALF_ROWS if file.table == "rows" else tolerance)
    if samples:
        summed = {
            table: pl.concat(frames).group_by("id").agg(pl.col("n").sum(), pl.col("last").max())
            for table, frames in counts.items()
        }
        found.counts.append((part, pl.concat(samples, how="diagonal"), summed))


def _columns(run: RunFolder, file: PartFile) -> list[str]:
    """Return the columns of a file that are looked at."""
    table = TABLES[file.table]
    there = pl.read_parquet_schema(run.path / file.place)
    texts = {"messages", "answer", "answer_token_ids", "text", "verifier"}
    return [column.name for column in table.columns if column.name in there and column.name not in texts]


def _wrong_rows(frame: pl.DataFrame, table: RunTable) -> str | None:
    """Say what is wrong with the rows of one file on their own."""
    key = list(TABLES[table].key)
    twice = frame.select(pl.struct(key).is_duplicated().sum()).item()
    if twice:
        return f"has {twice} rows with a key ({', '.join(key)}) that another row has as well"
    for column in TABLES[table].columns:
        if column.name not in frame.columns:
            continue
        values = frame.get_column(column.name)
        if column.null is None and values.null_count():
            return f'has {values.null_count()} rows without a value in the column "{column.name}"'
        for limit, outside in ((column.lower, values.min()), (column.upper, values.max())):
            if limit is None or not isinstance(outside, int | float):
                continue
            if (outside - limit) * (1 if limit is column.upper else -1) > _RANGE:
                return f'has {outside:g} in the column "{column.name}", which is beyond {limit:g}'
    return None


def _counted(frame: pl.DataFrame, table: RunTable) -> pl.DataFrame:
    """Return rows of each sample, and its last token in the table of tokens."""
    last = pl.col("position").max() if table == "tokens" else pl.lit(0, dtype=pl.Int32)
    return frame.group_by("id").agg(pl.len().cast(pl.Int64).alias("n"), last.alias("last"))


def _sums(part: Part, file: PartFile, frame: pl.DataFrame, found: _Contents, tolerance: float) -> None:
    total = frame.select(pl.sum_horizontal(pl.col(*MASSES).cast(pl.Float64), ignore_nulls=False)).to_series()
    more = (total > 1 + tolerance).fill_null(value=False)
    less = (total < 1 - tolerance).fill_null(value=False)
    found.n_whole_sums += total.len() - total.null_count() - int(more.sum()) - int(less.sum())
    ids = frame.get_column("id")
    if more.any():
        found.add(
            part, file, f"has {more.sum()} rows whose masses sum to more than 1, such as of {ids.filter(more)[0]!r}"
        )
    if less.any():
        found.short_sums.append((part, file, int(less.sum()), str(ids.filter(less)[0])))


def _wrong_shards(run: RunFolder, part: Part, index: pl.DataFrame) -> str | None:
    """Say which hidden states the shards of a part do not have."""
    own = {file.name for file in part.files if file.is_shard}
    rows = index.group_by("shard", "layer", "pool").agg(pl.col("row").max())
    for shard, layer, pool, row in rows.iter_rows():
        if shard not in own:
            return f"names the shard {shard!r}, which the part does not have"
        run.fetch([f"hidden/{shard}"])
        tensor = tensors_of(run.contained(f"hidden/{shard}")).get(f"{layer}/{pool}")
        if tensor is None or row >= tensor.n_rows:
            return f"names row {row} of {layer}/{pool} in {shard}, which does not have it"
    return None


def _complete(part: Part, samples: pl.DataFrame, counts: Mapping[RunTable, pl.DataFrame], found: _Contents) -> None:
    """Compare the rows of each sample that was read with those that it must have."""
    lengths = [f"n_tokens_{segment}" for segment in SEGMENTS]
    samples = samples.with_columns(
        pl.lit(None, dtype=pl.Int32).alias(name) for name in (*lengths, "reason") if name not in samples.columns
    )
    read = samples.filter(pl.col("reason").is_null(), pl.col(lengths[-1]).is_not_null())
    for table in _PLACES:
        if table not in found.tables:
            continue
        empty = pl.DataFrame(schema={"id": pl.String, "n": pl.Int64, "last": pl.Int32})
        joined = read.join(counts.get(table, empty), on="id", how="left").with_columns(pl.col("n").fill_null(0))
        gap = pl.col("last") != pl.col("n") - 1 if table == "tokens" else pl.lit(value=False)
        wrong = joined.with_columns(_expected(table, found.places.get(table, set())).alias("expected"))
        wrong = wrong.filter((pl.col("n") != pl.col("expected")) | gap)
        if wrong.height:
            own, n, expected = wrong.select("id", "n", "expected").row(0)
            file = next(iter(part.of_table(table)), None)
            what = (
                f"has {wrong.height} samples that are not complete, such as {own!r}: {n} of {expected} rows of {table}"
            )
            found.add(part, file, what)


def _expected(table: RunTable, places: set[tuple[Any, ...]]) -> pl.Expr:
    """Return the rows that a sample has in a table."""
    n_generated: pl.Expr = pl.col("n_tokens_generated").cast(pl.Int64)
    if table == "tokens":
        return pl.sum_horizontal(pl.col(f"n_tokens_{segment}") for segment in SEGMENTS).cast(pl.Int64)
    if table == "attention":
        return pl.lit(len(places), dtype=pl.Int64)
    # checkpoints after 1, 2, 4, ... tokens; the logarithm of a power of two may come out a last digit too small
    powers: pl.Expr = (n_generated.clip(1).log(2) + 1e-9).floor().cast(pl.Int64) + 1
    if table == "checkpoints":
        return powers * len(places)
    if table == "hidden":
        n_prompt = sum(pool == POOLS[0] for _, pool in places)
        also_whole = (n_generated != pl.lit(2).pow(powers - 1)).cast(pl.Int64)
        after: pl.Expr = (powers + also_whole) * (len(places) - n_prompt)
        states: pl.Expr = after + n_prompt
        return states
    return n_generated * len(places)
