"""Measures of binary predictions, equal to scikit-learn's, vectorised over resamples.

Counts may have any leading axes, so a thousand bootstrap resamples take one call.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from foretell.stats.auc.roc import roc_curve

__all__ = ["OBJECTIVES", "Objective", "confusion", "measure", "thinned_roc"]

Objective = Literal["youden", "f1", "balanced_accuracy", "accuracy", "mcc"]
OBJECTIVES: tuple[Objective, ...] = ("youden", "f1", "balanced_accuracy", "accuracy")
"""What a threshold may maximise."""


def confusion(
    predicted: Bool[np.ndarray, " row"],
    label: Int[np.ndarray, " row"],
    *,
    group: Int[np.ndarray, " row"] | None = None,
) -> Float[np.ndarray, "*group count"]:
    """Count true positives, false positives, true negatives and false negatives, in this order.

    Args:
        predicted: `(row,)`, whether 1 was predicted.
        label: `(row,)`, 0 or 1.
        group: `(row,)` codes from 0; counts are then given per group.

    Returns:
        `(4,)`, or `(group, 4)`.

    Example:
        >>> confusion(np.array([True, True, False]), np.array([1, 0, 0])).tolist()
        [1.0, 1.0, 1.0, 0.0]
    """
    cell = np.where(predicted, np.where(label == 1, 0, 1), np.where(label == 1, 3, 2))
    if group is None:
        return np.bincount(cell, minlength=4).astype(np.float64)
    n_groups = int(group.max()) + 1 if len(group) else 0
    return np.bincount(4 * group + cell, minlength=4 * n_groups).reshape(n_groups, 4).astype(np.float64)


def measure(counts: Float[np.ndarray, "*any count"], objective: Objective) -> Float[np.ndarray, "*any"]:
    """Value of one measure for counts of true positives, false positives, true negatives and false negatives.

    Args:
        counts: `(..., 4)` as from `confusion`; may be weighted.
        objective: youden (sensitivity + specificity - 1), f1 of class 1, balanced_accuracy, accuracy, or mcc
            (Matthews correlation).

    Undefined:
        nan where a denominator is 0: youden and balanced_accuracy with one class, mcc where a class is never predicted
        or never true, f1 where class 1 is neither true nor predicted.

    Source:
        Equal to scikit-learn's functions of the same names wherever they are defined.

    Example:
        >>> float(measure(np.array([2.0, 1, 5, 2]), "accuracy"))
        0.7
    """
    true_positive, false_positive, true_negative, false_negative = np.moveaxis(counts, -1, 0)
    positive, negative = true_positive + false_negative, true_negative + false_positive
    with np.errstate(invalid="ignore", divide="ignore"):
        if objective == "accuracy":
            value = (true_positive + true_negative) / (positive + negative)
        elif objective == "f1":
            value = 2.0 * true_positive / (positive + true_positive + false_positive)
        elif objective == "mcc":
            ones = true_positive + false_positive
            zeros = true_negative + false_negative
            value = (true_positive * true_negative - false_positive * false_negative) / (
                np.sqrt(positive) * np.sqrt(negative) * np.sqrt(ones) * np.sqrt(zeros)
            )
        else:
            value = (true_positive / positive + true_negative / negative) / 2.0
            value = 2.0 * value - 1.0 if objective == "youden" else value
    return np.asarray(value, dtype=np.float64)


def thinned_roc(
    score: Float[np.ndarray, " row"],
    label: Int[np.ndarray, " row"],
    *,
    within: Int[np.ndarray, " row"] | None = None,
    n_points: int = 400,
) -> Float[np.ndarray, "point rate"]:
    """ROC curve as false and true positive rates, thinned for drawing.

    With `within`, the curves of all codes are averaged at equal false positive rates, weighted by their numbers of
    pairs, so that the area under the curve is the AUC over pairs within codes.

    Args:
        score: `(row,)`, finite, higher means 1.
        label: `(row,)`, 0 or 1.
        within: `(row,)` codes; scores are compared within one code. None: all scores are comparable.
        n_points: Maximal number of points, at least 2.

    Returns:
        `(point, 2)` from (0, 0) to (1, 1); no point where no code has both classes.

    Example:
        >>> thinned_roc(np.array([0.1, 0.9]), np.array([0, 1])).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    codes = np.zeros(len(score), dtype=np.int64) if within is None else within
    curves, weights = [], []
    for value in np.unique(codes):
        chosen = codes == value
        n_positive = int((label[chosen] == 1).sum())
        n_negative = int(chosen.sum()) - n_positive
        if n_positive and n_negative:
            curve = roc_curve(score[chosen], label[chosen], max_points=n_points)
            curves.append(np.column_stack([curve.false_positive_rate, curve.true_positive_rate]))
            weights.append(n_positive * n_negative)
    if not curves:
        return np.empty((0, 2))
    if len(curves) == 1:
        return curves[0]
    rates = np.linspace(0.0, 1.0, n_points - 1)
    heights = [_upper(curve, rates) for curve in curves]
    averaged = np.column_stack([rates, np.average(heights, axis=0, weights=weights)])
    return np.vstack([np.zeros((1, 2)), averaged])


def _upper(curve: Float[np.ndarray, "point rate"], rates: Float[np.ndarray, " at"]) -> Float[np.ndarray, " at"]:
    """Return the true positive rate at each false positive rate, the higher end of a vertical step."""
    last = np.append(np.flatnonzero(np.diff(curve[:, 0])), len(curve) - 1)
    return np.asarray(np.interp(rates, curve[last, 0], curve[last, 1]))
