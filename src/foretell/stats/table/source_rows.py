"""The rows of a dataset as in the source study: one per sample, layer and head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from foretell.stats.table.dense import DenseDataset

__all__ = ["Rows", "dataset_rows", "subsampled"]


@dataclass(frozen=True)
class Rows:
    """Rows with at least one metric, sorted by id, layer and head."""

    features: Float[np.ndarray, "row metric"]
    label: Int[np.ndarray, " row"]
    sample: Int[np.ndarray, " row"]
    """Index of each row's sample in the order of the ids."""
    group: Shaped[np.ndarray, " row"]


def dataset_rows(data: DenseDataset) -> Rows:
    """Return a dataset's rows.

    Args:
        data: The dataset.
    """
    n_samples, n_layers, n_heads, n_metrics = data.values.shape
    sample = np.repeat(np.arange(n_samples), n_layers * n_heads)
    features = data.values.reshape(-1, n_metrics)
    present = np.isfinite(features).any(axis=1)
    if not present.all():
        sample, features = sample[present], features[present]
    return Rows(features, data.label.astype(np.int64)[sample], sample, data.group[sample])


def subsampled(rows: Rows, n_rows: int | None, *, seed: int) -> Rows:
    """Return at most `n_rows` of the rows, drawn at random and kept in order.

    Rows are drawn and not samples, because the precision of held-out statistics depends on the number of samples.

    Args:
        rows: All rows.
        n_rows: Maximal number; None: all.
        seed: Random seed.
    """
    if n_rows is None or len(rows.label) <= n_rows:
        return rows
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows.label), n_rows, replace=False))
    return Rows(rows.features[chosen], rows.label[chosen], rows.sample[chosen], rows.group[chosen])
