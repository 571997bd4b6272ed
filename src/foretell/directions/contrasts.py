"""Unit vectors with sign and scale from the hidden states of both answers, or a reason where there is none.

The rules are stated in `foretell.directions.fit`. No model is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.conversations.pairs import SIDES
from foretell.directions.activations.state_rounding import FLOAT32, rounding_unit
from foretell.errors import InputError
from foretell.stats.directions.estimators import Method, is_built_in, rows_needed

__all__ = ["Contrast", "Fitted", "calibrated", "fit_rows", "found_vectors", "oriented"]

_SAME = "both answers of every training pair have the same hidden states here"
_NOT_FINITE = "hidden states are not finite here"
_NO_DIFFERENCE = "the sides do not differ on average here by more than rounding, so there is no direction"
_NO_VECTOR = "the method found no direction here"
_NO_SIGN = "both sides project alike on average, so the direction has no sign"
_NO_TOKENS = "no calibration tokens outside the held-out topic"
_CONSTANT = "the projections of the calibration tokens are constant"
_LEAST_SHARE = 1e-3
"""Sums of differences below this share of their spread cancel: independent pairs give a share of one or more."""
_LEAST_COSINE = 1e-6
"""Between a direction and the difference of the sides; below it the sign is rounding."""


@dataclass
class Contrast:
    """Sums over rows of what orients a direction: a sink whose memory does not grow with the number of pairs."""

    difference: dict[int, np.ndarray] = field(default_factory=dict)
    """By layer and dimension, the positive rows less the negative ones."""
    distance: dict[int, np.ndarray] = field(default_factory=dict)
    """By layer and dimension, squares of these differences."""
    size: dict[int, np.ndarray] = field(default_factory=dict)
    """By layer and dimension, squares of the hidden states, mean of both sides."""
    total: dict[int, np.ndarray] = field(default_factory=dict)
    """By layer and dimension, the hidden states, mean of both sides."""
    n_rows: dict[int, int] = field(default_factory=dict)
    """By layer."""

    def add(self, layer: int, pair: Int[np.ndarray, " row"], hidden: Float[Tensor, "row side width"]) -> None:
        """Add one layer's rows of one batch."""
        rows = hidden.double()
        difference = rows[:, 0] - rows[:, 1]
        self.difference[layer] = self.difference.get(layer, 0.0) + difference.sum(dim=0).cpu().numpy()
        self.distance[layer] = self.distance.get(layer, 0.0) + difference.square().sum(dim=0).cpu().numpy()
        self.size[layer] = self.size.get(layer, 0.0) + rows.square().sum(dim=(0, 1)).cpu().numpy() / len(SIDES)
        self.total[layer] = self.total.get(layer, 0.0) + rows.sum(dim=(0, 1)).cpu().numpy() / len(SIDES)
        self.n_rows[layer] = self.n_rows.get(layer, 0) + len(rows)

    def steady(self, layer: int) -> Bool[np.ndarray, " width"]:
        """Tell which dimensions are constant over all rows and both sides but for the rounding of float32."""
        mean, mean_square = (sums[layer] / self.n_rows[layer] for sums in (self.total, self.size))
        return np.asarray(mean_square - np.square(mean) <= np.square(rounding_unit(mean_square, FLOAT32)))

    def no_direction(self, layer: int, rounding: float) -> str | None:
        """Say why the sides of a layer show no direction, whatever the method; None where they do.

        Each dimension is judged by itself and the mean over them decides, so that one of huge size does not hide the
        others.
        """
        n, distance = self.n_rows[layer], self.distance[layer]
        if not np.isfinite(distance).all():
            return _NOT_FINITE
        noise = n * np.square(rounding_unit(self.size[layer] / n, rounding))
        if _mean_ratio(distance, noise) <= 1.0:
            return _SAME
        # Rounding of both sides, or what remains where differences cancel, such as pairs and the same pairs exchanged.
        least = len(SIDES) * noise + _LEAST_SHARE**2 * distance
        return _NO_DIFFERENCE if _mean_ratio(np.square(self.difference[layer]), least) <= 1.0 else None


def _mean_ratio(values: Float[np.ndarray, " width"], least: Float[np.ndarray, " width"]) -> float:
    return float(np.divide(values, least, out=np.zeros(len(values)), where=least > 0.0).mean())


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
    rounding: float = FLOAT32,
) -> Fitted:
    """Return the vectors of a method on these rows, with their sign, calibrated on the chosen `tokens`.

    Raises:
        InputError: The method returned vectors of another shape.
    """
    found = found_vectors(name, find, hidden, rounding=rounding)
    return calibrated(*found, tokens, chosen=chosen, rounding=rounding)


