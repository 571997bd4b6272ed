"""Calibration of predicted probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri

__all__ = ["ReliabilityBin", "brier_score", "expected_calibration_error", "reliability"]


@dataclass(frozen=True)
class ReliabilityBin:
    """Samples of similar predicted probability, and the observed frequency of label 1 among them."""

    n: int
    mean_probability: float
    observed: float
    """Share of label 1."""
    lower: float
    """Lower end of the Wilson interval of `observed`."""
    upper: float


def brier_score(probability: Float[np.ndarray, " sample"], label: Int[np.ndarray, " sample"]) -> float:
    """Mean squared difference of predicted probability and label; 0 is perfect.

    Args:
        probability: `(sample,)` of label 1, in 0 to 1.
        label: `(sample,)`, 0 or 1.

    Undefined:
        nan without samples.

    Source:
        Brier 1950; equals scikit-learn's `brier_score_loss`.

    Example:
        >>> brier_score(np.array([0.5, 1.0]), np.array([0, 1]))
        0.125
    """
    return float(np.mean((probability - label) ** 2)) if len(label) else float("nan")


def _bins(probability: Float[np.ndarray, " sample"], n_bins: int) -> Int[np.ndarray, " sample"]:
    """Return the equal-count bin of each sample; tied probabilities get the bin of their middle rank."""
    n = len(probability)
    _, inverse, count = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2.0
    return np.asarray(np.minimum(middle * n_bins / n, n_bins - 1).astype(np.int64)[inverse.reshape(-1)])


def reliability(
    probability: Float[np.ndarray, " sample"],
    label: Int[np.ndarray, " sample"],
    *,
    n_bins: int = 10,
    level: float = 0.95,
) -> list[ReliabilityBin]:
    """Predicted and observed frequency in bins of equal counts, from the lowest probability up.

    Bins that are empty because of tied probabilities are omitted.

    Args:
        probability: `(sample,)` of label 1, in 0 to 1.
        label: `(sample,)`, 0 or 1.
        n_bins: Maximal number of bins.
        level: Coverage of the intervals.

    Source:
        Intervals: Wilson 1927.

    Example:
        >>> [bin.observed for bin in reliability(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), n_bins=2)]
        [0.0, 1.0]
    """
    if not len(label):
        return []
    which = _bins(probability, n_bins)
    z = float(ndtri(0.5 + level / 2))
    found = []
    for value in np.unique(which):
        chosen = which == value
        n = int(chosen.sum())
        share = float(label[chosen].mean())
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        lower, upper = max(0.0, float(centre - half)), min(1.0, float(centre + half))
        found.append(ReliabilityBin(n, float(probability[chosen].mean()), share, min(lower, share), max(upper, share)))
    return found


def expected_calibration_error(probability: Float[np.ndarray, " sample"], label: Int[np.ndarray, " sample"]) -> float:
    """Mean absolute difference of predicted and observed frequency over ten bins of equal counts.

    In small samples it is above 0 even for true probabilities: about 0.12 with ten samples per bin.

    Args:
        probability: `(sample,)` of label 1, in 0 to 1.
        label: `(sample,)`, 0 or 1.

    Undefined:
        nan without samples.

    Source:
        Naeini, Cooper and Hauskrecht 2015, with bins of equal counts (Nguyen and O'Connor 2015).

    Example:
        >>> expected_calibration_error(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]))
        0.0
    """
    bins = reliability(probability, label)
    total = sum(bin_.n for bin_ in bins)
    if not total:
        return float("nan")
    return sum(bin_.n * abs(bin_.mean_probability - bin_.observed) for bin_ in bins) / total
