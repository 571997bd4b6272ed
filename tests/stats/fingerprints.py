"""Rows of heads in which samples can be recognised, heads differ, or labels matter, as much as a test asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class HeadRows:
    """Rows of three shares: one per sample and head, sorted by sample."""

    features: np.ndarray
    label: np.ndarray
    sample: np.ndarray
    values: np.ndarray
    """The same as (sample, layer, head, metric) with one layer."""
    label_of_sample: np.ndarray
    kind_of_sample: np.ndarray
    """Kind of task, from 0."""

    def table(self) -> pl.DataFrame:
        """The same as a table with the source's columns and the kind of task as stratum."""
        n_heads = self.values.shape[2]
        return pl.DataFrame(
            {
                "id": [f"s{index:03d}" for index in self.sample],
                "dataset": "alpaca",
                "layer": 0,
                "head": np.tile(np.arange(n_heads), len(self.values)),
                **dict(zip(("PAM_norm", "QAM_norm", "SAM_norm"), self.features.T, strict=True)),
                "behavior_label": self.label,
                "stratum": [f"kind-{self.kind_of_sample[index]}" for index in self.sample],
            }
        )


def head_rows(
    *,
    n_samples: int = 60,
    n_heads: int = 24,
    fingerprint: float = 0.0,
    head_spread: float = 0.0,
    noise: float = 0.2,
    effect: float = 0.0,
    effect_in_one_head: float = 0.0,
    kind_effect: float = 0.0,
    rate_of_kind: tuple[float, ...] = (),
    seed: int = 0,
) -> HeadRows:
    """Return shares made by a softmax of a sample's fingerprint, a head's habit, the label's effect and noise.

    With `rate_of_kind` there are kinds of task that differ in how often the label is 1; `kind_effect` is the
    effect of the kind on one head.
    """
    generator = np.random.default_rng(seed)
    label = generator.permutation(np.arange(n_samples) % 2)
    kind = np.zeros(n_samples, dtype=np.int64)
    if rate_of_kind:
        kind = np.arange(n_samples) % len(rate_of_kind)
        label = (generator.random(n_samples) < np.asarray(rate_of_kind)[kind]).astype(np.int64)
    lean = fingerprint * generator.normal(size=(n_samples, 1, 3))
    lean = (
        lean
        + head_spread * generator.normal(size=(1, n_heads, 3))
        + noise * generator.normal(size=(n_samples, n_heads, 3))
    )
    lean[:, :, 0] += effect * label[:, None]
    lean[:, n_heads // 2, 0] += effect_in_one_head * label
    lean[:, n_heads // 3, 1] += kind_effect * kind
    shares = np.exp(lean)
    shares /= shares.sum(axis=2, keepdims=True)
    sample = np.repeat(np.arange(n_samples), n_heads)
    return HeadRows(shares.reshape(-1, 3), label[sample], sample, shares[:, None], label, kind)
