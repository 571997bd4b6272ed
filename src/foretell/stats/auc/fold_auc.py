"""AUCs of scores of the same samples, compared with each other and within parts.

A part is a set within which pairs are compared: a dataset when several are pooled, a stratum when the kind of task must
not help, a fold when each fold's scores come from their own model. Dependent samples enter as groups.

    heads = auc_of_folds(score, label, splits)
    gain = gain_of_folds(score, baseline, label, splits)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import stdtrit

from foretell.stats.auc.intervals import Estimate, effective_groups, interval_of_auc, placements
from foretell.stats.folds import group_codes

__all__ = ["PairedAuc", "Splits", "auc_of_folds", "compared", "gain_of_folds", "shared_fits"]

_METHOD = "pairs of one fit, variance over groups, widened for what fits share, Newcombe score"
_GAIN_METHOD = "pairs of one fit, variance over groups, widened for what fits share, Student's t"

_MOST_PAIRS = 100_000
"""Pairs of groups in one part up to which those counted twice are taken off the variance. Of more they are well below
a hundredth of it, and left in they only widen the interval."""
_MOST_ENTRIES = 4_000_000
"""Values times groups in one part up to which the same is done, which bounds memory."""

_Term = tuple[Float[np.ndarray, " _value"], float]
"""Scores, and the weight of their AUC in a sum."""


@dataclass(frozen=True)
class Splits:
    """How held-out scores came about: one entry per value scored."""

    repeat: Int[np.ndarray, " value"]
    part: Int[np.ndarray, " value"]
    """Codes of sets whose values can be compared: scored by one fit, and of one dataset or stratum where that is
    wanted. Different repeats may use the same codes."""
    group: Shaped[np.ndarray, " value"]
    """Names of what depends on each other."""
    inflation: float = 1.0
    """What the variance of one repeat is multiplied by, from `shared_fits`; 1 if only the fits at hand are judged."""


def shared_fits(n_folds: int, n_repeats: int = 1, *, heldout: float | None = None) -> float:
    """What the variance of one repeat must be multiplied by because fits of one table share samples.

    It is 1 / n_repeats, plus n_folds times the held-out samples over those learnt from. More repeats help only as far
    as the first part goes, because every repeat learns from the same table.

    Args:
        n_folds: Fits per repeat, each judged on other samples than the rest.
        n_repeats: Repeats.
        heldout: Share of samples that each fit is judged on; None: one over the number of folds. A single fold leaves
            nothing to learn from, so nothing is shared.

    Source:
        Nadeau and Bengio (2003), "Inference for the generalization error", their corrected resampled variance, with
        the variance of one repeat from its own samples in place of the spread between splits.

    Example:
        >>> shared_fits(5, 5), shared_fits(1, heldout=0.2)
        (1.45, 1.25)
    """
    if n_folds == 1 and heldout is None:
        return 1.0
    share = 1 / n_folds if heldout is None else heldout
    return 1 / n_repeats + n_folds * share / (1 - share)


@dataclass(frozen=True)
class PairedAuc:
    """An AUC over the pairs within parts, and what each sample adds to its error."""

    auc: float
    """nan where no part holds both classes."""
    influence: Float[np.ndarray, " sample"]
    """What each sample adds: the pairs it is in, as far as they are off the AUC."""
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
        the AUC must equal scikit-learn's roc_auc_score, and the squares of the influences, summed over groups first,
        add up to DeLong's or Obuchowski's variance.

    Example:
        >>> compared(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0, 1, 1, 0])).auc
        0.75
    """
    n = len(score)
    parts = np.zeros(n, dtype=np.int64) if part is None else part
    groups = np.arange(n) if group is None else group
    beaten, opponents = np.zeros(n), np.zeros(n)
    for positive, negative in _pairings(label, parts):
        both = np.concatenate([positive, negative])
        at = placements(score[both], label[both] == 1)
        beaten[positive], opponents[positive] = at.of_positive * len(negative), len(negative)
        beaten[negative], opponents[negative] = at.of_negative * len(positive), len(positive)
    pairs = int(opponents[label == 1].sum())
    if not pairs:
        return PairedAuc(float("nan"), np.zeros(n), 0)
    area = float(beaten[label == 1].sum()) / pairs
    influence = (beaten - area * opponents) / pairs
    for value in (0, 1):
        influence[label == value] *= np.sqrt(_small_sample_factor(groups[label == value]))
    return PairedAuc(area, influence, pairs)


