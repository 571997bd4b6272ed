"""Tables made for tests: shares of heads with labels, with or without an effect."""

from __future__ import annotations

import numpy as np
import polars as pl

METRICS = ("PAM_norm", "QAM_norm", "SAM_norm")


def head_table(
    *,
    n_samples: int = 20,
    n_layers: int = 2,
    n_heads: int = 3,
    datasets: tuple[str, ...] = ("alpaca", "flan"),
    effect: float = 0.0,
    seed: int = 0,
) -> pl.DataFrame:
    """Return a whole table in the source's columns; `effect` raises the first share of layer 1, head 2 of positives."""
    generator = np.random.default_rng(seed)
    frames = []
    for dataset in datasets:
        sample, layer, head = (axis.ravel() for axis in np.indices((n_samples, n_layers, n_heads)))
        label = generator.permutation(np.arange(n_samples) % 2)
        raw = generator.gamma(2.0, size=(sample.size, 3))
        raw[(layer == 1) & (head == 2) & (label[sample] == 1), 0] += effect
        shares = raw / raw.sum(axis=1, keepdims=True)
        frames.append(
            pl.DataFrame(
                {
                    "id": [f"{dataset}-{index:03d}" for index in sample],
                    "dataset": dataset,
                    "layer": layer,
                    "head": head,
                    **dict(zip(METRICS, shares.T, strict=True)),
                    "behavior_label": label[sample],
                }
            )
        )
    return pl.concat(frames)
