"""Log-ratio transforms of shares (compositional data).

Shares sum to 1: if one rises another must fall, so correlations between them, and with a label, are partly an artefact
of the constraint. Log-ratios are unconstrained.

Zeros have no logarithm. They are replaced by a small share and the others are scaled down (multiplicative replacement),
which preserves the ratios of the others.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Num

from foretell.errors import InputError

__all__ = [
    "LogRatios",
    "centred_log_ratio",
    "isometric_log_ratio",
    "replace_zeros",
    "transformed_shares",
]

LogRatios = Literal["shares", "centred", "isometric"]
"""Untransformed shares, centred log-ratios (one per share), or isometric log-ratios (one fewer)."""


def replace_zeros(shares: Num[np.ndarray, "*shape part"], *, delta: float = 1e-6) -> Float[np.ndarray, "*shape part"]:
    """Return shares that are all positive and sum to 1.

    Args:
        shares: Not negative; nan where missing. They need not sum to 1.
        delta: Replacement of a zero, relative to the sum; the other parts are scaled by 1 - delta * zeros.

    Raises:
        InputError: A share is negative or infinite, or `delta` is out of range.

    Undefined:
        All parts are nan where one is missing or all are 0.

    Source:
        Martín-Fernández, Barceló-Vidal & Pawlowsky-Glahn (2003), equation 6.

    Example:
        >>> replace_zeros(np.array([0.0, 0.5, 0.5]), delta=0.01).tolist()
        [0.01, 0.495, 0.495]
    """
    shares = np.asarray(shares, dtype=np.float64)
    if not 0 < delta * shares.shape[-1] < 1:
        raise InputError(f"delta is {delta}: it must be above 0 and below 1 / {shares.shape[-1]}")
    if np.any(shares < 0) or np.any(np.isinf(shares)):
        raise InputError("shares must not be negative or infinite; log-ratios are for shares that sum to 1")
    whole = shares.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        closed = shares / whole
    zero = closed == 0
    replaced = np.where(zero, delta, closed * (1 - delta * zero.sum(axis=-1, keepdims=True)))
    return np.where(np.isnan(closed).any(axis=-1, keepdims=True), np.nan, replaced)


def centred_log_ratio(
    shares: Num[np.ndarray, "*shape part"], *, delta: float = 1e-6
) -> Float[np.ndarray, "*shape part"]:
    """Logarithm of each share over the geometric mean of all; the parts sum to 0.

    Args:
        shares: See `replace_zeros`.
        delta: Replacement of a zero.

    Undefined:
        nan where a part is missing.

    Source:
        Aitchison (1986), centred log-ratio.

    Example:
        >>> centred_log_ratio(np.array([0.2, 0.2, 0.6])).round(3).tolist()
        [-0.366, -0.366, 0.732]
    """
    logarithm = np.log(replace_zeros(shares, delta=delta))
    return np.asarray(logarithm - logarithm.mean(axis=-1, keepdims=True))


def isometric_log_ratio(
    shares: Num[np.ndarray, "*shape part"], *, delta: float = 1e-6
) -> Float[np.ndarray, "*shape coordinate"]:
    """Balances: the k-th coordinate contrasts the geometric mean of the first k parts with the next part.

    Distances between samples equal those of centred log-ratios, with one coordinate fewer than parts.

    Args:
        shares: See `replace_zeros`.
        delta: Replacement of a zero.

    Undefined:
        nan where a part is missing.

    Source:
        Egozcue, Pawlowsky-Glahn, Mateu-Figueras & Barceló-Vidal (2003), equation 24.

    Example:
        >>> isometric_log_ratio(np.array([0.2, 0.2, 0.6])).round(3).tolist()
        [0.0, -0.897]
    """
    return np.asarray(centred_log_ratio(shares, delta=delta) @ _basis(np.shape(shares)[-1]).T)


def transformed_shares(
    shares: Num[np.ndarray, "*shape part"], log_ratios: LogRatios
) -> Float[np.ndarray, "*shape coordinate"]:
    """Return shares as they are, or as centred or isometric log-ratios."""
    match log_ratios:
        case "shares":
            return np.asarray(shares, dtype=np.float64)
        case "centred":
            return centred_log_ratio(shares)
        case "isometric":
            return isometric_log_ratio(shares)


def _basis(n_parts: int) -> Float[np.ndarray, "coordinate part"]:
    basis = np.zeros((n_parts - 1, n_parts))
    for row in range(1, n_parts):
        basis[row - 1, :row] = 1 / row
        basis[row - 1, row] = -1
        basis[row - 1] *= np.sqrt(row / (row + 1))
    return basis
