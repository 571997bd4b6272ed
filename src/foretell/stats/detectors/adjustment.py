"""Signals with what is known of a sample taken out: the part that lengths and kinds of task do not explain.

What attention does depends on lengths far more than on behaviour. Beside baselines a signal is judged by what it adds,
and that is easier to find in what lengths leave of it. No label is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from foretell.stats.detectors.baselines import OF_WORDS
from foretell.stats.detectors.features import Features, column_means

__all__ = ["Explained", "known_columns", "without"]

_SAMPLES_PER_COLUMN = 10
_ROUNDING = 1e-9
_CONSTANT = 1e-3
"""Deviations of 1e-12 of a column's mean are rounding as well."""


@dataclass(frozen=True)
class Explained:
    """What baselines explain of a dataset's samples, to be taken out of labels and signals."""

    residual: Float[np.ndarray, " sample"]
    """What they leave of each label."""
    known: Float[np.ndarray, "sample column"] | None
    """From `known_columns`."""


def known_columns(baselines: Sequence[Features], n_samples: int) -> Float[np.ndarray, "sample column"] | None:
    """Return the columns of the baselines, as principal components where they are many; None if there are none.

    Words are left out: they are as many as samples. There is at most one column per 10 samples.

    Args:
        baselines: Feature sets of baselines.
        n_samples: Number of samples.
    """
    blocks = [block for one in baselines if one.name not in OF_WORDS for block in one.blocks]
    if not blocks:
        return None
    columns = np.concatenate(blocks, axis=1)
    centred = np.where(np.isfinite(columns), columns - column_means(columns), 0.0)
    spread = centred.std(axis=0)
    scaled = centred[:, spread > 0] / spread[spread > 0]
    most = max(n_samples // _SAMPLES_PER_COLUMN, 1)
    left, size, _ = np.linalg.svd(scaled, full_matrices=False)
    kept = int(np.sum(size > 1e-9 * size.max(initial=0.0)))
    return np.asarray(left[:, : min(kept, most)])


def without(
    values: Float[np.ndarray, "sample feature"], known: Float[np.ndarray, "sample column"] | None
) -> Float[np.ndarray, "sample feature"]:
    """Return the residuals of a least-squares fit of every feature on what is known; nan stays nan.

    Args:
        values: `(sample, feature)`.
        known: Orthonormal columns of mean 0, from `known_columns`.

    Example:
        >>> known = np.array([[-1.0], [0.0], [1.0]]) / np.sqrt(2)
        >>> without(np.array([[1.0], [2.0], [3.0]]), known).round(6).tolist()
        [[0.0], [0.0], [0.0]]
    """
    means = column_means(values)
    centred = values - means
    if known is None:
        return np.asarray(centred)
    missing = ~np.isfinite(centred)
    filled = np.where(missing, 0.0, centred)
    residual = filled - known @ (known.T @ filled)
    # What is known alone leaves rounding, which would have ranks.
    size = np.maximum(np.abs(filled).max(axis=0, initial=0.0), _CONSTANT * np.abs(means))
    residual[np.abs(residual) <= _ROUNDING * size] = 0.0
    residual[missing] = np.nan
    return np.asarray(residual)
