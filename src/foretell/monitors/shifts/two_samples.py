"""Whether two samples of many numbers come from one distribution, and in which numbers they differ.

found = compared(reference, new, seed=0)
found.p_value, found.distance
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

__all__ = ["Compared", "compared"]


@dataclass(frozen=True)
class Compared:
    """How two samples differ, by number."""

    distance: Float[np.ndarray, " number"]
    """Largest distance of the two distribution functions (Kolmogorov and Smirnov's), 0 to 1."""
    exceeds: Float[np.ndarray, " number"]
    """Probability that a new value is above one of the reference, ties one half; 0.5 is no shift of location."""
    p_values: Float[np.ndarray, " number"]
    """Adjusted for all numbers."""
    p_value: float
    """That the samples differ in any number: the least of them."""


def compared(
    reference: Float[np.ndarray, "row number"],
    new: Float[np.ndarray, "other number"],
    *,
    n_permutations: int = 999,
    seed: int = 0,
) -> Compared:
    """Compare two samples of independent rows; the p-values are exact whatever the numbers and their dependence.

    Rows are exchanged between the samples at random, and each number's distance is compared with the largest distance
    of any number. Where both come from one distribution, the p-value is at most a in no more than a share a of cases.

    Args:
        reference: One sample; nan is missing, which counts as a value below all others.
        new: The other.
        n_permutations: Random exchanges.
        seed: Random seed.

    Source:
        Max-statistic of Westfall and Young (1993); a permutation test (Fisher, Pitman). The distance must equal
        `scipy.stats.ks_2samp`'s.

    Example:
        >>> found = compared(np.zeros((20, 1)), np.ones((20, 1)))
        >>> found.distance.tolist(), found.p_value
        ([1.0], 0.001)
    """
    values = np.nan_to_num(np.concatenate([reference, new]), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    is_last = np.concatenate([ordered[1:] != ordered[:-1], np.ones((1, values.shape[1]), dtype=bool)])
    n_reference, n_new = len(reference), len(new)
    weight = np.repeat([-1.0 / n_reference, 1.0 / n_new], [n_reference, n_new])
    distance = _distance(weight, order, is_last)
    generator = np.random.default_rng(seed)
    largest = np.array([_distance(generator.permutation(weight), order, is_last).max() for _ in range(n_permutations)])
    # Sums of the same numbers in another order differ by rounding.
    p_values = (1 + (largest[:, None] >= distance - 1e-9).sum(axis=0)) / (1 + n_permutations)
    ranks = rankdata(values, axis=0)[n_reference:].sum(axis=0)
    exceeds = (ranks - n_new * (n_new + 1) / 2) / (n_reference * n_new)
    return Compared(distance, exceeds, p_values, float(p_values.min()))


def _distance(
    weight: Float[np.ndarray, " row"], order: Int[np.ndarray, "row number"], is_last: Bool[np.ndarray, "row number"]
) -> Float[np.ndarray, " number"]:
    """Return the largest distance of the distribution functions; of equal values only the last counts."""
    furthest = np.where(is_last, np.abs(np.cumsum(weight[order], axis=0)), 0.0).max(axis=0)
    return np.asarray(np.minimum(furthest, 1.0))  # sums of shares exceed 1 by rounding
