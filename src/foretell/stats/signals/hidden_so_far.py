"""Hidden states at a moment: all layers and pools in one Gram matrix, one layer in memory at a time.

A ridge model of all states depends on them only through the inner products of samples. So states of 30 layers and 4,096
columns become a matrix of samples by samples, and any factor X of it, with X X^T the matrix, takes their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from foretell.stats.signals.family import Family, undefined
from foretell.stats.signals.inner_products import gram, gram_factor
from foretell.stats.signals.moment import Moment

__all__ = ["HIDDEN_STATES", "OF_PROMPT", "HasHiddenStates", "HiddenStates"]

HIDDEN_STATES = "hidden states"
OF_PROMPT = "last prompt token"


@runtime_checkable
class HasHiddenStates(Protocol):
    """A run with hidden states."""

    @property
    def hidden_states(self) -> pl.DataFrame:
        """Return which states are stored: id, layer, pool, n_generated."""

    def hidden(self, layer: int, pool: str, n_generated: int | None = None) -> tuple[Any, np.ndarray]:
        """Return ids and states `(sample, width)` after so many tokens; None: of whole answers."""


class HiddenStates:
    """The hidden states of some samples of a run, with what is the same at every moment kept.

    Args:
        run: A run with hidden states.
        ids: The samples.
    """

    def __init__(self, run: HasHiddenStates, ids: Sequence[str]) -> None:
        self._run = run
        self._ids = tuple(ids)
        own = run.hidden_states.filter(pl.col("id").is_in(self._ids))
        self._stored = set(own.select("layer", "pool", "n_generated").unique().iter_rows())
        self._of_prompt: Float[np.ndarray, "sample sample"] | None = None

    @property
    def exist(self) -> bool:
        """Whether any state of these samples is stored."""
        return bool(self._stored)

    def places(self, moment: Moment) -> list[tuple[int, str]]:
        """Return layer and pool of what is stored at a moment: before the first token, of the prompt only."""
        stored = {(layer, pool) for layer, pool, _ in self._stored}
        return sorted(one for one in stored if moment.after > 0 or one[1] == OF_PROMPT)

    def at(self, moment: Moment, layer: int, pool: str) -> Float[np.ndarray, "sample width"] | None:
        """Return the states of a layer and pool at a moment; None where they were not stored, nan where one lacks them.

        Args:
            moment: With these samples. Answers that have ended have the state of the whole answer.
            layer: Decoder block, from 0.
            pool: Name of the pool.
        """
        every = pool == OF_PROMPT
        parts: list[tuple[int | None, Bool[np.ndarray, " sample"]]]
        parts = [(None, np.ones(len(self._ids), dtype=bool) if every else moment.ended)]
        going_on = np.unique(moment.so_far[~moment.ended]).tolist() if not every else []
        parts += [
            (after, ~moment.ended & (moment.so_far == after))
            for after in going_on
            if (layer, pool, after) in self._stored
        ]
        states: Float[np.ndarray, "sample width"] | None = None
        has = np.zeros(len(self._ids), dtype=bool)
        for after, wanted in parts:
            if not wanted.any():
                continue
            ids, found = self._run.hidden(layer, pool, after)
            place = moment.present([str(one) for one in ids])
            here = (place >= 0) & wanted[place]
            if states is None:
                states = np.full((len(self._ids), found.shape[1]), np.nan, dtype=np.float32)
            states[place[here]] = found[here]
            has[place[here]] = True
        return None if states is None or (not has.any() if every else moment.unread(has)) else states

    def family(self, moment: Moment) -> Family:
        """Return all layers and pools at a moment, as a factor of the mean of their Gram matrices."""
        total = np.zeros((len(self._ids), len(self._ids)))
        for layer, pool in self.places(moment):
            states = None if pool == OF_PROMPT else self.at(moment, layer, pool)
            total += 0 if states is None else gram(states)
        total += self._prompt(moment)
        if not np.any(total):
            return undefined(HIDDEN_STATES, f"no states were stored after {moment.after} tokens of the answer")
        return Family(HIDDEN_STATES, gram_factor(total), rotated=True)

    def pools(self, moment: Moment) -> list[str]:
        """Return the pools that are stored at a moment."""
        return sorted({pool for _, pool in self.places(moment)})

    def layers(self, moment: Moment, pool: str) -> list[tuple[int, Float[np.ndarray, "sample component"]]]:
        """Return a factor of the Gram matrix of every layer of a pool that is stored at a moment."""
        return [(layer, gram_factor(gram(states))) for layer, states in self._of_pool(moment, pool)]

    def _prompt(self, moment: Moment) -> Float[np.ndarray, "sample sample"]:
        """Return the sum over layers of the last prompt token, which is the same at every moment."""
        if self._of_prompt is None:
            self._of_prompt = np.zeros((len(self._ids), len(self._ids)))
            for _, states in self._of_pool(moment, OF_PROMPT):
                self._of_prompt += gram(states)
        return self._of_prompt

    def _of_pool(self, moment: Moment, pool: str) -> Iterator[tuple[int, Float[np.ndarray, "sample width"]]]:
        for layer, other in self.places(moment):
            states = self.at(moment, layer, pool) if other == pool else None
            if states is not None:
                yield layer, states
