"""AUC with a confidence interval that accounts for dependent samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, Shaped
from scipy import special, stats

from foretell.stats.auc.rank_sums import compiled_loops

__all__ = [
    "AucVariance",
    "Estimate",
    "Placements",
    "auc",
    "auc_interval",
    "auc_variance",
    "degrees_of_freedom",
    "effective_groups",
    "interval_of_auc",
    "placements",
]

_PRIOR_DEGREES = 20.0
_HALVINGS = 50


@dataclass(frozen=True)
class Estimate:
    """An estimate with its confidence interval and method; undefined numbers are None and `reason` says why."""

    estimate: float | None
    lower: float | None
    upper: float | None
    level: float
    """Intended coverage of the interval."""
    n: int
    """Number of values used."""
    n_groups: int
    """Number of groups of dependent values."""
    method: str
    reason: str | None = None
    p_above: float | None = None
    """One-sided p-value of a difference being above 0; None of anything else."""


@dataclass(frozen=True)
class Placements:
    """Placement values: the rank of each score among the scores of the other class; the AUC is their mean."""

    of_positive: Float[np.ndarray, " positive"]
    """Share of the negatives below each positive, ties one half."""
    of_negative: Float[np.ndarray, " negative"]
    """Share of the positives above each negative, ties one half."""


def placements(score: Num[np.ndarray, " n"], positive: Shaped[np.ndarray, " n"]) -> Placements:
    """Return the share of negatives below each positive and of positives above each negative, ties one half.

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


