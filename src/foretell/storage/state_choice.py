"""Which hidden states of a model a run keeps: layers, pools, and the type of their numbers.

choice = StateChoice.of({"layers": [8, 16], "pools": ["mean over answer"]}, n_layers=30)
choice.n_bytes([12, 40], width=576)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from foretell.errors import InputError
from foretell.schema.tables import POOLS

__all__ = ["PooledStates", "StateChoice", "checkpoints_of", "chosen_layers", "states_by_sample"]

PooledStates: TypeAlias = Mapping[tuple[str, int], Float[np.ndarray, "chosen_layer width"]]
"""Hidden states of one sample, by pool and number of generated tokens."""

_DTYPES = {"float16": 2, "float32": 4}
_KEYS = ("layers", "pools", "dtype")
_HOW = '"all", layers such as [8, 16], or {"layers": [8, 16], "pools": ["mean over answer"], "dtype": "float16"}'


@dataclass(frozen=True)
class StateChoice:
    """Hidden states to keep of every sample."""

    layers: tuple[int, ...]
    pools: tuple[str, ...] = POOLS
    dtype: Literal["float16", "float32"] = "float16"

    @classmethod
    def of(cls, setting: Any, n_layers: int) -> StateChoice:
        """Return what a setting means for a model.

        Args:
            setting: "all", layers, or a mapping with `layers`, and optionally `pools` (all) and `dtype` (float16).
            n_layers: of the model.

        Raises:
            InputError: It is none of these, or names what the model or foretell does not have.
        """
        given = dict(setting) if isinstance(setting, Mapping) else {"layers": setting}
        unknown = [str(key) for key in given if key not in _KEYS]
        if unknown or "layers" not in given:
            what = f"does not take {', '.join(unknown)}" if unknown else "needs layers"
            raise InputError(f"hidden: {what}; give {_HOW}")
        pools = given.get("pools", POOLS)
        pools = POOLS if pools == "all" else (pools,) if isinstance(pools, str) else tuple(pools)
        wrong = [pool for pool in pools if pool not in POOLS]
        if wrong or not pools:
            what = f"{wrong[0]!r} is no pool" if wrong else "no pool is named"
            raise InputError(f"hidden: {what}; pools are {', '.join(map(repr, POOLS))}")
        dtype = given.get("dtype", "float16")
        if dtype not in _DTYPES:
            raise InputError(f"hidden: dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
        # In one order, so that the same choice is the same job.
        return cls(chosen_layers(given["layers"], n_layers), tuple(pool for pool in POOLS if pool in pools), dtype)

    def size(self, n_generated: Sequence[int], width: int, *, given: bool) -> str:
        """Return in words how much of a disk the states of these answers take."""
        n_mib = self.n_bytes(n_generated, width) / 2**20
        size = f"{n_mib / 1024:.1f} GiB" if n_mib >= 1024 else f"{n_mib:.1f} MiB"
        return (
            f"hidden states: {'' if given else 'at most '}{size} ({len(self.layers)} layers, {len(self.pools)} pools)"
        )

    def n_bytes(self, n_generated: Sequence[int], width: int) -> int:
        """Return the bytes that the states of samples with so many generated tokens take."""
        n_states = sum(len(checkpoints_of(pool, n)) for n in n_generated for pool in self.pools)
        return n_states * len(self.layers) * width * _DTYPES[self.dtype]


def checkpoints_of(pool: str, n_generated: int) -> list[int]:
    """Return the numbers of generated tokens that a pool is kept after: 1, 2, 4, 8, ... and all; 0 for the prompt."""
    if pool == POOLS[0]:
        return [0]
    return sorted({*(1 << power for power in range(n_generated.bit_length())), n_generated} - {0})


def states_by_sample(
    choice: StateChoice | None,
    hidden: Callable[[str, int | None], Float[np.ndarray, "sample layer width"]],
    n_generated: Int[np.ndarray, " sample"],
) -> list[PooledStates]:
    """Return what is kept of each sample of a capture; nothing where nothing is chosen.

    Args:
        choice: Pools to keep.
        hidden: Gives the states of a pool after so many tokens, or after all.
        n_generated: Tokens of each answer.
    """
    found: list[dict[tuple[str, int], Float[np.ndarray, "chosen_layer width"]]] = [{} for _ in n_generated]
    for pool in () if choice is None else choice.pools:
        longest = 0 if pool == POOLS[0] else int(n_generated.max(initial=0))
        for number in (*(1 << power for power in range(longest.bit_length())), None):
            states = hidden(pool, number)
            for sample in np.flatnonzero(n_generated >= (number or 1)):
                whole = 0 if pool == POOLS[0] else int(n_generated[sample])
                found[sample][pool, number or whole] = states[sample]
    return list(found)


def chosen_layers(layers: Any, n_layers: int) -> tuple[int, ...]:
    """Return the layers that are meant, in rising order.

    Args:
        layers: "all", block indices from 0, or a range or slice of them.
        n_layers: of the model.

    Raises:
        InputError: They are no layers of the model, or none.
    """
    every = range(n_layers)
    if isinstance(layers, str) and layers == "all":
        return tuple(every)
    if isinstance(layers, slice):
        layers = every[layers]
    try:
        chosen = [] if isinstance(layers, (str, bytes)) else [_index(one) for one in layers]
    except TypeError:
        chosen = []
    if not chosen:
        raise InputError(f"hidden: {layers!r} names no layers; give {_HOW}")
    outside = [layer for layer in chosen if layer not in every]
    if outside:
        raise InputError(f"hidden: there is no layer {outside[0]}; the model has layers 0 to {n_layers - 1}")
    return tuple(sorted(set(chosen)))


def _index(layer: Any) -> int:
    """Return a whole number as one; what only looks like one (True, 8.0, "8") is none."""
    if isinstance(layer, bool) or not hasattr(layer, "__index__"):
        raise TypeError
    return int(layer.__index__())
