"""What a run says of its answers after so many tokens: the numbers that a monitor's columns are made of.

rows = moments(lengths, "checkpoints")
RunColumns(run, ids, rows).numbers(columns)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from foretell.errors import InputError
from foretell.monitors.monitor_columns import N_MASSES, Columns, Numbers
from foretell.schema.tables import MASSES, POOLS
from foretell.storage.runs import Run

__all__ = ["EVERY", "Moments", "RunColumns", "ScoredAt", "check_moments", "is_moment", "moments"]

ScoredAt = Literal["checkpoints", "every token"] | int
"""After which tokens answers are scored: 1, 2, 4, 8, ... and at the end; each; or a number, or the end if it is
earlier."""
EVERY = "every token"


def check_moments(scored_at: Any) -> None:
    """Refuse what says no moments.

    Raises:
        InputError: It is neither "checkpoints" nor "every token" nor 1, 2, 4, 8, ...
    """
    if scored_at in ("checkpoints", EVERY):
        return
    if type(scored_at) is not int or scored_at < 1 or scored_at & (scored_at - 1):
        raise InputError(
            f'scored_at must be "checkpoints", "{EVERY}", or one of 1, 2, 4, 8, ... tokens, not {scored_at!r}'
        )


def is_moment(
    scored_at: ScoredAt, n_generated: Int[np.ndarray, "*row"], *, ended: Bool[np.ndarray, "*row"]
) -> Bool[np.ndarray, "*row"]:
    """Return after which tokens an answer is scored.

    Args:
        scored_at: As in `fit_monitor`.
        n_generated: Tokens so far.
        ended: Whether the answer is whole with them.
    """
    if scored_at == EVERY:
        return np.asarray(n_generated > 0)
    if scored_at == "checkpoints":
        return np.asarray((n_generated > 0) & (ended | ((n_generated & (n_generated - 1)) == 0)))
    return np.asarray((n_generated == scored_at) | (ended & (n_generated > 0) & (n_generated < int(scored_at))))


@dataclass(frozen=True)
class Moments:
    """One row per answer and moment, by answer."""

    sample: Int[np.ndarray, " row"]
    n_generated: Int[np.ndarray, " row"]
    is_end: Bool[np.ndarray, " row"]
    """Whether the answer is whole."""

    @property
    def last(self) -> Int[np.ndarray, " sample"]:
        """Row of the last moment of each answer that has one."""
        return np.flatnonzero(np.diff(self.sample, append=-1) != 0)

    def part(self, chosen: Bool[np.ndarray, " row"]) -> Moments:
        """Return some of the rows."""
        return Moments(self.sample[chosen], self.n_generated[chosen], self.is_end[chosen])


def moments(lengths: Int[np.ndarray, " sample"], scored_at: ScoredAt) -> Moments:
    """Return the moments of answers of these numbers of tokens."""
    sample = np.repeat(np.arange(len(lengths)), lengths)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    n_generated = np.arange(len(sample)) - first + 1
    every = Moments(sample, n_generated, n_generated == lengths[sample])
    return every.part(is_moment(scored_at, every.n_generated, ended=every.is_end))


class RunColumns:
    """The numbers of a run at some moments of some of its samples; each table is read once.

    Args:
        run: The run.
        ids: The samples.
        rows: Moments of these samples.
        scored_at: What moments they are: of every token, single rows and no hidden states are there.
    """

    def __init__(self, run: Run, ids: Sequence[str], rows: Moments, scored_at: ScoredAt) -> None:
        self.run, self.ids, self.rows = run, tuple(ids), rows
        self.by_token = scored_at == EVERY
        self._states: dict[tuple[int, str], Float[np.ndarray, "row width"]] = {}

    @cached_property
    def _frame(self) -> pl.LazyFrame:
        """Columns id, n_generated, row, is_end."""
        rows = self.rows
        names = pl.Series(self.ids, dtype=pl.String).gather(rows.sample)
        columns = {"id": names, "n_generated": rows.n_generated, "row": np.arange(len(rows.sample))}
        return pl.LazyFrame({**columns, "is_end": rows.is_end})

    def numbers(self, columns: Columns) -> Numbers:
        """Return what some columns are made of."""
        n = len(self.rows.sample)
        states = [self.states(layer, columns.pool) for layer in columns.layers]
        return Numbers(
            self.rows.n_generated,
            self.mass(columns.heads),
            np.stack(states, axis=1) if states else np.empty((n, 0, 0), dtype=np.float32),
            self.activity(columns.activity),
            self.logprob if columns.confidence else np.empty((n, 0)),
        )

    @cached_property
    def _attention(self) -> pl.DataFrame:
        """Columns row, layer, head and the masses averaged so far."""
        chosen = ("id", "layer", "head", "n_generated", *MASSES)
        key = ["id", "n_generated"]
        if self.by_token:
            of_head = ("id", "layer", "head")
            each = _by_token(self.run.rows, of_head, MASSES)
            each = each.with_columns(_mean_so_far(mass, of_head) for mass in MASSES)
            return self._frame.join(each.select(chosen), on=key).collect()
        first = self.run.checkpoints.lazy().select(pl.col(chosen).exclude("n_generated"), pl.col("n_generated"))
        first = first.with_columns(pl.col("n_generated").cast(pl.Int64))
        going_on = self._frame.filter(~pl.col("is_end")).join(first, on=key)
        whole = self.run.attention.lazy().select("id", "layer", "head", *MASSES)
        ended = self._frame.filter("is_end").join(whole, on="id")
        return pl.concat([going_on.select(ended.collect_schema().names()), ended]).collect()

    @cached_property
    def heads(self) -> tuple[tuple[int, int], ...]:
        """Layer and head of all heads that were read at some moment."""
        found = self._attention.select("layer", "head").unique().sort("layer", "head")
        return tuple((int(layer), int(head)) for layer, head in found.iter_rows())

    @cached_property
    def n_heads(self) -> int:
        """Most heads of a layer."""
        return 1 + max((head for _, head in self.heads), default=-1)

    def mass(self, heads: Sequence[tuple[int, int]]) -> Float[np.ndarray, "row head segment"]:
        """Return the masses of some heads, averaged so far, in float32; nan where they were not read."""
        found = np.full((len(self.rows.sample), len(heads), N_MASSES), np.nan, dtype=np.float32)
        if not heads:
            return found
        layer, head = zip(*heads, strict=True)
        kinds = {**{name: self._attention.schema[name] for name in ("layer", "head")}, "place": pl.Int64()}
        wanted = pl.DataFrame({"layer": layer, "head": head, "place": range(len(heads))}, schema=kinds)
        chosen = self._attention.join(wanted, on=["layer", "head"])
        values = chosen.select(pl.col(MASSES).cast(pl.Float32).fill_null(np.nan)).to_numpy()
        found[chosen.get_column("row").to_numpy(), chosen.get_column("place").to_numpy()] = values
        return found

    @cached_property
    def stored(self) -> pl.DataFrame:
        """Columns layer, pool and n_generated of the hidden states of these samples."""
        index = self.run.hidden_states.filter(pl.col("id").is_in(list(self.ids)))
        return index.select("layer", "pool", "n_generated").unique()

    @property
    def pool(self) -> str | None:
        """The pool of the answer that is stored, the mean first; None where none is."""
        if self.by_token:
            return None
        known = set(self.stored.get_column("pool"))
        return next((pool for pool in POOLS[1:] if pool in known), None)

    def state_layers(self, pool: str) -> list[int]:
        """Return the layers that a pool is stored of."""
        return self.stored.filter(pl.col("pool") == pool).get_column("layer").unique().sort().to_list()

    def states(self, layer: int, pool: str) -> Float[np.ndarray, "row width"]:
        """Return hidden states of a layer; nan where they were not stored.

        Raises:
            InputError: None were.
        """
        if (layer, pool) not in self._states:
            self._states[layer, pool] = self._read_states(layer, pool)
        return self._states[layer, pool]

    def _read_states(self, layer: int, pool: str) -> Float[np.ndarray, "row width"]:
        of_layer = self.stored.filter((pl.col("layer") == layer) & (pl.col("pool") == pool))
        rows = self.rows
        if self.by_token or not of_layer.height:
            what = "after every token" if self.by_token else f"of layer {layer} ({pool})"
            raise InputError(f"{self.run.path}: has no hidden states {what}, which the monitor looks at")
        found: Float[np.ndarray, "row width"] | None = None
        known = set(of_layer.get_column("n_generated").to_list()) & set(rows.n_generated[~rows.is_end].tolist())
        for after in (*sorted(known), None):
            here = rows.is_end if after is None else ~rows.is_end & (rows.n_generated == after)
            ids, states = self.run.hidden(layer, pool, after)
            if found is None:
                found = np.full((len(rows.sample), states.shape[1]), np.nan, dtype=np.float32)
            place = {id_: index for index, id_ in enumerate(ids)}
            source = np.array([place.get(self.ids[sample], -1) for sample in rows.sample[here]], dtype=np.int64)
            target = np.flatnonzero(here)[source >= 0]
            found[target] = states[source[source >= 0]]
        return np.empty((0, 0), dtype=np.float32) if found is None else found

    @cached_property
    def _activity(self) -> pl.DataFrame:
        """Columns row, concept, layer, mean, last."""
        key = ("id", "concept", "layer")
        each = _by_token(self.run.activity, key, ("activity",))
        each = each.select(*key, "n_generated", mean=_mean_so_far("activity", key), last="activity")
        return self._frame.join(each, on=["id", "n_generated"]).collect()

    def activity_places(self, concepts: Collection[str]) -> tuple[tuple[str, int], ...]:
        """Return concept and layer of all activity of some concepts."""
        found = self._activity.filter(pl.col("concept").is_in(list(concepts)) & pl.col("mean").is_not_nan())
        found = found.select("concept", "layer").unique().sort("concept", "layer")
        return tuple((concept, int(layer)) for concept, layer in found.iter_rows())

    def activity(self, places: Sequence[tuple[str, int]]) -> Float[np.ndarray, "row place number"]:
        """Return mean so far and last value of some activities; nan where they were not read."""
        found = np.full((len(self.rows.sample), len(places), 2), np.nan)
        for place, (concept, layer) in enumerate(places):
            own = self._activity.filter((pl.col("concept") == concept) & (pl.col("layer") == layer))
            found[own.get_column("row").to_numpy(), place] = own.select("mean", "last").to_numpy()
        return found

    @cached_property
    def logprob(self) -> Float[np.ndarray, "row number"]:
        """Mean and least log-probability so far; nan where a token has none."""
        each = _by_token(self.run.tokens, ("id",), ("logprob",))
        mean, least = _mean_so_far("logprob", ("id",)), pl.col("logprob").cum_min().over("id")
        each = each.select("id", "n_generated", mean=mean, least=least)
        joined = self._frame.join(each, on=["id", "n_generated"]).collect()
        found = np.full((len(self.rows.sample), 2), np.nan)
        found[joined.get_column("row").to_numpy()] = joined.select("mean", "least").to_numpy()
        return found


def _by_token(table: pl.DataFrame, key: Sequence[str], values: Sequence[str]) -> pl.LazyFrame:
    """Return the rows of a table that are tokens of answers, in order, with n_generated; a missing value is nan."""
    tokens = table.lazy().filter(pl.col("answer_position").is_not_null()).sort(*key, "answer_position")
    known = pl.col(values).cast(pl.Float64).fill_null(np.nan)
    return tokens.with_columns(known, n_generated=(pl.col("answer_position") + 1).cast(pl.Int64))


def _mean_so_far(value: str, key: Sequence[str]) -> pl.Expr:
    """Return the mean of the tokens so far; nan from the first missing one on, as live sums are."""
    return pl.col(value).cum_sum().over(key) / pl.col("n_generated")