def auc(score: Num[np.ndarray, " n"], label: Shaped[np.ndarray, " n"]) -> float:
    """Probability that a random positive scores above a random negative, ties one half.

    Args:
        score: Any monotone scale; nan is missing and ignored.
        label: 1 positive, 0 negative.

    Undefined:
        nan when one class is absent.

    Source:
        Must equal `sklearn.metrics.roc_auc_score`.

    Example:
        >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        0.75
    """
    present = ~np.isnan(score)
    score, positive = score[present], label[present] == 1
    n_positive = int(np.count_nonzero(positive))
    n_negative = int(positive.size) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = float(stats.rankdata(score)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def effective_groups(size: Num[np.ndarray, "*shape group"]) -> Float[np.ndarray, "*shape"]:
    """Effective number of groups of unequal sizes.

    It is the squared sum of the sizes over the sum of their squares: the number of groups where all have one size, and
    less where a few groups have most of the samples.

    Args:
        size: Samples of each group; empty groups are ignored.

    Undefined:
        nan where there is no sample.

    Source:
        Kish (1965), "Survey Sampling", section 11.2.

    Example:
        >>> effective_groups(np.array([[4, 4, 4], [10, 1, 1]])).round(2).tolist()
        [3.0, 1.41]
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(size.sum(axis=-1) ** 2.0 / (size**2.0).sum(axis=-1))


@dataclass(frozen=True)
class AucVariance:
    """Variance of one or many AUCs and its degrees of freedom; nan where a class has fewer than two groups."""

    variance: Float[np.ndarray, "*shape"]
    degrees: Float[np.ndarray, "*shape"]
    """Degrees of freedom."""
    n_positive: Float[np.ndarray, "*shape"]
    """Effective number of groups with positives."""
    n_negative: Float[np.ndarray, "*shape"]
    """Effective number of groups with negatives."""


def auc_variance(
    placed: Placements,
    group_of_positive: Shaped[np.ndarray, " positive"],
    group_of_negative: Shaped[np.ndarray, " negative"],
) -> AucVariance:
    """Cluster-robust variance of an AUC, and its degrees of freedom.

    Obuchowski's small-sample factors count groups; here they count effective groups, because a few large groups among
    many small ones carry most of the information. The degrees of freedom are Satterthwaite's, from the components of
    groups with positives and groups with negatives, bounded by the smaller number of such groups minus 1 and the sum
    of both minus 2.

    Undefined:
        nan when either class has fewer than two groups.

    Source:
        Obuchowski (1997), "Nonparametric analysis of clustered ROC curve data", where groups have one size; equal to
        DeLong's variance when every sample is its own group.
    """
    names, code = np.unique(np.concatenate([group_of_positive, group_of_negative]), return_inverse=True)
    high, low = code[: group_of_positive.size], code[group_of_positive.size :]
    n_high, n_low = np.bincount(high, minlength=names.size), np.bincount(low, minlength=names.size)
    with_high, with_low, with_any = (effective_groups(size) for size in (n_high, n_low, n_high + n_low))
    if min(np.count_nonzero(n_high), np.count_nonzero(n_low)) < 2:
        return AucVariance(np.array(np.nan), np.array(np.nan), with_high, with_low)
    area = float(placed.of_positive.mean())
    sum_high = np.bincount(high, weights=placed.of_positive - area, minlength=names.size)
    sum_low = np.bincount(low, weights=placed.of_negative - area, minlength=names.size)
    of_high = with_high / (with_high - 1) * float(sum_high @ sum_high) / high.size**2
    of_low = with_low / (with_low - 1) * float(sum_low @ sum_low) / low.size**2
    shared = with_any / (with_any - 1) * float(sum_high @ sum_low) / (high.size * low.size)
    variance = np.asarray(np.maximum(of_high + of_low + 2 * shared, 0.0))
    degrees = degrees_of_freedom(variance, of_high, of_low, with_high, with_low)
    return AucVariance(variance, degrees, with_high, with_low)


def degrees_of_freedom(
    variance: Float[np.ndarray, "*shape"] | float,
    of_positive: Float[np.ndarray, "*shape"] | float,
    of_negative: Float[np.ndarray, "*shape"] | float,
    n_positive: Num[np.ndarray, "*shape"] | float,
    n_negative: Num[np.ndarray, "*shape"] | float,
) -> Float[np.ndarray, "*shape"]:
    """Return Satterthwaite's degrees of freedom from the variance components of both classes and their group counts."""
    fewest, most = np.minimum(n_positive, n_negative) - 1.0, n_positive + n_negative - 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.square(of_positive) / (n_positive - 1) + np.square(of_negative) / (n_negative - 1)
        degrees = np.square(variance) / spread
    return np.asarray(np.clip(np.where(np.isnan(degrees), fewest, degrees), fewest, most))


def interval_of_auc(
    area: Float[np.ndarray, "*shape"] | float,
    variance: Float[np.ndarray, "*shape"] | float,
    n_positive: Num[np.ndarray, "*shape"] | float,
    n_negative: Num[np.ndarray, "*shape"] | float,
    *,
    degrees: Float[np.ndarray, "*shape"] | float | None = None,
    independent: bool = False,
    level: float = 0.95,
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Return the score interval of an AUC, inside [0, 1], from its variance.

    The interval contains every AUC that a two-sided test does not reject. The variance under each candidate AUC has the
    shape of Newcombe's variance, scaled to match the estimated variance. The interval is never empty, not even at 0 or
    1, where the estimated variance is 0. For independent samples the estimated scale is shrunk towards Newcombe's by
    20 / (20 + degrees), because DeLong's variance of few samples is noisy. The quantile is Student's with twice the sum
    of these degrees. Both numbers were chosen by simulation, see docs/concepts/intervals.md.

    Args:
        area: AUC, in [0, 1].
        variance: Its variance, from `auc_variance` or from DeLong's formula.
        n_positive: Number of positives (effective groups with positives, where samples depend on each other).
        n_negative: Number of negatives, likewise.
        degrees: Degrees of freedom of the variance; by default n_positive + n_negative - 2.
        independent: Whether all samples are independent.
        level: Intended coverage.

    Undefined:
        nan where the variance or the AUC is.

    Source:
        Newcombe (2006), "Confidence intervals for an effect size measure based on the Mann-Whitney statistic",
        part 2, method 5, for the shape; DeLong et al. (1988) for the height.
    """
    total = n_positive + n_negative - 2
    found = np.broadcast_arrays(area, variance, n_positive, n_negative, total if degrees is None else degrees)
    shape = found[0].shape
    area, variance, n_positive, n_negative, degrees = (np.array(part, dtype=np.float64, ndmin=1) for part in found)
    inner = np.clip(area, 0.5 / (n_positive * n_negative), 1 - 0.5 / (n_positive * n_negative))
    height = variance / _newcombe_variance(inner, n_positive, n_negative)
    prior = _PRIOR_DEGREES if independent else 0.0
    height = (degrees * height + prior) / (degrees + prior)
    height = np.where(variance > 0, height, 1.0)
    quantile = special.stdtrit((degrees + prior) * (2 if independent else 1), (1 + level) / 2)
    scale = quantile**2 * height
    ends = np.empty((2, area.size))
    loops = compiled_loops("auto")
    if loops is not None:
        loops.score_ends(*map(np.ravel, (area, scale, n_positive, n_negative)), _HALVINGS, ends)
    else:
        ends[:] = _score_ends(*map(np.ravel, (area, scale, n_positive, n_negative)))
    ends[:, np.isnan(area + variance).ravel()] = np.nan
    return ends[0].reshape(shape), ends[1].reshape(shape)


def _score_ends(
    area: Float[np.ndarray, " n"],
    scale: Float[np.ndarray, " n"],
    n_positive: Float[np.ndarray, " n"],
    n_negative: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "2 n"]:
    """Return the ends of the score interval of each AUC; the numpy version of `compiled.score_ends`."""
    ends = []
    for end in (0.0, 1.0):
        near, far = area.copy(), np.full_like(area, end)
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            outside = (area - middle) ** 2 > scale * _newcombe_variance(middle, n_positive, n_negative)
            near, far = np.where(outside, near, middle), np.where(outside, middle, far)
        ends.append(far)
    return np.stack(ends)


def _newcombe_variance(
    area: Float[np.ndarray, "*shape"], n_positive: Float[np.ndarray, "*shape"], n_negative: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    mean = (n_positive + n_negative) / 2 - 1
    shape = 1 + mean * ((1 - area) / (2 - area) + area / (1 + area))
    return np.asarray(area * (1 - area) * shape / (n_positive * n_negative))


def auc_interval(
    score: Num[np.ndarray, " n"],
    label: Shaped[np.ndarray, " n"],
    *,
    group: Shaped[np.ndarray, " n"] | None = None,
    inflation: float = 1.0,
    level: float = 0.95,
) -> Estimate:
    """AUC of a score with a cluster-robust confidence interval.

    Args:
        score: Any monotone scale; nan is missing and ignored.
        label: 1 positive, 0 negative.
        group: Names of groups of dependent values; None: all values are independent.
        inflation: Factor on the variance, for scores of models whose training sets overlap.
        level: Intended coverage, in (0, 1).

    Undefined:
        The estimate is None when one class is absent, the interval also when a class has fewer than two groups.

    Source:
        DeLong et al. (1988); Obuchowski (1997) with groups; interval by `interval_of_auc`.

    Example:
        >>> auc_interval(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])).estimate
        0.75
    """
    present = ~np.isnan(score)
    score, positive = score[present], label[present] == 1
    names = np.arange(score.size) if group is None else group[present]
    n_groups = int(np.unique(names).size)
    independent = n_groups == score.size
    method = ("DeLong" if independent else "clustered DeLong (Obuchowski)") + ", Newcombe score"
    n_positive = int(np.count_nonzero(positive))
    if n_positive in (0, score.size):
        reason = "no values" if score.size == 0 else "only one class is present"
        return Estimate(None, None, None, level, score.size, n_groups, method, reason=reason)
    placed = placements(score, positive)
    area = float(placed.of_positive.mean())
    found = auc_variance(placed, names[positive], names[~positive])
    if np.isnan(found.variance):
        reason = "a class has fewer than two groups: no interval"
        return Estimate(area, None, None, level, score.size, n_groups, method, reason=reason)
    lower, upper = interval_of_auc(
        area,
        found.variance * inflation,
        found.n_positive,
        found.n_negative,
        degrees=found.degrees,
        independent=independent and inflation == 1.0,
        level=level,
    )
    return Estimate(area, float(lower), float(upper), level, score.size, n_groups, method)
