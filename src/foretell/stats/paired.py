"""AUCs of scores of the same samples, compared with each other and within parts.

A part is a set within which pairs are compared: a dataset when several are pooled, a stratum when the kind of task must
not help, a fold when each fold's scores come from their own model. Dependent samples enter as groups.

    heads = auc_of_folds(score, label, splits)
    gain = gain_of_folds(score, baseline, label, splits)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import stdtrit

from foretell.stats.intervals import Estimate, interval_of_auc, placements
from foretell.stats.resampling import group_codes

__all__ = ["PairedAuc", "Splits", "auc_of_folds", "compared", "gain_of_folds"]


_METHOD = "clustered DeLong within fits, widened for what fits share"


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
    """What the variance of one repeat is multiplied by; 1 for a single split."""


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

    The interval adds what fits have in common. DeLong's variance takes a fit as given; fits of one table share samples,
    so their AUCs move together (Nadeau and Bengio 2003). The variance of one repeat is therefore multiplied by
    `splits.inflation`, which was measured on tables without a signal; with a signal it makes intervals a little wide.

    Args:
        score: `(value,)`, finite; one per held-out sample or row and repeat.
        label: `(value,)`, 0 or 1.
        splits: Which fit scored each value, and what depends on what.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where no fit scored both classes; the interval is None where a class has one group.

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
    terms: Sequence[tuple[Float[np.ndarray, " value"], float]],
    level: float,
    *,
    bounded: bool,
) -> Estimate:
    """Return a weighted sum of AUCs, mean over repeats, with the interval of one repeat made wider as told."""
    groups = group_codes(splits.group)
    n_groups = len(np.unique(groups))
    values, variances = [], []
    for members in _members(splits.repeat):
        part, here = splits.part[members], groups[members]
        judged = [(compared(score[members], label[members], part=part, group=here), sign) for score, sign in terms]
        if not judged[0][0].n_pairs:
            continue
        values.append(sum(sign * one.auc for one, sign in judged))
        influence = np.sum([sign * one.influence for one, sign in judged], axis=0)
        variances.append(_standard_error(influence, here) ** 2)
    n = len(label) // max(len(np.unique(splits.repeat)), 1)
    if not values:
        reason = "no held-out part holds both labels"
        return Estimate(None, None, None, level, n, n_groups, _METHOD, reason=reason)
    estimate, variance = float(np.mean(values)), float(np.mean(variances)) * splits.inflation
    if np.isnan(variance):
        reason = "a label has only one group: no interval"
        return Estimate(estimate, None, None, level, n, n_groups, _METHOD, reason=reason)
    sizes = [float(len(np.unique(groups[label == value]))) for value in (1, 0)]
    if bounded:
        lower, upper = interval_of_auc(estimate, variance, *sizes, level=level)
        return Estimate(estimate, float(lower), float(upper), level, n, n_groups, _METHOD)
    half = float(stdtrit(sum(sizes) - 2, 0.5 + level / 2.0) * np.sqrt(variance))
    return Estimate(estimate, estimate - half, estimate + half, level, n, n_groups, _METHOD)