def found_vectors(
    name: str, find: Method, hidden: Float[np.ndarray, "row side layer width"], *, rounding: float = FLOAT32
) -> tuple[Float[np.ndarray, "layer width"], list[str | None]]:
    """Return what a method finds in these rows, oriented by them, and why a layer has no direction.

    A function of the user's own is given copies, so that it may do with them what it likes.

    Raises:
        InputError: The method returned vectors of another shape.
    """
    n_rows, n_needed = len(hidden), rows_needed(find)
    contrast = Contrast()
    for layer in range(hidden.shape[2]):
        contrast.add(layer, np.arange(n_rows), torch.as_tensor(hidden[:, :, layer]))
    why: str | None = None
    if n_rows < n_needed:
        why = f'the method "{name}" needs {n_needed} pairs of hidden states or more, and here are {n_rows}'
        vectors = np.full(hidden.shape[2:], np.nan)
    else:
        try:
            vectors = _found(find, hidden, contrast)
        except np.linalg.LinAlgError as error:
            why = f'the method "{name}" found no direction here: {error}'
            vectors = np.full(hidden.shape[2:], np.nan)
    if vectors.shape != hidden.shape[2:] or vectors.dtype.kind not in "fiu":
        raise InputError(
            f'the method "{name}" returned vectors {vectors.shape} of {vectors.dtype}; {hidden.shape[2:]} real numbers '
            "are required"
        )
    return oriented(vectors, contrast, rounding=rounding, why=why)


def _found(find: Method, hidden: Float[np.ndarray, "row side layer width"], contrast: Contrast) -> np.ndarray:
    """Return what a method finds where dimensions that vary by rounding alone are made constant.

    Methods that divide a dimension by its spread would take such rounding for the strongest evidence.
    """
    steady = np.stack([contrast.steady(layer) for layer in range(hidden.shape[2])])
    if not is_built_in(find):
        return np.asarray(find(*(np.where(steady, hidden[:1, 0], hidden[:, side]) for side in range(len(SIDES)))))
    found = []
    for layer, constant in enumerate(steady):  # one after the other, because the states of all may be in a file
        rows = hidden[:, :, layer : layer + 1]
        rows = np.where(constant, rows[:1, :1], rows) if constant.any() else rows
        found.append(find(rows[:, 0], rows[:, 1]))
    return np.concatenate(found)


def oriented(
    vectors: Float[np.ndarray, "layer width"] | Int[np.ndarray, "layer width"],
    contrast: Contrast,
    *,
    rounding: float = FLOAT32,
    why: str | None = None,
) -> tuple[Float[np.ndarray, "layer width"], list[str | None]]:
    """Return unit vectors that point to the positive side, and why a layer has none.

    Args:
        vectors: What a method found, of any length and sign.
        contrast: The rows that it found them in.
        rounding: Of the hidden states, see `foretell.directions.activations.state_rounding`.
        why: Why the method found none, where it says so.
    """
    vectors = vectors.astype(np.float64)
    reasons: list[str | None] = []
    for layer, vector in enumerate(vectors):
        # Scaled first, because squares of huge or tiny numbers pass what floating point holds.
        largest = float(np.abs(vector).max())
        found = bool(np.isfinite(largest) and largest > 0.0)
        unit = vector / largest / np.linalg.norm(vector / largest) if found else np.full(len(vector), np.nan)
        difference = contrast.difference[layer]
        gap = float(unit @ difference)
        reason = contrast.no_direction(layer, rounding)
        if reason is None and not found:
            reason = why or _NO_VECTOR
        elif reason is None and abs(gap) <= _LEAST_COSINE * np.linalg.norm(difference):
            reason = _NO_SIGN
        reasons.append(reason)
        vectors[layer] = np.nan if reason else unit * np.sign(gap)
    return vectors, reasons


def calibrated(
    vectors: Float[np.ndarray, "layer width"],
    reasons: Sequence[str | None],
    tokens: Float[np.ndarray, "token layer width"],
    *,
    chosen: Int[np.ndarray, " chosen"] | None = None,
    rounding: float = FLOAT32,
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
        vector = vectors[layer].astype(np.float32).astype(np.float64)
        projection = hidden @ vector
        if _is_constant(hidden, vector, rounding):
            reasons[layer] = _CONSTANT
            continue
        mean[layer], standard_deviation[layer] = projection.mean(), projection.std()
    return Fitted(vectors, mean, standard_deviation, tuple(reasons))


def _is_constant(
    hidden: Float[np.ndarray, "token width"], vector: Float[np.ndarray, " width"], rounding: float
) -> bool:
    """Tell whether projections vary by no more than rounding; dimensions that do not vary take no part."""
    unit = rounding_unit(np.square(hidden).mean(axis=0), rounding)
    varying = hidden.std(axis=0) > unit
    spread = float((hidden @ np.where(varying, vector, 0.0)).std())
    return spread <= float(np.linalg.norm(np.where(varying, vector * unit, 0.0)))
