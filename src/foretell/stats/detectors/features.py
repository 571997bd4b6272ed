"""What a detector sees: one row per sample, in blocks of columns of the same kind.

found = head_features(array.values, coordinates="centred")
found[0].name, found[0].matrix.shape
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from foretell.stats.detectors.log_ratios import Coordinates, in_coordinates

__all__ = ["Features", "head_features"]

Role = Literal["detector", "baseline"]
Model = Literal["given", "best-column"]


@dataclass(frozen=True)
class Features:
    """Named columns for one score per sample."""

    name: str
    role: Role
    blocks: tuple[Float[np.ndarray, "sample _feature"], ...]
    """Each `(sample, feature)`; nan is missing. Blocks weigh the same whatever their number of columns."""
    model: Model = "given"
    """best-column: the one column that tells most on the samples learnt from; given: the chosen estimator on all."""

    @property
    def matrix(self) -> Float[np.ndarray, "sample feature"]:
        """All columns side by side."""
        return np.concatenate(self.blocks, axis=1)

    @property
    def block(self) -> Int[np.ndarray, " feature"]:
        """Which block each column belongs to."""
        return np.repeat(np.arange(len(self.blocks)), [block.shape[1] for block in self.blocks])


def head_features(values: Float[np.ndarray, "sample layer head metric"], *, coordinates: Coordinates) -> list[Features]:
    """What can be seen of the heads: all of them, the best one alone, and their mean.

    Args:
        values: Metrics of every sample, layer and head; nan is missing.
        coordinates: centred or isometric log-ratios for shares of one whole; shares for the values as they are.

    Example:
        >>> [one.matrix.shape for one in head_features(np.full((4, 2, 2, 3), 1 / 3), coordinates="centred")]
        [(4, 12), (4, 12), (4, 3)]
    """
    shown = in_coordinates(values, coordinates)
    flat = shown.reshape(len(shown), -1)
    there = np.isfinite(shown)
    total = np.where(there, shown, 0.0).sum(axis=(1, 2))
    count = there.sum(axis=(1, 2))
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return [
        Features("all heads", "detector", (flat,)),
        Features("best single head", "detector", (flat,), "best-column"),
        Features("mean over heads", "detector", (mean,)),
    ]
