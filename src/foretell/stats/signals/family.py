"""A family of signals: the columns that one kind of internals gives of every sample at one moment.

Columns are standardised over all samples of a dataset, whatever their labels, and where there are more of them than
samples, as few columns with the same inner products take their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from foretell.stats.detectors.adjustment import without
from foretell.stats.detectors.features import Features, column_means
from foretell.stats.signals.inner_products import gram_factor

__all__ = ["ALL", "ALL_SIGNALS", "Family", "family_features", "standardised", "undefined"]

ALL = "all"
"""Name of all families together."""
ALL_SIGNALS = "all signals"
"""Name of the detector on all families together."""


@dataclass(frozen=True)
class Family:
    """One kind of signal of every sample at one moment."""

    name: str
    columns: Float[np.ndarray, "sample column"] | None
    """float64; nan is missing. None where the family is undefined at this moment."""
    rotated: bool = False
    """Whether only the space of the columns matters, and not each column: they are a factor of a Gram matrix."""
    reason: str | None = None
    """Why it is undefined."""
    notes: tuple[str, ...] = ()


def undefined(name: str, reason: str) -> Family:
    """Return a family that is undefined at a moment."""
    return Family(name, None, reason=reason)


def standardised(columns: Float[np.ndarray, "sample column"]) -> Float[np.ndarray, "sample column"]:
    """Return columns with mean 0 and standard deviation 1; missing and constant ones are 0.

    Example:
        >>> standardised(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    present = np.isfinite(columns)
    centre = column_means(columns)
    centred = np.where(present, columns - centre, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / np.maximum(present.sum(axis=0), 1))
    usable = spread > 1e-12 * np.maximum(np.abs(centre), 1e-300)
    return np.asarray(np.where(usable, centred / np.where(usable, spread, 1.0), 0.0))


def family_features(one: Family, explained: Float[np.ndarray, "sample column"] | None) -> Features | None:
    """Return a family as features of a detector; None where it is undefined or has no column.

    Args:
        one: The family.
        explained: From `known_columns`: what is taken out of it beside the baselines; None: nothing.
    """
    if one.columns is None or not one.columns.shape[1]:
        return None
    if one.rotated:
        alone, beside = one.columns, without(one.columns, explained)
    else:
        alone, beside = (_few(standardised(columns)) for columns in (one.columns, without(one.columns, explained)))
    return Features(one.name, "detector", (alone,), beside=(beside,), signal=one.name, one_scale=(0,))


def _few(columns: Float[np.ndarray, "sample column"]) -> Float[np.ndarray, "sample component"]:
    return columns if columns.shape[1] <= len(columns) else gram_factor(columns @ columns.T)
