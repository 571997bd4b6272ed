"""The tables of a run, each put together from all of its parts.

tables = StoredTables(Path("run"))
tables.attention
tables.hidden(16, "mean over answer")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.errors import RunError, TableError
from foretell.schema import tables as schema
from foretell.storage.commits.part_commit import Part, RunTable
from foretell.storage.commits.run_folder import LABELS_FILE, RunFolder
from foretell.storage.state_shards import StateIndex, state_index

__all__ = ["StoredTables"]


@dataclass(frozen=True)
class StoredTables(RunFolder):
    """A run whose tables can be read, also while parts are added to it."""

    @property
    def samples(self) -> pl.DataFrame:
        """One row per sample (`schema.SAMPLES`), with the labels written last."""
        return self.sample_columns(list(schema.SAMPLES.dtypes))

    def sample_columns(self, columns: Sequence[str]) -> pl.DataFrame:
        """Return some columns of `samples`; the others, such as long texts, are not read."""
        samples = self._read("samples", ["id", *columns])
        self.fetch([LABELS_FILE], anew=True)
        labels = self.contained(LABELS_FILE)
        if labels.exists():
            written = [column for column in schema.LABELS.dtypes if column != "id"]
            samples = samples.drop(written, strict=False).join(_labels(labels), on="id", how="left")
        return samples.sort("id").select(columns)

    def columns_of(self, table: RunTable, columns: Sequence[str]) -> pl.DataFrame:
        """Return some columns of a table, its rows in the order of the parts; the others are not read."""
        return self._read(table, columns)

    def n_rows(self, table: RunTable) -> int:
        """Return how many rows a table has, without reading it."""
        return sum(file.n_rows or 0 for part in self.parts for file in part.of_table(table))

    @property
    def attention(self) -> pl.DataFrame:
        """One row per sample, layer and head (`schema.ATTENTION`)."""
        return self._read("attention").sort("id", "layer", "head")

    @property
    def checkpoints(self) -> pl.DataFrame:
        """One row per sample, layer, head and number of first generated tokens (`schema.CHECKPOINTS`)."""
        return self._read("checkpoints").sort("id", "layer", "head", "n_generated")

    @property
    def rows(self) -> pl.DataFrame:
        """One row per sample, layer, head and generated token (`schema.ROWS`); empty unless it was asked for."""
        return self._read("rows").sort("id", "layer", "head", "position")

    @property
    def tokens(self) -> pl.DataFrame:
        """One row per sample and token (`schema.TOKENS`)."""
        return self._read("tokens").sort("id", "position")

    @property
    def activity(self) -> pl.DataFrame:
        """One row per sample, layer, generated token and concept (`schema.ACTIVITY`)."""
        return self._read("activity").sort("id", "concept", "layer", "position")

    @property
    def hidden_states(self) -> pl.DataFrame:
        """Which hidden states are stored and where (`schema.HIDDEN`); empty unless they were asked for."""
        return self._read("hidden").sort("id", "layer", "pool", "n_generated")

    def hidden(
        self, layer: int, pool: str, n_generated: int | None = None
    ) -> tuple[list[str], Float[np.ndarray, "sample width"]]:
        """Return hidden states after one block, pooled over tokens of each sample.

        Only what is asked for is read from the files. `hidden_states` lists what is there.

        Args:
            layer: Block index from 0; the state is what the next block is given.
            pool: "last prompt token", "mean over answer" or "last answer token".
            n_generated: First generated tokens that count (1, 2, 4, 8, ...), which gives the samples that have so many;
                None: the whole answer. "last prompt token" takes None or 0.

        Returns:
            Ids of the samples in order, and their states in float32.

        Raises:
            InputError: The run has no such states; the message says which it has.
            RunError: A file is missing or damaged.
        """
        parts = self.parts
        try:
            return self.state_index().states(layer, pool, n_generated)
        except RunError:
            if self.parts == parts:
                raise
            return self.state_index().states(layer, pool, n_generated)  # compacted meanwhile

    def state_index(self) -> StateIndex:
        """Return where the hidden states are."""
        parts = tuple(part for part in self.parts if part.of_table("samples") or part.of_table("hidden"))
        self.fetch(file.place for part in parts for file in part.files if file.table in {"samples", "hidden"})
        try:
            return state_index(self.path, parts)
        except (pl.exceptions.PolarsError, TableError) as error:
            raise RunError(self.damaged("hidden", f"or samples hold a damaged file ({error})")) from error

    def _read(self, table: RunTable, columns: Sequence[str] | None = None) -> pl.DataFrame:
        parts = self.parts
        try:
            return self._rows(table, parts, columns)
        except FileNotFoundError as error:
            # Compaction may have replaced the parts since they were listed; what is read is never half of both.
            if (now := self.parts) != parts:
                return self._rows(table, now, columns)
            raise RunError(self.damaged(str(error.filename), "is missing though its part is complete")) from error

    def _rows(self, table: RunTable, parts: Iterable[Part], columns: Sequence[str] | None) -> pl.DataFrame:
        names = [file.place for part in parts for file in part.of_table(table)]
        self.fetch(names)
        files = [self.contained(name) for name in names]
        for name, file in zip(names, files, strict=True):
            if not file.exists():
                raise FileNotFoundError(2, "missing", name)
        wanted = schema.TABLES[table]
        if columns is not None:
            wanted = replace(wanted, columns=tuple(one for one in wanted.columns if one.name in columns))
        if not files:
            return schema.empty(wanted)
        try:
            # Parts of older versions lack columns that came later; these are null there.
            rows = pl.concat(map(pl.scan_parquet, files), how="diagonal")
            there = rows.collect_schema().names()
            return schema.conform(rows.select(name for name in wanted.dtypes if name in there).collect(), wanted)
        except (pl.exceptions.PolarsError, TableError) as error:
            raise RunError(self.damaged(table, f"holds a damaged file ({error})")) from error


def _labels(path: Path) -> pl.DataFrame:
    try:
        return schema.conform(pl.read_parquet(path), schema.LABELS)
    except (pl.exceptions.PolarsError, TableError) as error:
        raise RunError(f"{path}: is damaged ({error}); delete it and label the run again") from error
