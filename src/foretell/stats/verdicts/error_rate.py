"""One error rate for a study: p-values of all its signals, adjusted together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["adjusted", "holm"]


def adjusted(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return Hommel's adjusted p-values: at most 5 in 100 families of true null hypotheses have one below 0.05.

    It is the closed test of Simes' statistic, which needs p-values that are independent or depend on each other
    positively, as those of several signals about the same samples do. It is never less powerful than Holm's, which
    needs no such assumption; docs/concepts/verdicts.md compares both on simulated studies.

    Args:
        p: One-sided p-values; nan is a test that could not be made, and stays nan.

    Source:
        Hommel 1988, Biometrika 75; must equal R's `p.adjust(p, "hommel")`.

    Example:
        >>> adjusted(np.array([0.01, 0.02, 0.03])).round(3).tolist()
        [0.03, 0.03, 0.03]
    """
    made = ~np.isnan(p)
    order = np.argsort(p[made], kind="stable")
    sorted_p = p[made][order]
    n = len(sorted_p)
    smallest = np.min(n * sorted_p / np.arange(1, n + 1)) if n else 1.0
    largest = np.full(n, smallest)
    for size in range(n - 1, 1, -1):
        low, high = sorted_p[: n - size + 1], sorted_p[n - size + 1 :]
        least = np.min(size * high / np.arange(2, size + 1))
        bound = np.minimum(size * low, least)
        largest = np.maximum(largest, np.append(bound, np.full(size - 1, bound[-1])))
    found = np.full(len(p), np.nan)
    found[np.flatnonzero(made)[order]] = np.minimum(np.maximum(largest, sorted_p), 1.0)
    return found


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return Holm's adjusted p-values: one below a is wrong in a share of at most a of all families.

    It needs no assumption on how the p-values depend on each other.

    Args:
        p: P-values; nan is a test that could not be made, and stays nan.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6; must equal R's `p.adjust(p, "holm")`.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    found = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int(np.sum(~np.isnan(p)))]
    found[order] = np.minimum(np.maximum.accumulate(np.arange(len(order), 0, -1) * p[order]), 1.0)
    return found
