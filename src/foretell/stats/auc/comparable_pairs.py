"""Pairs of a positive and a comparable negative, listed once for all scores of the same held-out values.

A study judges dozens of scores on the same folds. With the pairs at hand an AUC is the mean of one comparison per pair,
and its variance is a few sums over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from foretell.stats.auc.intervals import effective_groups

__all__ = ["MOST_PAIRS", "ComparablePairs", "Term", "comparable_pairs", "members", "small_sample_factor"]

MOST_PAIRS = 1_000_000
"""With more pairs in a repeat, sorting each comparable set is faster, and takes less memory."""

Term = tuple[Float[np.ndarray, " _value"], float]
"""Scores, and the weight of their AUC in a sum."""


def members(codes: Int[np.ndarray, " value"]) -> list[Int[np.ndarray, " member"]]:
    """Return the indices of the values of each code."""
    if not len(codes):
        return []
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def small_sample_factor(group: Int[np.ndarray, " value"]) -> float:
    """Return n / (n - 1) for the effective number of groups; nan for one group."""
    n_groups = float(effective_groups(np.unique(group, return_counts=True)[1]))
    return n_groups / (n_groups - 1) if n_groups > 1 else float("nan")


@dataclass(frozen=True)
class ComparablePairs:
    """The comparable pairs of some values, and the pairs of groups that they belong to."""

    positive: Int[np.ndarray, " pair"]
    negative: Int[np.ndarray, " pair"]
    high: Int[np.ndarray, " pair"]
    """Group of the positive."""
    low: Int[np.ndarray, " pair"]
    """Group of the negative."""
    between: Int[np.ndarray, " pair"]
    """Number of the two groups, in that order, among those that occur."""
    inside: Int[np.ndarray, " same"]
    """Numbers of `between` whose groups are one."""
    inside_group: Int[np.ndarray, " same"]
    """The group of each."""
    turned: Int[np.ndarray, " between"]
    """Number of the same two groups in the other order; -1 where it does not occur."""
    n_groups: int
    factors: tuple[float, float]
    """Small-sample factors of the negatives' and of the positives' groups."""

    def estimate(self, terms: Sequence[Term]) -> tuple[float, float] | None:
        """Return a weighted sum of AUCs and its variance; None without any pair.

        The variance is the sum, over any two pairs that share a group, of the product of their deviations. Sums over
        groups count pairs that share both groups twice; that is subtracted. At most half can be counted twice.
        """
        n_pairs = len(self.positive)
        if not n_pairs:
            return None
        won = np.zeros(n_pairs)
        for score, sign in terms:
            above, below = score[self.positive], score[self.negative]
            won += sign * ((above > below) + 0.5 * (above == below))
        value = float(won.mean())
        deviation = (won - value) / n_pairs
        of_negative, of_positive = (
            np.sqrt(factor) * np.bincount(group, weights=deviation, minlength=self.n_groups)
            for factor, group in zip(self.factors, (self.low, self.high), strict=True)
        )
        summed = np.bincount(self.between, weights=deviation, minlength=len(self.turned))
        scale = float(np.prod(self.factors)) ** 0.25
        inside = np.zeros(self.n_groups)
        inside[self.inside_group] = summed[self.inside]
        summed[self.inside] = 0.0
        twice = float(summed @ summed + summed @ np.where(self.turned < 0, 0.0, summed[self.turned]))
        total = float(np.sum((of_positive + of_negative - scale * inside) ** 2))
        return value, float(np.maximum(total - scale**2 * twice, total / 2))


def comparable_pairs(
    within: Int[np.ndarray, " value"], group: Int[np.ndarray, " value"], label: Int[np.ndarray, " value"]
) -> ComparablePairs | None:
    """Return the pairs of one repeat; None where they are too many to list.

    Args:
        within: Codes of comparable sets.
        group: Codes of groups of dependent samples, from 0.
        label: 0 or 1.

    Example:
        >>> found = comparable_pairs(np.array([0, 0, 0, 1]), np.arange(4), np.array([1, 0, 1, 1]))
        >>> found.positive.tolist(), found.negative.tolist()
        ([0, 2], [1, 1])
    """
    sides = [(one[label[one] == 1], one[label[one] == 0]) for one in members(within)]
    if sum(len(positive) * len(negative) for positive, negative in sides) > MOST_PAIRS:
        return None
    none = np.empty(0, dtype=np.int64)
    positive = np.concatenate([none, *(np.repeat(one, len(other)) for one, other in sides)])
    negative = np.concatenate([none, *(np.tile(other, len(one)) for one, other in sides)])
    n_groups = int(group.max(initial=-1)) + 1
    high, low = group[positive], group[negative]
    keys, between = np.unique(high * n_groups + low, return_inverse=True)
    first, second = np.divmod(keys, max(n_groups, 1))
    other = second * n_groups + first
    place = np.minimum(np.searchsorted(keys, other), max(len(keys) - 1, 0))
    same = np.flatnonzero(first == second)
    return ComparablePairs(
        positive,
        negative,
        high,
        low,
        between.reshape(-1),
        same,
        first[same],
        np.where(keys[place] == other, place, -1) if len(keys) else none,
        n_groups,
        (small_sample_factor(group[label == 0]), small_sample_factor(group[label == 1])),
    )
