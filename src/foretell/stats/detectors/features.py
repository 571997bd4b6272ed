"""Features of a detector: one row per sample, in blocks of columns of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from foretell.stats.detectors.log_ratios import LogRatios, transformed_shares

__all__ = ["Features", "column_means", "head_features"]

Role = Literal["detector", "baseline"]
Model = Literal["given", "best-column", "mass-mean", "perceptron"]


@dataclass(frozen=True)
class Features:
    """A named feature matrix for one score per sample."""

    name: str
    role: Role
    blocks: tuple[Float[np.ndarray, "sample _feature"], ...]
    """Each `(sample, feature)`; nan is missing. Blocks have equal weight whatever their number of columns."""
    model: Model = "given"
    """best-column: only the best column on the training samples; mass-mean: the difference of the labels' means in the
    best block; perceptron: a network on the best block; given: the chosen estimator on all."""
    beside: tuple[Float[np.ndarray, "sample _feature"], ...] | None = None
    """Blocks of the same columns in which the baselines' part is taken out, for use beside them; None: the same."""
    signal: str = "attention"
    """Family of signals that a detector belongs to."""
    one_scale: tuple[int, ...] = ()
    """Indices of blocks whose columns are not standardised one by one: only their space matters, as that of hidden
    states."""

    @property
    def n_columns(self) -> int:
        """Columns of all blocks."""
        return sum(block.shape[1] for block in self.blocks)

    @property
    def matrix(self) -> Float[np.ndarray, "sample feature"]:
        """All blocks concatenated."""
        return np.concatenate(self.blocks, axis=1)

    @property
    def block(self) -> Int[np.ndarray, " feature"]:
        """Which block each column belongs to."""
        return np.repeat(np.arange(len(self.blocks)), [block.shape[1] for block in self.blocks])


def column_means(features: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, " feature"]:
    """Return the mean of each column over its finite values; 0 where there is none.

    Example:
        >>> column_means(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist()
        [2.0, 0.0]
    """
    if len(features) and np.isfinite(means := features.mean(axis=0)).all():
        return np.asarray(means)
    present = np.isfinite(features)
    return np.asarray(np.where(present, features, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1))


def head_features(
    values: Float[np.ndarray, "sample layer head metric"],
    *,
    log_ratios: LogRatios,
    taken_out: Callable[[Float[np.ndarray, "sample feature"]], Float[np.ndarray, "sample feature"]] | None = None,
) -> list[Features]:
    """Return the feature sets of the heads: all of them, the best one alone, and their mean.

    The best single head is looked for among ranks, so that heavy tails do not decide. The mean is over deviations from
    each head's own mean, so that samples with other heads missing are compared alike.

    Args:
        values: Metrics of every sample, layer and head; nan is missing.
        log_ratios: centred or isometric log-ratios for shares that sum to 1; shares for the values themselves.
        taken_out: Takes out of columns what baselines explain, for use beside them.

    Example:
        >>> [one.matrix.shape for one in head_features(np.full((4, 2, 2, 3), 1 / 3), log_ratios="centred")]
        [(4, 12), (4, 12), (4, 3)]
    """
    transformed = transformed_shares(values, log_ratios)
    flat = transformed.reshape(len(transformed), -1)
    mean = _mean_over_heads(flat, transformed.shape)
    if taken_out is None:
        return [
            Features("all heads", "detector", (flat,)),
            Features("best single head", "detector", (_ranks(flat),), "best-column"),
            Features("mean over heads", "detector", (mean,)),
        ]
    left = taken_out(flat)
    return [
        Features("all heads", "detector", (flat,), beside=(left,)),
        Features("best single head", "detector", (_ranks(flat),), "best-column", beside=(_ranks(left),)),
        Features("mean over heads", "detector", (mean,), beside=(_mean_over_heads(left, transformed.shape),)),
    ]


def _mean_over_heads(
    flat: Float[np.ndarray, "sample column"], shape: tuple[int, ...]
) -> Float[np.ndarray, "sample metric"]:
    """Return the mean over heads of the deviations from each head's own mean, by metric."""
    deviation = (flat - column_means(flat)).reshape(shape)
    present = np.isfinite(deviation)
    total = np.where(present, deviation, 0.0).sum(axis=(1, 2))
    count = present.sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _ranks(columns: Float[np.ndarray, "sample column"]) -> Float[np.ndarray, "sample column"]:
    """Return each column's ranks as shares of its finite values; nan where a value is missing."""
    present = np.isfinite(columns)
    if present.all():
        return np.asarray(rankdata(columns, axis=0) / len(columns), dtype=np.float64)
    ranks = np.full(columns.shape, np.nan)
    for column, known in enumerate(present.T):
        ranks[known, column] = rankdata(columns[known, column]) / max(int(known.sum()), 1)
    return ranks