def _n_groups(group: Int[np.ndarray, " value"]) -> float:
    """Return the effective number of groups."""
    return float(effective_groups(np.unique(group, return_counts=True)[1]))


def _small_sample_factor(group: Int[np.ndarray, " value"]) -> float:
    n_groups = _n_groups(group)
    return n_groups / (n_groups - 1) if n_groups > 1 else float("nan")


def _pairings(
    label: Int[np.ndarray, " sample"], part: Int[np.ndarray, " sample"]
) -> Iterator[tuple[Int[np.ndarray, " positive"], Int[np.ndarray, " negative"]]]:
    """Yield the indices of the positives and negatives of each part that holds both."""
    for members in _members(part):
        positive, negative = members[label[members] == 1], members[label[members] == 0]
        if len(positive) and len(negative):
            yield positive, negative


def _members(part: Int[np.ndarray, " sample"]) -> list[Int[np.ndarray, " member"]]:
    """Return the sample indices of each part."""
    if not len(part):
        return []
    order = np.argsort(part, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(part[order])) + 1)


def auc_of_folds(
    score: Float[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    splits: Splits,
    *,
    level: float = 0.95,
) -> Estimate:
    """Chance that a held-out positive scores above a held-out negative that the same fitted detector scored.

    The AUC is the mean over repeats. Scores of different fits are never compared: where nothing can be told, a training
    part with more positives belongs to a held-out part with fewer, which pushes a pooled AUC below one half.

    The variance takes a fit as given and needs no large parts: it sums over groups what their pairs are off the AUC of
    all parts, where DeLong's, part by part, is too small if a part holds few samples of a label. Fits of one table
    share samples, so their AUCs move together: the variance of one repeat is therefore multiplied by
    `splits.inflation`. How often such intervals hold is measured in docs/concepts/held-out-intervals.md.

    Args:
        score: `(value,)`, finite; one per held-out sample or row and repeat.
        label: `(value,)`, 0 or 1.
        splits: Which fit scored each value, and what depends on what.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where no fit scored both classes; the interval is None where a class has one group.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988 and Obuchowski 1997 for what a sample and a group add; Newcombe's score
        interval as in `interval_of_auc`, with one degree of freedom less than the rarer label has groups.

    Example:
        >>> one = np.zeros(4, dtype=np.int64)
        >>> auc_of_folds(np.arange(4.0), np.array([0, 0, 1, 1]), Splits(one, one, np.arange(4))).estimate
        1.0
    """
    return _of_folds(splits, label, [(score, 1.0)], level, bounded=True)


def gain_of_folds(
    first: Float[np.ndarray, " value"],
    second: Float[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    splits: Splits,
    *,
    level: float = 0.95,
) -> Estimate:
    """How much higher the held-out AUC of `first` is than that of `second` on the same splits.

    What both scores share cancels in the interval; see `auc_of_folds` for what fits have in common.

    Args:
        first: `(value,)`, finite.
        second: `(value,)`, finite.
        label: `(value,)`, 0 or 1.
        splits: Which fit scored each value, and what depends on what.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where no fit scored both classes; the interval is None where a class has one group.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988, for correlated curves; groups as in Obuchowski 1997.

    Example:
        >>> one, label = np.zeros(4, dtype=np.int64), np.array([0, 1, 0, 1])
        >>> gain_of_folds(np.array([0.0, 1, 0, 1]), np.zeros(4), label, Splits(one, one, np.arange(4))).estimate
        0.5
    """
    return _of_folds(splits, label, [(first, 1.0), (second, -1.0)], level, bounded=False)


def _of_folds(
    splits: Splits,
    label: Int[np.ndarray, " value"],
    terms: Sequence[_Term],
    level: float,
    *,
    bounded: bool,
) -> Estimate:
    """Return a weighted sum of AUCs, mean over repeats, with the interval of one repeat made wider as told."""
    groups = group_codes(splits.group)
    n_groups = len(np.unique(groups))
    found = []
    for members in _members(splits.repeat):
        here = [(score[members], sign) for score, sign in terms]
        found.append(_of_repeat(splits.part[members], groups[members], label[members], here))
    repeats = [one for one in found if one is not None]
    n = len(label) // max(len(np.unique(splits.repeat)), 1)
    method = _METHOD if bounded else _GAIN_METHOD
    if not repeats:
        reason = "no held-out part holds both labels"
        return Estimate(None, None, None, level, n, n_groups, method, reason=reason)
    estimate, variance = (float(one) for one in np.mean(repeats, axis=0))
    if np.isnan(variance):
        reason = "a label has only one group: no interval"
        return Estimate(estimate, None, None, level, n, n_groups, method, reason=reason)
    sizes = [_n_groups(groups[label == value]) for value in (1, 0)]
    degrees = max(min(sizes) - 1.0, 1.0)
    variance *= splits.inflation
    if bounded:
        lower, upper = interval_of_auc(estimate, variance, *sizes, degrees=degrees, level=level)
        return Estimate(estimate, float(lower), float(upper), level, n, n_groups, method)
    half = float(stdtrit(degrees, 0.5 + level / 2.0) * np.sqrt(variance))
    return Estimate(estimate, max(estimate - half, -1.0), min(estimate + half, 1.0), level, n, n_groups, method)


def _of_repeat(
    part: Int[np.ndarray, " value"],
    group: Int[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    terms: Sequence[_Term],
) -> tuple[float, float] | None:
    """Return one repeat's weighted sum of AUCs and its variance.

    The variance is the sum, over any two pairs of values that share a group, of the product of what they are off the
    sum. Sums over groups count two pairs twice that have both groups in common; these are taken off. No more than half
    can be counted twice.
    """
    judged = [(compared(score, label, part=part, group=group), sign) for score, sign in terms]
    if not judged[0][0].n_pairs:
        return None
    value = sum(sign * one.auc for one, sign in judged)
    influence = np.sum([sign * one.influence for one, sign in judged], axis=0)
    of_positive = np.bincount(group, weights=np.where(label == 1, influence, 0.0))
    of_negative = np.bincount(group, weights=np.where(label == 1, 0.0, influence))
    factors = [_small_sample_factor(group[label == one]) for one in (0, 1)]
    inside, twice = _counted_twice(part, group, label, terms, value)
    scale = np.prod(factors) ** 0.25 / judged[0][0].n_pairs
    total = float(np.sum((of_positive + of_negative - scale * inside) ** 2))
    variance = np.maximum(total - scale**2 * twice, total / 2)
    return value, float(variance)


def _counted_twice(
    part: Int[np.ndarray, " value"],
    group: Int[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    terms: Sequence[_Term],
    value: float,
) -> tuple[Float[np.ndarray, " group"], float]:
    """Return how far the pairs inside each group are off, and the squares of that of pairs between two groups."""
    n_groups = int(group.max()) + 1
    keys, sums = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float64)]
    for positive, negative in _pairings(label, part):
        high, of_high = np.unique(group[positive], return_inverse=True)
        low, of_low = np.unique(group[negative], return_inverse=True)
        entries = (len(positive) + len(negative)) * len(low)
        if len(high) * len(low) > _MOST_PAIRS or entries > _MOST_ENTRIES:
            continue
        off = -value * np.outer(np.bincount(of_high), np.bincount(of_low)).astype(np.float64)
        for score, sign in terms:
            off += sign * _wins(score[positive], of_high, score[negative], of_low)
        keys.append((high[:, None] * n_groups + low).ravel())
        sums.append(off.ravel())
    between, places = np.unique(np.concatenate(keys), return_inverse=True)
    summed = np.bincount(places, weights=np.concatenate(sums), minlength=len(between))
    own = between // n_groups == between % n_groups
    inside = np.zeros(n_groups)
    inside[between[own] % n_groups] = summed[own]
    apart, summed = between[~own], summed[~own]
    turned = apart % n_groups * n_groups + apart // n_groups
    _, here, there = np.intersect1d(apart, turned, assume_unique=True, return_indices=True)
    return inside, float(np.sum(summed**2) + summed[here] @ summed[there])


def _wins(
    high: Float[np.ndarray, " positive"],
    of_high: Int[np.ndarray, " positive"],
    low: Float[np.ndarray, " negative"],
    of_low: Int[np.ndarray, " negative"],
) -> Float[np.ndarray, "high_group low_group"]:
    """Return how many pairs of each two groups the positive wins, ties one half."""
    order = np.argsort(low, kind="stable")
    below = np.zeros((len(low) + 1, int(of_low.max()) + 1))
    below[np.arange(1, len(low) + 1), of_low[order]] = 1.0
    np.cumsum(below, axis=0, out=below)
    ranked = low[order]
    beaten = (below[np.searchsorted(ranked, high, "left")] + below[np.searchsorted(ranked, high, "right")]) / 2
    members = np.argsort(of_high, kind="stable")
    starts = np.searchsorted(of_high[members], np.arange(int(of_high.max()) + 1))
    return np.asarray(np.add.reduceat(beaten[members], starts, axis=0))
