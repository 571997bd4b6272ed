"""Log-ratio coordinates of shares: two numbers where three shares that sum to 1 only seem to be three.

Shares of one whole cannot move alone: if one rises another must fall, so correlations between them, and with a label,
are partly arithmetic. Log-ratios are free of the constraint.

    centred = centred_log_ratio(shares)          # (..., part), sums to 0
    isometric = isometric_log_ratio(shares)      # (..., part - 1), orthogonal coordinates

Zeros have no logarithm. They are replaced by a small share and the others scaled down to make room for it
(multiplicative replacement), which leaves the ratios of the others as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Num

from foretell.errors import InputError

__all__ = [
    "Coordinates",
    "centred_log_ratio",
    "coordinate_names",
    "in_coordinates",
    "isometric_log_ratio",
    "replace_zeros",
    "shares_of_centred",
    "shares_of_isometric",
]

Coordinates = Literal["shares", "centred", "isometric"]
"""Shares as they are, centred log-ratios (one per share), or isometric log-ratios (one fewer)."""


def replace_zeros(shares: Num[np.ndarray, "*shape part"], *, delta: float = 1e-6) -> Float[np.ndarray, "*shape part"]:
    """Return shares that are all positive and sum to 1.

    Args:
        shares: Parts of one whole, not negative; nan where missing. They need not sum to 1.
        delta: What a zero becomes, in units of the whole; the other parts are scaled by 1 - delta * zeros.

    Raises:
        InputError: A share is negative or infinite, or `delta` leaves no room for the others.

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
        raise InputError(f"delta {delta} must be above 0 and leave room for {shares.shape[-1]} parts")
    if np.any(shares < 0) or np.any(np.isinf(shares)):
        raise InputError("shares must not be negative or infinite; log-ratios are for parts of one whole")
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
        delta: What a zero becomes.

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
    """Balances of the parts: the k-th sets the geometric mean of the first k parts against the part after them.

    Distances between samples are the same as between centred log-ratios, with one coordinate fewer than parts.

    Args:
        shares: See `replace_zeros`.
        delta: What a zero becomes.

    Undefined:
        nan where a part is missing.

    Source:
        Egozcue, Pawlowsky-Glahn, Mateu-Figueras & Barceló-Vidal (2003), equation 24.

    Example:
        >>> isometric_log_ratio(np.array([0.2, 0.2, 0.6])).round(3).tolist()
        [0.0, -0.897]
    """
    return np.asarray(centred_log_ratio(shares, delta=delta) @ _basis(np.shape(shares)[-1]).T)


def shares_of_centred(coordinates: Num[np.ndarray, "*shape part"]) -> Float[np.ndarray, "*shape part"]:
    """Return the shares whose centred log-ratios these are."""
    grown = np.exp(coordinates - np.max(coordinates, axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True))


def shares_of_isometric(coordinates: Num[np.ndarray, "*shape coordinate"]) -> Float[np.ndarray, "*shape part"]:
    """Return the shares whose isometric log-ratios these are."""
    return shares_of_centred(coordinates @ _basis(coordinates.shape[-1] + 1))


def in_coordinates(
    shares: Num[np.ndarray, "*shape part"], coordinates: Coordinates, *, delta: float = 1e-6
) -> Float[np.ndarray, "*shape coordinate"]:
    """Return shares in the chosen coordinates."""
    match coordinates:
        case "shares":
            return np.asarray(shares, dtype=np.float64)
        case "centred":
            return centred_log_ratio(shares, delta=delta)
        case "isometric":
            return isometric_log_ratio(shares, delta=delta)


def coordinate_names(metrics: Sequence[str], coordinates: Coordinates) -> tuple[str, ...]:
    """Return what each coordinate is called.

    Example:
        >>> coordinate_names(("PAM", "QAM", "SAM"), "isometric")
        ('ilr(PAM : QAM)', 'ilr(PAM, QAM : SAM)')
    """
    match coordinates:
        case "shares":
            return tuple(metrics)
        case "centred":
            return tuple(f"clr({metric})" for metric in metrics)
        case "isometric":
            return tuple(f"ilr({', '.join(metrics[:k])} : {metrics[k]})" for k in range(1, len(metrics)))


def _basis(n_parts: int) -> Float[np.ndarray, "coordinate part"]:
    basis = np.zeros((n_parts - 1, n_parts))
    for row in range(1, n_parts):
        basis[row - 1, :row] = 1 / row
        basis[row - 1, row] = -1
        basis[row - 1] *= np.sqrt(row / (row + 1))
    return basis
