"""The rows of a dataset as the source had them: one per sample, layer and head.

rows = rows_of(dense(table, "alpaca"))
rows.features.shape, rows.sample.shape
drawn(rows, 100_000, seed=0)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from foretell.stats.table.dense import Dense

__all__ = ["Rows", "drawn", "rows_of"]


@dataclass(frozen=True)
class Rows:
    """Rows with at least one metric, sorted by id, layer and head."""

    features: Float[np.ndarray, "row metric"]
    label: Int[np.ndarray, " row"]
    sample: Int[np.ndarray, " row"]
    """Index of each row's sample in the order of the ids."""
    group: Shaped[np.ndarray, " row"]


def rows_of(array: Dense) -> Rows:
    """Return a dataset's rows.

    Args:
        array: The dataset.
    """
    n_samples, n_layers, n_heads, n_metrics = array.values.shape
    sample = np.repeat(np.arange(n_samples), n_layers * n_heads)
    features = array.values.reshape(-1, n_metrics)
    there = np.isfinite(features).any(axis=1)
    if not there.all():
        sample, features = sample[there], features[there]
    return Rows(features, array.label.astype(np.int64)[sample], sample, array.group[sample])


def drawn(rows: Rows, n_rows: int | None, *, seed: int) -> Rows:
    """Return at most `n_rows` of the rows, drawn at random and kept in order.

    Rows are drawn and not samples, because what held-out numbers can tell grows with samples.

    Args:
        rows: All rows.
        n_rows: How many at most; None: all.
        seed: Seed of a local generator.
    """
    if n_rows is None or len(rows.label) <= n_rows:
        return rows
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows.label), n_rows, replace=False))
    return Rows(rows.features[chosen], rows.label[chosen], rows.sample[chosen], rows.group[chosen])
