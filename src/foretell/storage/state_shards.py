"""Hidden states of a run on disk: safetensors shards, and an index of their rows.

A part has one shard. It is written before the part's index, and the index before the part's own file names both, so
that a part is there as a whole or not at all. A shard has one tensor per layer and pool, `(row, width)`, named
layer/pool. Its rows are those of whole answers first, then those after 1, 2, 4, ... tokens: what is read together lies
together.

    index = write_states(run.path / "hidden", "part-00000", [8, 16], states, "float16")
    state_index(run.path, parts).states(8, "mean over answer", None)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Integer

from foretell.errors import InputError, RunError
from foretell.schema.tables import HIDDEN, POOLS, SAMPLES, conform, empty
from foretell.storage.atomic import written_whole
from foretell.storage.commits.part_commit import Part, is_safe_name
from foretell.storage.shard_file import read_tensor_rows
from foretell.storage.state_choice import PooledStates

__all__ = ["StateIndex", "state_index", "write_states"]

_MOST_HALF = float(np.finfo(np.float16).max)


def write_states(
    folder: Path,
    part: str,
    layers: Sequence[int],
    states: Mapping[str, PooledStates],
    dtype: str,
) -> pl.DataFrame:
    """Write the shard of one part, atomically.

    Args:
        folder: Of the run's hidden states.
        part: Its name.
        layers: Block index of each place on the layer axis.
        states: By sample, then by pool and number of generated tokens.
        dtype: float16 or float32; a tensor with a number beyond what float16 holds is float32 in any case.

    Returns:
        The rows of the part's index (`foretell.schema.tables.HIDDEN`).
    """
    from safetensors.numpy import save_file

    tensors, rows, shard = {}, [], f"{part}.safetensors"
    for pool in POOLS:
        keys = [(own, key[1]) for own, known in states.items() for key in known if key[0] == pool]
        whole = {own: max(n for other, n in states[own] if other == pool) for own in dict(keys)}
        keys.sort(key=lambda key: 0 if key[1] == whole[key[0]] else key[1])
        if not keys:
            continue
        values = np.stack([states[own][pool, n] for own, n in keys], axis=1, dtype=np.float32)
        for place, layer in enumerate(layers):
            tensors[_tensor(layer, pool)] = _narrowed(values[place], dtype)
            ids, numbers = zip(*keys, strict=True)
            row = np.arange(len(keys))
            rows.append(
                pl.DataFrame({"id": ids, "n_generated": numbers, "row": row}).with_columns(
                    layer=layer, pool=pl.lit(pool)
                )
            )
    if not tensors:
        return empty(HIDDEN)
    with written_whole(folder / shard, durable=True) as draft:
        save_file(tensors, draft)
    return conform(pl.concat(rows).with_columns(shard=pl.lit(shard)), HIDDEN)


def _tensor(layer: int, pool: str) -> str:
    return f"{layer}/{pool}"


def _narrowed(values: Float[np.ndarray, "row width"], dtype: str) -> np.ndarray:
    fits = dtype == "float16" and np.abs(values).max(initial=0.0) <= _MOST_HALF
    return np.ascontiguousarray(values, dtype=np.float16 if fits else np.float32)


@dataclass(frozen=True)
class _Place:
    """Where the states of one layer and pool are, by id; samples and shards as places in the lists of the index."""

    sample: Integer[np.ndarray, " state"]
    n_generated: Integer[np.ndarray, " state"]
    is_whole: Bool[np.ndarray, " state"]
    shard: Integer[np.ndarray, " state"]
    row: Integer[np.ndarray, " state"]


@dataclass(frozen=True)
class StateIndex:
    """Where the hidden states of a run are."""

    folder: Path
    shards: Sequence[str]
    by_place: Mapping[tuple[int, str], _Place]
    lengths: Mapping[str, int | None]
    """Generated tokens of every sample of the run, in order; None where it was not read."""

    def states(
        self, layer: int, pool: str, n_generated: int | None
    ) -> tuple[list[str], Float[np.ndarray, "sample width"]]:
        """Return ids and states; see `Run.hidden`."""
        place = self._place(layer, pool)
        if pool == POOLS[0] and n_generated not in {None, 0}:
            raise InputError(f"hidden: {pool!r} is read before the first token; n_generated is 0 or None")
        chosen = np.flatnonzero(place.is_whole if n_generated is None else place.n_generated == n_generated)
        if not len(chosen):
            what = "whole answers" if n_generated is None else f"{n_generated} generated tokens"
            stored = np.unique(place.n_generated).tolist()
            raise InputError(f"hidden: no states of {what} at layer {layer}, {pool!r}; stored are those after {stored}")
        shards, of_shard = np.unique(place.shard[chosen], return_inverse=True)
        order = np.argsort(of_shard, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(of_shard))[:-1])
        found = None
        for shard, own in zip(shards, parts, strict=True):
            states = _read(self.folder, self.shards[shard], _tensor(layer, pool), place.row[chosen[own]])
            if found is None:
                found = np.empty((len(chosen), states.shape[1]), dtype=np.float32)
            found[own] = states
        ids = list(self.lengths)
        return [ids[sample] for sample in place.sample[chosen]], np.asarray(found)

    def _place(self, layer: int, pool: str) -> _Place:
        if not self.by_place:
            raise InputError(
                f"{self.folder.parent}: has no hidden states; read it with hidden=... (foretell read --hidden), or add "
                "your own with run.add_hidden"
            )
        if (layer, pool) not in self.by_place:
            layers, pools = (sorted(set(names)) for names in zip(*self.by_place, strict=True))
            raise InputError(
                f"{self.folder.parent}: has no hidden states of layer {layer}, {pool!r}; it has layers {layers}, "
                f"pools {pools}"
            )
        return self.by_place[layer, pool]


@lru_cache(maxsize=2)
def state_index(folder: Path, parts: tuple[Part, ...]) -> StateIndex:
    """Return the index of a run's hidden states, made once for the same parts.

    Args:
        folder: The run.
        parts: Its parts with samples or hidden states.
    """
    samples, files = (
        [folder / file.place for part in parts for file in part.of_table(table)] for table in ("samples", "hidden")
    )
    for file in (*samples, *files):
        if not file.is_file():
            raise RunError(f"{file}: is missing though its part is complete; {_repair(folder)}")
    lengths = [pl.scan_parquet(file).select("id", "n_tokens_generated") for file in samples]
    known = pl.concat([empty(SAMPLES).lazy().select("id", "n_tokens_generated"), *lengths]).collect().sort("id")
    index = conform(pl.concat([empty(HIDDEN).lazy(), *map(pl.scan_parquet, files)], how="diagonal").collect(), HIDDEN)
    shards = index.get_column("shard").unique().sort().to_list()
    whole = pl.when(pl.col("pool") == POOLS[0]).then(0).otherwise(pl.col("n_tokens_generated"))
    is_whole = (pl.col("n_generated") == whole).fill_null(value=False).alias("is_whole")
    index = (
        index.join(known.with_row_index("sample"), on="id", how="inner")
        .with_columns(pl.col("shard").cast(pl.Enum(shards)).to_physical())
        .select("layer", "pool", "sample", "n_generated", is_whole, "shard", "row")
        .sort("sample", "n_generated")
    )
    by_place = {
        (int(str(layer)), str(pool)): _Place(*(frame.to_series(place).to_numpy() for place in range(2, 7)))
        for (layer, pool), frame in index.partition_by("layer", "pool", as_dict=True).items()
    }
    return StateIndex(folder / "hidden", shards, by_place, dict(known.iter_rows()))


def _read(folder: Path, shard: str, tensor: str, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row width"]:
    """Return rows of one tensor, in the order they are asked for."""
    path = folder / shard
    if not is_safe_name(shard) or path.is_symlink() or not path.is_file():
        raise RunError(f"{path}: is missing though the index names it; {_repair(folder.parent)}")
    try:
        return read_tensor_rows(path, tensor, rows)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: is damaged ({error}); {_repair(folder.parent)}") from error


def _repair(folder: Path) -> str:
    return f"`foretell check {folder} --repair` removes what is broken, and the same call reads it again"
