"""AUC of cross-validated scores over comparable pairs, and the difference of two such AUCs.

Two samples are comparable if the same fitted model scored both (same fold), and, where wanted, if they belong to the
same dataset or to the same stratum. Dependent samples are passed as groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import stdtr, stdtrit

from foretell.stats.auc.comparable_pairs import ComparablePairs, Term, comparable_pairs, members, small_sample_factor
from foretell.stats.auc.intervals import Estimate, effective_groups, interval_of_auc, placements
from foretell.stats.folds import group_codes

__all__ = [
    "AucInfluence",
    "Splits",
    "auc_with_influence",
    "fold_auc",
    "fold_auc_difference",
    "nadeau_bengio_factor",
    "nested_increment",
]

_METHOD = "pairs within a fold, variance over groups, Nadeau-Bengio corrected, Newcombe score"
_DIFFERENCE_METHOD = "pairs within a fold, variance over groups, Nadeau-Bengio corrected, Student's t"
_INCREMENT_METHOD = "pairs within a fold, variance over groups, Nadeau-Bengio corrected; between repeats; Student's t"

_MAX_PAIRS = 100_000
"""Pairs of groups up to which double counting is subtracted from the variance. With more it is well below 1 % of the
variance, and leaving it in only widens the interval."""
_MAX_ENTRIES = 4_000_000
"""Values times groups up to which double counting is subtracted, which bounds memory."""


_Repeat: TypeAlias = tuple[Int[np.ndarray, " _own"], ComparablePairs | None]
"""Values of a repeat, and their comparable pairs; None where they are too many to list."""


@dataclass(frozen=True)
class Splits:
    """Where each held-out score comes from: one entry per value."""

    repeat: Int[np.ndarray, " value"]
    within: Int[np.ndarray, " value"]
    """Values with equal codes are comparable: same fold, and same dataset or stratum where wanted. Repeats may reuse
    codes."""
    group: Shaped[np.ndarray, " value"]
    """Names of groups of dependent samples."""
    inflation: float = 1.0
    """Factor on the variance of one repeat, from `nadeau_bengio_factor`; 1 to evaluate only these fitted models."""
    n_folds: int = 1
    """Folds per repeat; used for increments of several repeats."""
    _listed: dict[bytes, list[_Repeat]] = field(default_factory=dict, repr=False, compare=False)

    def repeats(self, label: Int[np.ndarray, " value"]) -> list[_Repeat]:
        """Return the values of each repeat with their comparable pairs, which are listed once for all scores."""
        key = label.tobytes()
        if key not in self._listed:
            group = group_codes(self.group)
            self._listed[key] = [
                (own, comparable_pairs(self.within[own], group[own], label[own])) for own in members(self.repeat)
            ]
        return self._listed[key]


def nadeau_bengio_factor(n_folds: int, n_repeats: int = 1, *, heldout: float | None = None) -> float:
    """Factor on the variance of one repeat that accounts for overlapping training sets.

    It is 1 / n_repeats + n_folds * n_test / n_train. More repeats shrink only the first term, because every repeat
    trains on the same table.

    Args:
        n_folds: Fitted models per repeat, each evaluated on its own test set.
        n_repeats: Repeats.
        heldout: Test share of each split; None: one over the number of folds. One fold without a test share means that
            nothing was fitted: the factor is 1.

    Source:
        Nadeau and Bengio (2003), "Inference for the generalization error", corrected resampled variance, with the
        variance of one repeat estimated from its own samples instead of from the spread between splits.

    Example:
        >>> nadeau_bengio_factor(5, 5), nadeau_bengio_factor(1, heldout=0.2)
        (1.45, 1.25)
    """
    if n_folds == 1 and heldout is None:
        return 1.0
    share = 1 / n_folds if heldout is None else heldout
    return 1 / n_repeats + n_folds * share / (1 - share)


@dataclass(frozen=True)
class AucInfluence:
    """An AUC over comparable pairs, with the influence of each sample on it."""

    auc: float
    """nan where no comparable pair has both classes."""
    influence: Float[np.ndarray, " sample"]
    """Influence of each sample: the summed deviation of its pairs from the AUC, over the number of all pairs."""
    n_pairs: int


def auc_with_influence(
    score: Float[np.ndarray, " sample"],
    label: Int[np.ndarray, " sample"],
    *,
    within: Int[np.ndarray, " sample"] | None = None,
    group: Int[np.ndarray, " sample"] | None = None,
) -> AucInfluence:
    """Probability that a positive scores above a comparable negative, ties one half, with each sample's influence.

    Every pair has the same weight.

    Args:
        score: `(sample,)`, finite.
        label: `(sample,)`, 0 or 1.
        within: `(sample,)` codes; pairs are compared within one code. None: all pairs.
        group: `(sample,)` codes of dependent samples, for the small-sample factor; None: independent samples.

    Undefined:
        nan where no code has both classes.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988 (placement values); Obuchowski 1997 (sums over groups). With one code
        the AUC must equal scikit-learn's roc_auc_score, and the squared influences, summed over groups first, must add
        up to DeLong's or Obuchowski's variance.

    Example:
        >>> auc_with_influence(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0, 1, 1, 0])).auc
        0.75
    """
    n = len(score)
    codes = np.zeros(n, dtype=np.int64) if within is None else within
    groups = np.arange(n) if group is None else group
    wins, opponents = np.zeros(n), np.zeros(n)
    for positive, negative in _classes(label, codes):
        both = np.concatenate([positive, negative])
        at = placements(score[both], label[both] == 1)
        wins[positive], opponents[positive] = at.of_positive * len(negative), len(negative)
        wins[negative], opponents[negative] = at.of_negative * len(positive), len(positive)
    pairs = int(opponents[label == 1].sum())
    if not pairs:
        return AucInfluence(float("nan"), np.zeros(n), 0)
    area = float(wins[label == 1].sum()) / pairs
    influence = (wins - area * opponents) / pairs
    for value in (0, 1):
        influence[label == value] *= np.sqrt(small_sample_factor(groups[label == value]))
    return AucInfluence(area, influence, pairs)


def _n_groups(group: Int[np.ndarray, " value"]) -> float:
    """Return the effective number of groups."""
    return float(effective_groups(np.unique(group, return_counts=True)[1]))


def _classes(
    label: Int[np.ndarray, " sample"], within: Int[np.ndarray, " sample"]
) -> Iterator[tuple[Int[np.ndarray, " positive"], Int[np.ndarray, " negative"]]]:
    """Yield the indices of the positives and of the negatives of each code that has both."""
    for own in members(within):
        positive, negative = own[label[own] == 1], own[label[own] == 0]
        if len(positive) and len(negative):
            yield positive, negative


def fold_auc(
    score: Float[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    splits: Splits,
    *,
    level: float = 0.95,
) -> Estimate:
    """Probability that a held-out positive scores above a held-out negative of the same fold, ties one half.

    The AUC is the mean over repeats. Scores of different folds are never compared: a training set with more positives
    leaves a test set with fewer, so an AUC pooled over folds is below one half where there is no signal.

    The variance is conditional on the fitted models. It sums over groups the deviations of their pairs from the AUC of
    all folds; DeLong's variance fold by fold would be too small where a fold has few samples of a label. Training sets
    of one table overlap, so the AUCs of its folds are correlated: the variance of one repeat is multiplied by
    `splits.inflation`. The coverage of these intervals is measured in docs/concepts/held-out-intervals.md.

    Args:
        score: `(value,)`, finite; one per held-out sample or row and repeat.
        label: `(value,)`, 0 or 1.
        splits: Repeat, comparable set and group of each value.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where no fold has both classes; the interval is None where a class has one group.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988 and Obuchowski 1997 for the influence of samples and groups; Newcombe's
        score interval as in `interval_of_auc`, with the number of groups of the rarer label minus 1 degrees of freedom.

    Example:
        >>> one = np.zeros(4, dtype=np.int64)
        >>> fold_auc(np.arange(4.0), np.array([0, 0, 1, 1]), Splits(one, one, np.arange(4))).estimate
        1.0
    """
    return _estimate(splits, label, [(score, 1.0)], level, bounded=True)


def fold_auc_difference(
    first: Float[np.ndarray, " value"],
    second: Float[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    splits: Splits,
    *,
    level: float = 0.95,
) -> Estimate:
    """Held-out AUC of `first` minus that of `second` on the same splits.

    The interval uses the correlation of both scores; see `fold_auc` for the correction for overlapping training sets.
    `p_above` is the one-sided p-value of the same statistic.

    Args:
        first: `(value,)`, finite.
        second: `(value,)`, finite.
        label: `(value,)`, 0 or 1.
        splits: Repeat, comparable set and group of each value.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where no fold has both classes; the interval is None where a class has one group.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988, for correlated curves; groups as in Obuchowski 1997.

    Example:
        >>> one, label = np.zeros(4, dtype=np.int64), np.array([0, 1, 0, 1])
        >>> fold_auc_difference(np.array([0.0, 1, 0, 1]), np.zeros(4), label, Splits(one, one, np.arange(4))).estimate
        0.5
    """
    return _estimate(splits, label, [(first, 1.0), (second, -1.0)], level, bounded=False)


def nested_increment(
    together: Float[np.ndarray, " value"],
    known: Float[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    splits: Splits,
    *,
    level: float = 0.95,
) -> Estimate:
    """Held-out AUC of what is known and a signal together minus that of what is known.

    What is known can have an AUC below one half by chance, which anything added to it brings back towards one half. So
    `p_above` is the larger one of two p-values: of the increment, and of the AUC together being above one half.

    Other training samples would find other baselines of use. So the variance of the interval, not that of the p-value,
    also has `n_folds` - 1 times the variance between repeats: an interval can include 0 where p is small.

    Args:
        together: `(value,)`, finite.
        known: `(value,)`, finite.
        label: `(value,)`, 0 or 1.
        splits: Repeat, comparable set and group of each value.
        level: Coverage of the interval.

    Undefined:
        As `fold_auc_difference`.

    Source:
        Shao and Wu (1989) for the factor, of a jackknife that leaves one fold out.

    Example:
        >>> one, label = np.zeros(4, dtype=np.int64), np.array([0, 1, 0, 1])
        >>> low, constant = np.array([1.0, 0, 1, 0]), np.zeros(4)
        >>> found = nested_increment(constant, low, label, Splits(one, one, np.arange(4)))
        >>> found.estimate, found.p_above
        (0.5, 0.5)
    """
    increment = _estimate(splits, label, [(together, 1), (known, -1)], level, bounded=False, between=splits.n_folds - 1)
    total = fold_auc_difference(together, np.zeros_like(known), label, splits, level=level)
    if increment.p_above is None or total.p_above is None:
        return increment
    return replace(increment, p_above=max(increment.p_above, total.p_above))


def _estimate(
    splits: Splits,
    label: Int[np.ndarray, " value"],
    terms: Sequence[Term],
    level: float,
    *,
    bounded: bool,
    between: float = 0.0,
) -> Estimate:
    """Return a weighted sum of AUCs, mean over repeats; `between` repeats, the variance widens the interval only."""
    groups = group_codes(splits.group)
    n_groups = len(np.unique(groups))
    found = []
    for own, pairs in splits.repeats(label):
        here = [(score[own], sign) for score, sign in terms]
        if pairs is None:
            found.append(_repeat_estimate(splits.within[own], groups[own], label[own], here))
        else:
            found.append(pairs.estimate(here))
    repeats = [one for one in found if one is not None]
    n = len(label) // max(len(np.unique(splits.repeat)), 1)
    method = _METHOD if bounded else _INCREMENT_METHOD if between else _DIFFERENCE_METHOD
    if not repeats:
        reason = "no held-out fold has both labels"
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
    # That of independent scores where it is 0: all labels are told apart, or nothing is added anywhere.
    variance = variance or splits.inflation * (sum(sizes) + 1) / (12 * float(np.prod(sizes)))
    spread = float(np.var([value for value, _ in repeats], ddof=1)) if len(repeats) > 1 else 0.0
    half = float(stdtrit(degrees, 0.5 + level / 2.0) * np.sqrt(variance + between * spread))
    ends, p = (max(estimate - half, -1.0), min(estimate + half, 1.0)), stdtr(degrees, -estimate / np.sqrt(variance))
    return Estimate(estimate, *ends, level, n, n_groups, method, p_above=float(p))


def _repeat_estimate(
    within: Int[np.ndarray, " value"],
    group: Int[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    terms: Sequence[Term],
) -> tuple[float, float] | None:
    """Return what `ComparablePairs.estimate` does, without a list of pairs."""
    judged = [(auc_with_influence(score, label, within=within, group=group), sign) for score, sign in terms]
    if not judged[0][0].n_pairs:
        return None
    value = sum(sign * one.auc for one, sign in judged)
    influence = np.sum([sign * one.influence for one, sign in judged], axis=0)
    of_positive = np.bincount(group, weights=np.where(label == 1, influence, 0.0))
    of_negative = np.bincount(group, weights=np.where(label == 1, 0.0, influence))
    factors = [small_sample_factor(group[label == one]) for one in (0, 1)]
    inside, twice = _counted_twice(within, group, label, terms, value)
    scale = np.prod(factors) ** 0.25 / judged[0][0].n_pairs
    total = float(np.sum((of_positive + of_negative - scale * inside) ** 2))
    variance = np.maximum(total - scale**2 * twice, total / 2)
    return value, float(variance)


def _counted_twice(
    within: Int[np.ndarray, " value"],
    group: Int[np.ndarray, " value"],
    label: Int[np.ndarray, " value"],
    terms: Sequence[Term],
    value: float,
) -> tuple[Float[np.ndarray, " group"], float]:
    """Return the summed deviation of the pairs inside each group, and the double count of pairs between two groups."""
    n_groups = int(group.max()) + 1
    keys, sums = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float64)]
    for positive, negative in _classes(label, within):
        high, of_high = np.unique(group[positive], return_inverse=True)
        low, of_low = np.unique(group[negative], return_inverse=True)
        entries = (len(positive) + len(negative)) * len(low)
        if len(high) * len(low) > _MAX_PAIRS or entries > _MAX_ENTRIES:
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
    _, here, present = np.intersect1d(apart, turned, assume_unique=True, return_indices=True)
    return inside, float(np.sum(summed**2) + summed[here] @ summed[present])


def _wins(
    high: Float[np.ndarray, " positive"],
    of_high: Int[np.ndarray, " positive"],
    low: Float[np.ndarray, " negative"],
    of_low: Int[np.ndarray, " negative"],
) -> Float[np.ndarray, "high_group low_group"]:
    """Return how many pairs the positive wins for each two groups, ties one half."""
    order = np.argsort(low, kind="stable")
    below = np.zeros((len(low) + 1, int(of_low.max()) + 1))
    below[np.arange(1, len(low) + 1), of_low[order]] = 1.0
    np.cumsum(below, axis=0, out=below)
    ranked = low[order]
    wins = (below[np.searchsorted(ranked, high, "left")] + below[np.searchsorted(ranked, high, "right")]) / 2
    members = np.argsort(of_high, kind="stable")
    starts = np.searchsorted(of_high[members], np.arange(int(of_high.max()) + 1))
    return np.asarray(np.add.reduceat(wins[members], starts, axis=0))
