"""Ridge logistic regression by Newton's method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

__all__ = ["newton"]

_TOLERANCE = 1e-8
_MAX_ITERATIONS = 60


def newton(
    features: Float[np.ndarray, "sample feature"], label: Int[np.ndarray, " sample"], strengths: Sequence[float]
) -> Float[np.ndarray, "strength coefficient"]:
    """Coefficients of ridge logistic regressions, intercept (not penalised) last, by Newton's method with step halving.

    Args:
        features: `(sample, feature)`, finite.
        label: `(sample,)`, 0 or 1; both must be present.
        strengths: Inverse penalties C: the loss is the summed log-loss plus squared coefficients over 2 C.

    Source:
        The optimum of scikit-learn's `LogisticRegression(C=C)`.

    Example:
        >>> newton(np.array([[-1.0], [1.0]]), np.array([0, 1]), [1.0]).shape
        (1, 2)
    """
    design = np.column_stack([features, np.ones(len(features))])
    n_strengths, n_columns = len(strengths), design.shape[1]
    penalty = np.repeat(1.0 / np.asarray(strengths, dtype=np.float64)[:, None], n_columns, axis=1)
    penalty[:, -1] = 0.0
    truth = label.astype(np.float64)
    coefficients = np.zeros((n_strengths, n_columns))
    rate = float(np.clip(truth.mean(), 1e-6, 1 - 1e-6))
    coefficients[:, -1] = np.log(rate / (1 - rate))
    active = np.arange(n_strengths)
    for _ in range(_MAX_ITERATIONS):
        here, cost = coefficients[active], penalty[active]
        probability = expit(here @ design.T)
        gradient = (probability - truth) @ design + cost * here
        unfinished = np.abs(gradient).max(axis=1) > _TOLERANCE * len(truth)
        if not unfinished.any():
            break
        active = active[unfinished]
        here, cost, gradient, probability = (part[unfinished] for part in (here, cost, gradient, probability))
        weight = np.maximum(probability * (1 - probability), 1e-12)
        curvature = (design.T[None] * weight[:, None, :]) @ design
        curvature[:, np.arange(n_columns), np.arange(n_columns)] += cost
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        coefficients[active] = _line_search(design, truth, here, step, cost)
    return coefficients


def _line_search(
    design: Float[np.ndarray, "sample column"],
    truth: Float[np.ndarray, " sample"],
    here: Float[np.ndarray, "strength column"],
    step: Float[np.ndarray, "strength column"],
    cost: Float[np.ndarray, "strength column"],
) -> Float[np.ndarray, "strength column"]:
    """Return the next coefficients, halving each step until its loss does not increase."""

    def loss(at: Float[np.ndarray, "strength column"]) -> Float[np.ndarray, " strength"]:
        margin = at @ design.T
        return np.asarray((np.logaddexp(0.0, margin) - truth * margin).sum(axis=1) + (cost * at**2).sum(axis=1) / 2)

    before = loss(here)
    size = np.ones(len(here))
    for _ in range(20):
        after = loss(here - size[:, None] * step)
        worse = after > before * (1 + 1e-12) + 1e-12
        if not worse.any():
            break
        size[worse] /= 2
    return np.asarray(here - size[:, None] * step)
