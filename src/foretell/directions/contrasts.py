"""Unit vectors with sign and scale from the hidden states of both answers, or a reason where there is none.

The rules are stated in `foretell.directions.fit`. No model is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.conversations.pairs import SIDES
from foretell.errors import InputError
from foretell.stats.directions.estimators import Method

__all__ = ["Contrast", "Fitted", "calibrated", "fit_rows", "found_vectors", "oriented"]

_SAME = "both answers of every training pair have the same hidden states here"
_NO_VECTOR = "the method found no direction here"
_NO_SIGN = "both sides project alike on average, so the direction has no sign"
_NO_TOKENS = "no calibration tokens outside the held-out topic"
_CONSTANT = "the projections of the calibration tokens are constant"
_ROUNDING = 1e-5
"""Differences below this share of a hidden state's length are the rounding of float32."""


@dataclass
class Contrast:
    """Sums over rows of what orients a direction: a sink whose memory does not grow with the number of pairs."""

    difference: dict[int, np.ndarray] = field(default_factory=dict)
    """By layer, the positive rows less the negative ones."""
    distance: dict[int, float] = field(default_factory=dict)
    """By layer, squared lengths of these differences."""
    size: dict[int, float] = field(default_factory=dict)
    """By layer, squared lengths of the hidden states, mean of both sides."""

    def add(self, layer: int, pair: Int[np.ndarray, " row"], hidden: Float[Tensor, "row side width"]) -> None:
        """Add one layer's rows of one batch."""
        rows = hidden.double()
        difference = rows[:, 0] - rows[:, 1]
        self.difference[layer] = self.difference.get(layer, 0.0) + difference.sum(dim=0).cpu().numpy()
        self.distance[layer] = self.distance.get(layer, 0.0) + float(difference.square().sum())
        self.size[layer] = self.size.get(layer, 0.0) + float(rows.square().sum()) / len(SIDES)


@dataclass(frozen=True)
class Fitted:
    """Unit vectors and their calibration; nan where a reason is given."""

    vectors: np.ndarray
    mean: np.ndarray
    standard_deviation: np.ndarray
    reasons: tuple[str | None, ...]


def fit_rows(
    name: str,
    find: Method,
    hidden: Float[np.ndarray, "row side layer width"],
    tokens: Float[np.ndarray, "token layer width"],
    *,
    chosen: Int[np.ndarray, " chosen"] | None = None,
) -> Fitted:
    """Return the vectors of a method on these rows, with their sign, calibrated on the chosen `tokens`.

    Raises:
        InputError: The method returned vectors of another shape.
    """
    return calibrated(*found_vectors(name, find, hidden), tokens, chosen=chosen)


def found_vectors(
    name: str, find: Method, hidden: Float[np.ndarray, "row side layer width"]
) -> tuple[Float[np.ndarray, "layer width"], list[str | None]]:
    """Return what a method finds in these rows, oriented by them, and why a layer has no direction.

    Raises:
        InputError: The method returned vectors of another shape.
    """
    vectors = np.asarray(find(hidden[:, 0], hidden[:, 1]))
    if vectors.shape != hidden.shape[2:]:
        raise InputError(f'the method "{name}" returned vectors {vectors.shape}; {hidden.shape[2:]} are required')
    contrast = Contrast()
    for layer in range(hidden.shape[2]):
        contrast.add(layer, np.arange(len(hidden)), torch.as_tensor(hidden[:, :, layer]))
    return oriented(vectors, contrast)


def oriented(
    vectors: Float[np.ndarray, "layer width"], contrast: Contrast
) -> tuple[Float[np.ndarray, "layer width"], list[str | None]]:
    """Return unit vectors that point to the positive side, and why a layer has none."""
    vectors = vectors.astype(np.float64)
    norm = np.linalg.norm(vectors, axis=-1)
    reasons: list[str | None] = []
    for layer in range(len(vectors)):
        found = bool(np.isfinite(norm[layer]) and norm[layer] > 0.0)
        gap = float(vectors[layer] @ contrast.difference[layer]) if found else 0.0
        reason = None
        if contrast.distance[layer] <= _ROUNDING**2 * contrast.size[layer]:
            reason = _SAME
        elif not found:
            reason = _NO_VECTOR
        elif gap == 0.0:
            reason = _NO_SIGN
        reasons.append(reason)
        vectors[layer] = np.nan if reason else vectors[layer] * (np.sign(gap) / norm[layer])
    return vectors, reasons


def calibrated(
    vectors: Float[np.ndarray, "layer width"],
    reasons: Sequence[str | None],
    tokens: Float[np.ndarray, "token layer width"],
    *,
    chosen: Int[np.ndarray, " chosen"] | None = None,
) -> Fitted:
    """Return the vectors with mean and standard deviation of the chosen tokens' projections on them; None is all."""
    n_chosen = len(tokens) if chosen is None else len(chosen)
    mean = np.full(len(vectors), np.nan)
    standard_deviation = mean.copy()
    reasons = list(reasons)
    for layer, reason in enumerate(reasons):
        if reason:
            continue
        if not n_chosen:
            reasons[layer] = _NO_TOKENS
            continue
        # Layer by layer, so that leaving a topic out copies little.
        hidden = (tokens[:, layer] if chosen is None else tokens[chosen, layer]).astype(np.float64)
        # Vectors are stored as float32, so the scale is computed with those.
        projection = hidden @ vectors[layer].astype(np.float32).astype(np.float64)
        size = np.sqrt(np.square(hidden).sum(axis=-1).mean())
        if projection.std() <= _ROUNDING * size:
            reasons[layer] = _CONSTANT
            continue
        mean[layer], standard_deviation[layer] = projection.mean(), projection.std()
    return Fitted(vectors, mean, standard_deviation, tuple(reasons))
