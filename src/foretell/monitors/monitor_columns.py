"""The columns of a monitor: what it looks at, in order, and how numbers read from a model become them.

Every column is of the answer so far and can be had at every token: logarithms of the masses of single heads, averaged
over the rows so far; hidden states of single layers, averaged over the tokens so far, or of the last one; activity,
mean so far and last; log-probability, mean and least so far; and the number of tokens. A run and a model that is
writing give the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from foretell.schema.tables import SEGMENTS

__all__ = ["N_MASSES", "Columns", "Numbers", "linear_score"]

N_MASSES = len(SEGMENTS)
_FLOOR = 1e-3
"""Added to a mass before its logarithm: masses far below it differ by rounding, and zero has no logarithm."""
_N_ACTIVITY = 2
_N_CONFIDENCE = 2


@dataclass(frozen=True)
class Numbers:
    """What is read of some answers at some moments; nan is missing."""

    n_generated: Int[np.ndarray, " row"]
    mass: Float[np.ndarray, "row head segment"]
    """Averaged over the rows so far."""
    states: Float[np.ndarray, "row layer width"]
    """Pooled over the tokens so far."""
    activity: Float[np.ndarray, "row place number"]
    """Mean so far, and last."""
    logprob: Float[np.ndarray, "row statistic"]
    """Mean and least so far."""


@dataclass(frozen=True)
class Columns:
    """What a monitor looks at, in the order of its columns."""

    heads: tuple[tuple[int, int], ...] = ()
    """Layer and head of each head whose masses are read."""
    layers: tuple[int, ...] = ()
    """Layers whose hidden states are read."""
    pool: str = "mean over answer"
    """What they are pooled over."""
    state_dtype: str = "float32"
    """What they are rounded to first: the type that the run stored them in."""
    width: int = 0
    activity: tuple[tuple[str, int], ...] = ()
    """Concept and layer of each activity."""
    confidence: bool = False
    """Whether log-probabilities are read."""
    length: bool = False
    """Whether the number of tokens is one of the columns."""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of columns of each kind, in order; the layers of hidden states are kinds of their own."""
        return {
            "attention": N_MASSES * len(self.heads),
            **{f"hidden states of layer {layer}": self.width for layer in self.layers},
            "activity": _N_ACTIVITY * len(self.activity),
            "confidence": _N_CONFIDENCE * self.confidence,
            "length": int(self.length),
        }

    @property
    def blocks(self) -> Int[np.ndarray, " column"]:
        """Number of the kind of each column: kinds have equal weight whatever their number of columns."""
        return np.repeat(np.arange(len(self.sizes)), list(self.sizes.values()))

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """Layers whose attention is read."""
        return tuple(sorted({layer for layer, _ in self.heads}))

    @property
    def state_layers(self) -> tuple[int, ...]:
        """Layers whose residual stream is read, for hidden states or activity."""
        return tuple(sorted({*self.layers, *(layer for _, layer in self.activity)}))

    def with_length(self) -> Columns:
        """Return the same with the number of tokens."""
        return replace(self, length=True)

    def matrix(self, numbers: Numbers) -> Float[np.ndarray, "row column"]:
        """Return the columns, in float64."""
        n = len(numbers.n_generated)
        parts = [
            np.log(numbers.mass.astype(np.float64) + _FLOOR),
            numbers.states.astype(self.state_dtype).astype(np.float64),
            numbers.activity,
            numbers.logprob,
        ]
        if self.length:
            parts.append(np.log1p(numbers.n_generated.astype(np.float64)))
        flat = [np.asarray(part, dtype=np.float64).reshape(n, part.size // n if n else 0) for part in parts]
        return np.concatenate(flat, axis=1) if n else np.empty((0, sum(self.sizes.values())))


def linear_score(
    matrix: Float[np.ndarray, "row column"],
    centre: Float[np.ndarray, " column"],
    weight: Float[np.ndarray, " column"],
    intercept: float,
) -> Float[np.ndarray, " row"]:
    """Return intercept + (columns - centre) . weight of each row; nan where a column is missing.

    The sum does not depend on how many rows there are, as a matrix product may, so that a score is the same number
    whenever it is computed.
    """
    return np.asarray(((matrix - centre) * weight).sum(axis=1) + intercept)
