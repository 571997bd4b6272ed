"""Inner products of samples, and few columns that have the same ones.

A ridge model depends on its columns only through the inner products of samples. So any factor X of their matrix, with
X X^T the matrix, takes the place of all columns.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num
from scipy.linalg.lapack import dpstrf

__all__ = ["MOST_COMPONENTS", "gram", "gram_factor"]

MOST_COMPONENTS = 1024
"""Columns of a factor. With as many samples or fewer the factor is exact; with more it is the best that this many
samples span, chosen without labels."""
_COLUMNS_AT_ONCE = 1024


def gram(states: Num[np.ndarray, "sample width"]) -> Float[np.ndarray, "sample sample"]:
    """Return the inner products of centred samples, divided so that a sample's squared norm is 1 on average.

    Samples with a missing number are at the mean of the others. Constant states give zeros.

    Args:
        states: Of any float type; converted to float64 in parts.
    """
    n, width = states.shape
    total = np.zeros((n, n))
    missing = ~np.isfinite(states).all(axis=1)
    for start in range(0, width, _COLUMNS_AT_ONCE):
        part = np.array(states[:, start : start + _COLUMNS_AT_ONCE], dtype=np.float64)
        part[missing] = 0.0
        part -= part[~missing].mean(axis=0) if not missing.all() else 0.0
        part[missing] = 0.0
        total += part @ part.T
    norm = float(np.trace(total)) / n if n else 0.0
    return total / norm if norm > 0 else total


def gram_factor(matrix: Float[np.ndarray, "sample sample"]) -> Float[np.ndarray, "sample component"]:
    """Return X with X X^T = the matrix, or the closest that `MOST_COMPONENTS` of the samples span.

    Args:
        matrix: Symmetric, no negative eigenvalue but rounding.

    Source:
        Cholesky decomposition with complete pivoting (LAPACK's `dpstrf`; Harbrecht, Peters and Schneider 2012).

    Example:
        >>> gram_factor(np.array([[2.0, 0.0], [0.0, 0.0]])).round(3).tolist()
        [[1.414], [0.0]]
    """
    factor, pivots, rank, _ = dpstrf(matrix, lower=1)
    kept = min(int(rank), MOST_COMPONENTS)
    rows = np.empty((len(matrix), kept))
    rows[pivots - 1] = np.tril(factor)[:, :kept]
    return rows
