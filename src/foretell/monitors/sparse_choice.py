"""Which few heads, layers and activities a monitor looks at: those that say most of the label beside each other.

Every choice sees the rows that it is given and no others, so inside cross-validation it is made anew in each training
set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logit

from foretell.stats.detectors.learners import Linear
from foretell.stats.detectors.stages import Training, fit_stage
from foretell.stats.signals.family import standardised

__all__ = ["chosen_layers_of_states", "chosen_places"]

_PENALTY = 0.01
"""Added to the squared norm of a standardised column, relative to the number of rows."""
_LEAST_GAIN = 1e-3
"""Nats per answer that one more layer must save on held-out groups."""


def chosen_places(
    values: Float[np.ndarray, "row place number"], label: Int[np.ndarray, " row"], most: int
) -> tuple[int, ...]:
    """Return the places (heads, say) that say most of the label beside those chosen before, in order of their number.

    One after the other, the place whose columns correlate most (sum of squares) with what the others leave.

    Args:
        values: Numbers of each place; constant and missing ones count as 0.
        label: 0 or 1, of each row.
        most: How many are chosen at most.

    Source:
        Orthogonal matching pursuit by groups of columns (Lozano, Swirszcz and Abe 2009), with a ridge.
    """
    n, n_places, size = values.shape
    scaled = standardised(values.reshape(n, -1)).astype(np.float32).reshape(n, n_places, size)
    left = (label - label.mean()).astype(np.float32)
    chosen: list[int] = []
    is_usable = np.asarray((scaled != 0).any(axis=(0, 2)))
    while len(chosen) < min(most, int(is_usable.sum())):
        strength = (np.einsum("npc,n->pc", scaled, left, optimize=True) ** 2).sum(axis=1)
        strength[~is_usable] = -1.0
        strength[chosen] = -1.0
        # Rounding decides nothing: the first of equals.
        best = int(np.argmax(np.round(strength / max(float(strength.max()), 1e-30), 6)))
        chosen.append(best)
        columns = scaled[:, chosen].reshape(n, -1).astype(np.float64)
        inner = columns.T @ columns
        inner[np.diag_indices(len(inner))] += _PENALTY * n
        residual = label - label.mean()
        left = (residual - columns @ np.linalg.solve(inner, columns.T @ residual)).astype(np.float32)
    return tuple(sorted(chosen))


def chosen_layers_of_states(
    factors: Sequence[Float[np.ndarray, "sample _"]],
    label: Int[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    most: int,
    *,
    seed: int,
) -> tuple[int, ...]:
    """Return the places of the layers whose probes say most of the label, each beside those chosen before.

    Args:
        factors: By layer, columns with the inner products of its states.
        label: 0 or 1, of each answer.
        group: Codes of groups.
        most: How many are chosen at most; the first one always is.
        seed: Random seed of the inner folds.
    """
    known = np.full(len(label), float(logit(np.clip(label.mean(), 1e-6, 1 - 1e-6))))
    chosen: list[int] = []
    before = np.inf
    while len(chosen) < min(most, len(factors)):
        found: list[tuple[float, int, Float[np.ndarray, " sample"]]] = []
        for place, factor in enumerate(factors):
            if place in chosen:
                continue
            learner = Linear(np.zeros(factor.shape[1], dtype=np.int64), one_scale=(0,))
            margin = known + fit_stage(learner, factor, Training(label, group, known), seed=seed).inner
            found.append((_log_loss(margin, label), place, margin))
        loss, place, margin = min(found, key=lambda one: (round(one[0], 9), one[1]))
        if chosen and before - loss < _LEAST_GAIN:
            break
        chosen.append(place)
        before, known = loss, margin
    return tuple(sorted(chosen))


def _log_loss(margin: Float[np.ndarray, " sample"], label: Int[np.ndarray, " sample"]) -> float:
    return float((np.logaddexp(0.0, margin) - label * margin).mean())
