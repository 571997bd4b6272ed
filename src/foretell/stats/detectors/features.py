"""Features of a detector: one row per sample, in blocks of columns of the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from foretell.stats.detectors.log_ratios import LogRatios, transformed_shares

__all__ = ["Features", "column_means", "head_features"]

Role = Literal["detector", "baseline"]
Model = Literal["given", "best-column"]


@dataclass(frozen=True)
class Features:
    """A named feature matrix for one score per sample."""

    name: str
    role: Role
    blocks: tuple[Float[np.ndarray, "sample _feature"], ...]
    """Each `(sample, feature)`; nan is missing. Blocks have equal weight whatever their number of columns."""
    model: Model = "given"
    """best-column: only the column with the best AUC on the training samples; given: the chosen estimator on all."""

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
    present = np.isfinite(features)
    return np.asarray(np.where(present, features, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1))


def head_features(values: Float[np.ndarray, "sample layer head metric"], *, log_ratios: LogRatios) -> list[Features]:
    """Return the feature sets of the heads: all of them, the best one alone, and their mean.

    Args:
        values: Metrics of every sample, layer and head; nan is missing.
        log_ratios: centred or isometric log-ratios for shares that sum to 1; shares for the values themselves.

    Example:
        >>> [one.matrix.shape for one in head_features(np.full((4, 2, 2, 3), 1 / 3), log_ratios="centred")]
        [(4, 12), (4, 12), (4, 3)]
    """
    transformed = transformed_shares(values, log_ratios)
    flat = transformed.reshape(len(transformed), -1)
    present = np.isfinite(transformed)
    total = np.where(present, transformed, 0.0).sum(axis=(1, 2))
    count = present.sum(axis=(1, 2))
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return [
        Features("all heads", "detector", (flat,)),
        Features("best single head", "detector", (flat,), "best-column"),
        Features("mean over heads", "detector", (mean,)),
    ]
