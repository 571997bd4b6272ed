"""Hidden states that were computed elsewhere: arrays with ids from files, and what must hold before a run takes them.

ids, states = read_state_file("states.npz")
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from foretell.errors import InputError
from foretell.schema.tables import POOLS
from foretell.storage.state_choice import PooledStates
from foretell.storage.state_shards import StateIndex

__all__ = ["checked_states", "read_state_file"]


def read_state_file(path: Path | str, ids: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Return ids and the array of a file; see `Run.import_hidden`.

    Raises:
        InputError: There is no such file, it is of another kind, or has no ids or not one array.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    kinds = {".npy": _of_npy, ".npz": _of_npz, ".safetensors": _of_safetensors}
    if path.suffix not in kinds:
        raise InputError(f"{path}: hidden states are read from {', '.join(kinds)}")
    try:
        own, states = kinds[path.suffix](path)
        beside = path.with_name(f"{path.stem}.ids.json")
        if own is None and beside.is_file():
            own = [str(one) for one in json.loads(beside.read_text(encoding="utf-8"))]
    except InputError:
        raise
    # What numpy and safetensors raise of damaged files; safetensors' own error derives from Exception alone.
    except Exception as error:
        raise InputError(f"{path}: cannot be read as hidden states: {error}") from error
    if (own is None) == (ids is None):
        what = (
            "has ids of its own; do not give others" if own is not None else f"has no ids; give them, or write {beside}"
        )
        raise InputError(f"{path}: {what}")
    return list(own or map(str, ids or ())), states


def _of_npy(path: Path) -> tuple[None, np.ndarray]:
    return None, np.load(path, mmap_mode="r", allow_pickle=False)


def _of_npz(path: Path) -> tuple[list[str] | None, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        ids = [str(one) for one in arrays["ids"]] if "ids" in arrays.files else None
        return ids, arrays[_only(path, (name for name in arrays.files if name != "ids"))]


def _of_safetensors(path: Path) -> tuple[list[str] | None, np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        said = (file.metadata() or {}).get("ids")
        ids = None if said is None else [str(one) for one in json.loads(said)]
        return ids, file.get_tensor(_only(path, file.keys()))


def _only(path: Path, names: Iterable[str]) -> str:
    found = list(names)
    if len(found) != 1:
        raise InputError(f"{path}: must hold one array beside the ids, not {len(found)} ({', '.join(found[:5])})")
    return found[0]


def checked_states(
    index: StateIndex, place: tuple[int, str, int | None], ids: Sequence[str], states: Any
) -> Mapping[str, PooledStates]:
    """Return states as `write_states` takes them.

    Args:
        index: What the run has.
        place: Layer, pool, and number of generated tokens, or None for whole answers.
        ids: Samples.
        states: Their states.

    Raises:
        InputError: See `Run.add_hidden`.
    """
    layer, pool, n_generated = place
    if pool not in POOLS:
        raise InputError(f"hidden states: {pool!r} is no pool; pools are {', '.join(map(repr, POOLS))}")
    if isinstance(layer, bool) or layer < 0:
        raise InputError(f"hidden states: a layer is a block index from 0, not {layer!r}")
    if n_generated is not None and (n_generated != 0 if pool == POOLS[0] else n_generated < 1):
        raise InputError(f"hidden states: {pool!r} cannot be pooled after {n_generated} generated tokens")
    rows = _matrix(states, len(ids))
    _check_ids(index, place, ids, rows.shape[1])
    return {own: {(pool, _number(index, own, place)): row[None]} for own, row in zip(ids, rows, strict=True)}


def _number(index: StateIndex, own: str, place: tuple[int, str, int | None]) -> int:
    """Return how many generated tokens a sample's state is of."""
    _, pool, n_generated = place
    if pool == POOLS[0]:
        return 0
    return n_generated or index.lengths[own] or 0


def _matrix(states: Any, n_ids: int) -> Float[np.ndarray, "sample width"]:
    values = np.asarray(states)
    if values.dtype.kind not in "fiu" or values.ndim != 2 or len(values) != n_ids or not values.size:
        raise InputError(
            f"hidden states: a matrix of numbers (sample, width) with a row for each of {n_ids} ids is needed, not "
            f"{values.dtype} of {values.shape}"
        )
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        raise InputError(f"hidden states: {len(wrong)} rows are not finite in float32, such as row {wrong[0]}")
    return rows


def _check_ids(index: StateIndex, place: tuple[int, str, int | None], ids: Sequence[str], width: int) -> None:
    """Refuse samples that the run does not have, or that have such states already."""
    layer, pool, n_generated = place
    twice = [own for own, count in Counter(ids).items() if count > 1]
    unknown = [own for own in ids if own not in index.lengths]
    short = [own for own in ids if own in index.lengths and (index.lengths[own] or 0) < (n_generated or 1)]
    for wrong, what in (
        (twice, "stand there more than once"),
        (unknown, "are not in the run"),
        (short, f"have fewer generated tokens than {n_generated or 1}, or were not read"),
    ):
        if wrong:
            raise InputError(f"hidden states: {len(wrong)} ids {what}, such as {wrong[0]!r}")
    if (layer, pool) in index.by_place:
        stored = index.by_place[layer, pool]
        names = list(index.lengths)
        present = {(names[sample], number) for sample, number in zip(stored.sample, stored.n_generated, strict=True)}
        again = [own for own in ids if (own, _number(index, own, place)) in present]
        if again:
            raise InputError(f"hidden states: {len(again)} ids have states of layer {layer}, {pool!r} already")
        known = index.states(layer, pool, int(stored.n_generated[0]))[1].shape[1]
        if known != width:
            raise InputError(f"hidden states: those of layer {layer}, {pool!r} are {known} wide, and these {width}")
