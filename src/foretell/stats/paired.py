"""AUCs of scores of the same samples, compared with each other and within parts.

A part is a set within which pairs are compared: a dataset when several are pooled, a stratum when the kind of task must
not help, a fold when each fold's scores come from their own model. Dependent samples enter as groups.

    heads = auc_within(score, label, part=stratum)
    gain = auc_difference(score, baseline, label, group=group)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri

from foretell.stats.intervals import Estimate, interval_of_auc, placements
from foretell.stats.resampling import group_codes, group_weights

__all__ = ["PairedAuc", "auc_difference", "auc_within", "compared", "resampled_aucs"]


@dataclass(frozen=True)
class PairedAuc:
    """An AUC over the pairs within parts, and what each sample adds to its error."""

    auc: float
    """nan where no part holds both classes."""
    influence: Float[np.ndarray, " sample"]
    """What each sample adds: sums over groups, squared and added, are the variance."""
    n_pairs: int


def compared(
    score: Float[np.ndarray, " sample"],
    label: Int[np.ndarray, " sample"],
    *,
    part: Int[np.ndarray, " sample"] | None = None,
    group: Int[np.ndarray, " sample"] | None = None,
) -> PairedAuc:
    """Chance that a positive scores above a negative of the same part, ties one half.

    Every pair counts the same, so a part's AUC weighs as many pairs as it holds.

    Args:
        score: `(sample,)`, finite.
        label: `(sample,)`, 0 or 1.
        part: `(sample,)` codes of the sets within which pairs are compared; None: one set.
        group: `(sample,)` codes of dependent samples, for the small-sample factor; None: independent samples.

    Undefined:
        nan where no part holds both classes.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988 (placement values); Obuchowski 1997 (sums over groups). With one part
        the AUC must equal scikit-learn's roc_auc_score, with independent samples the variance is DeLong's.

    Example:
        >>> compared(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0, 1, 1, 0])).auc
        0.75
    """
    n = len(score)
    parts = np.zeros(n, dtype=np.int64) if part is None else part
    groups = np.arange(n) if group is None else group
    influence = np.zeros(n)
    wins = 0.0
    pairs = 0
    for members in _members(parts):
        positive = members[label[members] == 1]
        negative = members[label[members] == 0]
        if not len(positive) or not len(negative):
            continue
        at = placements(score[members], label[members] == 1)
        area = float(at.of_positive.mean())
        here = len(positive) * len(negative)
        influence[positive] = here * (at.of_positive - area) / len(positive)
        influence[negative] = here * (at.of_negative - area) / len(negative)
        wins += here * area
        pairs += here
    if not pairs:
        return PairedAuc(float("nan"), influence, 0)
    for value in (0, 1):
        chosen = label == value
        n_groups = len(np.unique(groups[chosen]))
        influence[chosen] *= np.sqrt(n_groups / (n_groups - 1)) / pairs if n_groups > 1 else np.nan
    return PairedAuc(wins / pairs, influence, pairs)


def _members(part: Int[np.ndarray, " sample"]) -> list[Int[np.ndarray, " member"]]:
    """Return the sample indices of each part."""
    if not len(part):
        return []
    order = np.argsort(part, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(part[order])) + 1)


def _standard_error(influence: Float[np.ndarray, " sample"], group: Int[np.ndarray, " sample"]) -> float:
    return float(np.sqrt(np.sum(np.bincount(group, weights=influence) ** 2)))


def auc_within(
    score: Float[np.ndarray, " sample"],
    label: Int[np.ndarray, " sample"],
    *,
    part: np.ndarray | None = None,
    group: np.ndarray | None = None,
    level: float = 0.95,
) -> Estimate:
    """Chance that a positive scores above a negative of the same part, with an interval over groups.

    Args:
        score: `(sample,)`, finite.
        label: `(sample,)`, 0 or 1.
        part: `(sample,)` names of the sets within which pairs are compared; None: one set.
        group: `(sample,)` names of dependent samples; None: independent samples.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where no part holds both classes; the interval is None where a class has one group.

    Source:
        With one part and one sample per group, `foretell.stats.intervals.auc_interval`.

    Example:
        >>> score, label = np.array([0.1, 0.9, 0.2, 0.8]), np.array([0, 1, 0, 1])
        >>> auc_within(score, label, part=np.array(["a", "a", "b", "b"])).estimate
        1.0
    """
    n = len(score)
    groups = np.arange(n) if group is None else group_codes(group)
    parts = None if part is None else group_codes(part)
    result = compared(score, label, part=parts, group=groups)
    n_groups = len(np.unique(groups))
    method = "clustered DeLong, logit scale"
    if not result.n_pairs:
        reason = "no part holds both labels" if part is not None else "only one label"
        return Estimate(None, None, None, level, n, n_groups, method, reason=reason)
    error = _standard_error(result.influence, groups)
    if np.isnan(error):
        reason = "a label has only one group: no interval"
        return Estimate(result.auc, None, None, level, n, n_groups, method, reason=reason)
    sizes = [np.array([len(np.unique(groups[label == value]))]) for value in (1, 0)]
    lower, upper = interval_of_auc(np.array([result.auc]), np.array([error**2]), *sizes, level=level)
    return Estimate(result.auc, float(lower[0]), float(upper[0]), level, n, n_groups, method)


def auc_difference(
    first: Float[np.ndarray, " sample"],
    second: Float[np.ndarray, " sample"],
    label: Int[np.ndarray, " sample"],
    *,
    part: np.ndarray | None = None,
    group: np.ndarray | None = None,
    level: float = 0.95,
) -> Estimate:
    """How much higher the AUC of `first` is than that of `second` on the same samples.

    Args:
        first: `(sample,)`, finite.
        second: `(sample,)`, finite.
        label: `(sample,)`, 0 or 1.
        part: `(sample,)` names of the sets within which pairs are compared; None: one set.
        group: `(sample,)` names of dependent samples; None: independent samples.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where no part holds both classes; the interval is None where a class has one group.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988, for correlated curves; groups as in Obuchowski 1997.

    Example:
        >>> label = np.array([0, 1, 0, 1])
        >>> auc_difference(np.array([0.0, 1, 0, 1]), np.zeros(4), label).estimate
        0.5
    """
    n = len(first)
    groups = np.arange(n) if group is None else group_codes(group)
    parts = None if part is None else group_codes(part)
    one = compared(first, label, part=parts, group=groups)
    two = compared(second, label, part=parts, group=groups)
    method = "clustered DeLong, paired"
    n_groups = len(np.unique(groups))
    if not one.n_pairs:
        return Estimate(None, None, None, level, n, n_groups, method, reason="no part holds both labels")
    gain = one.auc - two.auc
    half = float(ndtri(0.5 + level / 2.0)) * _standard_error(one.influence - two.influence, groups)
    if np.isnan(half):
        reason = "a label has only one group: no interval"
        return Estimate(gain, None, None, level, n, n_groups, method, reason=reason)
    return Estimate(gain, gain - half, gain + half, level, n, n_groups, method)


def resampled_aucs(
    scores: Float[np.ndarray, "sample score"],
    label: Int[np.ndarray, " sample"],
    *,
    part: np.ndarray | None = None,
    group: np.ndarray | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Float[np.ndarray, "resample score"]:
    """Return the AUC of each score in each cluster-bootstrap resample; all scores see the same resamples.

    Args:
        scores: `(sample, score)`, finite.
        label: `(sample,)`, 0 or 1.
        part: `(sample,)` names of the sets within which pairs are compared; None: one set.
        group: `(sample,)` names of dependent samples; None: independent samples.
        n_resamples: Number of resamples.
        seed: Start of the random numbers.

    Undefined:
        nan where no part of a resample holds both classes.

    Example:
        >>> areas = resampled_aucs(np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 1]), n_resamples=3)
        >>> areas.ravel().tolist()
        [1.0, 1.0, 1.0]
    """
    n, n_scores = scores.shape
    groups = np.arange(n) if group is None else group_codes(group)
    parts = np.zeros(n, dtype=np.int64) if part is None else group_codes(part)
    weights = group_weights(groups, n_resamples=n_resamples, seed=seed, kind=label)[:, groups]
    wins = np.zeros((n_resamples, n_scores))
    pairs = np.zeros(n_resamples)
    for members in _members(parts):
        is_positive = label[members] == 1
        here = weights[:, members]
        pairs += (here * is_positive).sum(axis=1) * (here * ~is_positive).sum(axis=1)
        for column in range(n_scores):
            wins[:, column] += _weighted_wins(scores[members, column], is_positive, here)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins / pairs[:, None])


def _weighted_wins(
    score: Float[np.ndarray, " sample"],
    is_positive: Bool[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
) -> Float[np.ndarray, " resample"]:
    """Return the weight of pairs whose positive is above, ties one half, in one pass over the sorted scores."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    positive = np.add.reduceat(weights[:, order] * is_positive[order], starts, axis=1)
    negative = np.add.reduceat(weights[:, order] * ~is_positive[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    return np.asarray((positive * below).sum(axis=1))
