"""Contrast-consistent search: a probe found from pairs without knowing which answer of a pair is which.

It minimises, over weights w and intercept b on standardised hidden states, the mean over pairs of
`(p1 + p2 - 1)^2 + min(p1, p2)^2` with `p = sigmoid(w . x + b)` of either answer, plus 0.005 |w|^2.

Three choices differ from the publication. Both answers are centred together, not each side by itself: here one side
always shows the concept, so taking each side's own mean away would take the concept away; and each column is scaled by
the spread of the pairs' midpoints, so that a strong concept is not scaled away either. The small penalty makes
the minimum finite where there are fewer pairs than dimensions. The search starts from the three longest components of
the paired differences with both signs instead of at random, so that the same pairs always give the same probe.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

__all__ = ["consistent_weights"]

_PENALTY = 0.01
_LEAST_SHARE = 0.01
"""Scale of a column whose pairs share all they have, as a share of its own spread."""
_N_COMPONENTS = 3
_N_STEPS = 200


def consistent_weights(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the weights of the probe with the least loss, in the units of the hidden states.

    Args:
        first: `(row, width)` float64, one answer of each pair.
        second: `(row, width)` float64, the other answer; exchanging both changes nothing but the sign.
    """
    rows = np.concatenate([first, second])
    whole = rows.std(axis=0)
    # What both answers of a pair share does not hold the contrast, so a strong contrast is not scaled away.
    scale = np.maximum(((first + second) / 2.0).std(axis=0), _LEAST_SHARE * whole)
    scale[scale == 0.0] = 1.0
    standardised = (rows - rows.mean(axis=0)) / scale
    # The penalty keeps the weights in the span of the rows, so the problem has no more unknowns than rows.
    left, length, right = np.linalg.svd(standardised, full_matrices=False)
    kept = length > length[0] * 1e-12
    if not kept.any():
        return np.zeros(first.shape[1])
    projected = left[:, kept] * length[kept]
    one, other = projected[: len(first)], projected[len(first) :]
    best = min(
        (
            minimize(_loss, start, args=(one, other), jac=True, method="L-BFGS-B", options={"maxiter": _N_STEPS})
            for start in _starts(one - other)
        ),
        key=lambda found: float(found.fun),
    )
    return np.asarray((right[kept].T @ best.x[:-1]) / scale)


def _starts(difference: np.ndarray) -> list[np.ndarray]:
    """Return weights along the longest components of the differences, with both signs and no intercept."""
    components = np.linalg.svd(difference, full_matrices=False)[2][:_N_COMPONENTS]
    spread = np.sqrt(np.mean(np.square(difference @ components.T), axis=0))
    found = []
    for component, size in zip(components, spread, strict=True):
        weights = np.append(component / max(float(size), 1e-12), 0.0)
        found += [weights, -weights]
    return found


def _loss(weights: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient."""
    first, second = expit(one @ weights[:-1] + weights[-1]), expit(other @ weights[:-1] + weights[-1])
    excess, smaller = first + second - 1.0, np.minimum(first, second)
    value = float(np.mean(excess**2 + smaller**2)) + 0.5 * _PENALTY * float(weights[:-1] @ weights[:-1])
    by_first = (2.0 * excess + 2.0 * smaller * (first <= second)) * first * (1.0 - first) / len(one)
    by_second = (2.0 * excess + 2.0 * smaller * (first > second)) * second * (1.0 - second) / len(one)
    gradient = np.append(one.T @ by_first + other.T @ by_second, by_first.sum() + by_second.sum())
    gradient[:-1] += _PENALTY * weights[:-1]
    return value, gradient
