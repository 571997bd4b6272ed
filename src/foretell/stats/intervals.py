"""The area under a ROC curve with an interval that respects which samples depend on each other.

auc_interval(score, label, group=prompt)     # Estimate(estimate=0.63, lower=0.52, upper=0.73, ...)

It knows no table and draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, Shaped
from scipy import stats

__all__ = ["Estimate", "Placements", "auc", "auc_interval", "auc_variance", "interval_of_auc", "placements"]


@dataclass(frozen=True)
class Estimate:
    """A number, its interval, and how both came about; undefined numbers are None and `reason` says why."""

    estimate: float | None
    lower: float | None
    upper: float | None
    level: float
    """Intended coverage of the interval."""
    n: int
    """Values that were used."""
    n_groups: int
    """Groups of dependent values among them."""
    method: str
    seed: int | None = None
    """Seed of the resampling; None where nothing is random."""
    reason: str | None = None


@dataclass(frozen=True)
class Placements:
    """Where each score stands among the scores of the other class: the parts an AUC is the mean of."""

    of_positive: Float[np.ndarray, " positive"]
    """Share of the negatives below each positive, ties one half."""
    of_negative: Float[np.ndarray, " negative"]
    """Share of the positives above each negative, ties one half."""


def placements(score: Num[np.ndarray, " n"], positive: Shaped[np.ndarray, " n"]) -> Placements:
    """Return the share of the other class that each score beats (positives) or is beaten by (negatives).

    Args:
        score: No nan.
        positive: Boolean; both classes must be there.

    Source:
        DeLong, DeLong & Clarke-Pearson (1988), equations for V10 and V01.
    """
    high, low = np.sort(score[positive]), np.sort(score[~positive])
    below = np.searchsorted(low, score[positive], "left") + np.searchsorted(low, score[positive], "right")
    above = 2 * high.size - np.searchsorted(high, score[~positive], "left")
    above -= np.searchsorted(high, score[~positive], "right")
    return Placements(below / (2 * low.size), above / (2 * high.size))


def auc(score: Num[np.ndarray, " n"], label: Num[np.ndarray, " n"]) -> float:
    """Chance that a random positive scores above a random negative, ties one half.

    Args:
        score: Any monotone scale; nan means missing and is left out.
        label: 1 positive, 0 negative.

    Undefined:
        nan when one class is absent.

    Source:
        Must equal `sklearn.metrics.roc_auc_score`.

    Example:
        >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        0.75
    """
    there = ~np.isnan(score)
    score, positive = score[there], label[there] == 1
    n_positive = int(np.count_nonzero(positive))
    n_negative = int(positive.size) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = float(stats.rankdata(score)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def auc_variance(
    parts: Placements,
    group_of_positive: Shaped[np.ndarray, " positive"],
    group_of_negative: Shaped[np.ndarray, " negative"],
) -> float:
    """Variance of an AUC whose samples depend on each other within groups.

    Undefined:
        nan when either class has fewer than two groups.

    Source:
        Obuchowski (1997), "Nonparametric analysis of clustered ROC curve data"; equals DeLong's variance when
        every sample is its own group.
    """
    names, code = np.unique(np.concatenate([group_of_positive, group_of_negative]), return_inverse=True)
    high, low = code[: group_of_positive.size], code[group_of_positive.size :]
    n_high, n_low = np.bincount(high, minlength=names.size), np.bincount(low, minlength=names.size)
    with_high, with_low = int(np.count_nonzero(n_high)), int(np.count_nonzero(n_low))
    if with_high < 2 or with_low < 2:
        return float("nan")
    area = float(parts.of_positive.mean())
    sum_high = np.bincount(high, weights=parts.of_positive - area, minlength=names.size)
    sum_low = np.bincount(low, weights=parts.of_negative - area, minlength=names.size)
    variance = with_high / (with_high - 1) * float(sum_high @ sum_high) / high.size**2
    variance += with_low / (with_low - 1) * float(sum_low @ sum_low) / low.size**2
    if names.size > 1:
        covariance = names.size / (names.size - 1) * float(sum_high @ sum_low) / (high.size * low.size)
        variance += 2 * covariance
    return float(max(variance, 0.0))


def interval_of_auc(
    area: Float[np.ndarray, "*shape"] | float,
    variance: Float[np.ndarray, "*shape"] | float,
    n_positive: Num[np.ndarray, "*shape"] | float,
    n_negative: Num[np.ndarray, "*shape"] | float,
    *,
    level: float = 0.95,
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Return the ends of the interval of an AUC, inside [0, 1], from its variance.

    DeLong's variance, moved to the log-odds scale so that the interval stays inside [0, 1]. An AUC of 0 or 1 has a
    variance of 0 there, which says nothing: it is moved inwards by half a pair and given the variance of Hanley &
    McNeil (1982) at that point.

    Args:
        area: AUC, in [0, 1].
        variance: Its variance, from `auc_variance` or from DeLong's formula.
        n_positive: Number of positives (groups with positives, where samples depend on each other).
        n_negative: Number of negatives, likewise.
        level: Intended coverage.
    """
    area, variance = np.asarray(area, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    pairs = np.asarray(n_positive, dtype=np.float64) * n_negative
    inner = np.clip(area, 0.5 / pairs, 1 - 0.5 / pairs)
    folded = np.maximum(inner, 1 - inner)
    first, second = folded / (2 - folded), 2 * folded**2 / (1 + folded)
    spread = folded * (1 - folded) + (n_positive - 1) * (first - folded**2) + (n_negative - 1) * (second - folded**2)
    error = np.sqrt(np.where(variance > 0, variance, spread / pairs))
    quantile = float(stats.norm.isf((1 - level) / 2))
    centre, half = np.log(inner / (1 - inner)), quantile * error / (inner * (1 - inner))
    lower, upper = 1 / (1 + np.exp(-(centre - half))), 1 / (1 + np.exp(-(centre + half)))
    return np.asarray(np.minimum(lower, area)), np.asarray(np.maximum(upper, area))


def auc_interval(
    score: Num[np.ndarray, " n"],
    label: Num[np.ndarray, " n"],
    *,
    group: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
) -> Estimate:
    """AUC of a score with an interval that keeps dependent samples together.

    Args:
        score: Any monotone scale; nan means missing and is left out.
        label: 1 positive, 0 negative.
        group: Names of groups of dependent values; None means that each stands alone.
        level: Intended coverage, in (0, 1).

    Undefined:
        The estimate is None when one class is absent, the interval also when a class has fewer than two groups.

    Source:
        DeLong et al. (1988); Obuchowski (1997) with groups; interval by `interval_of_auc`.

    Example:
        >>> auc_interval(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])).estimate
        0.75
    """
    there = ~np.isnan(score)
    score, positive = score[there], label[there] == 1
    names = np.arange(score.size) if group is None else group[there]
    method = "DeLong, log-odds" if group is None else "clustered DeLong (Obuchowski), log-odds"
    n_groups = int(np.unique(names).size)
    n_positive = int(np.count_nonzero(positive))
    if n_positive in (0, score.size):
        reason = "no values" if score.size == 0 else "only one class is present"
        return Estimate(None, None, None, level, score.size, n_groups, method, reason=reason)
    parts = placements(score, positive)
    area = float(parts.of_positive.mean())
    variance = auc_variance(parts, names[positive], names[~positive])
    if np.isnan(variance):
        reason = "a class has fewer than two groups: no interval"
        return Estimate(area, None, None, level, score.size, n_groups, method, reason=reason)
    sizes = (np.unique(names[positive]).size, np.unique(names[~positive]).size)
    lower, upper = interval_of_auc(area, variance, *map(float, sizes), level=level)
    return Estimate(area, float(lower), float(upper), level, score.size, n_groups, method)
