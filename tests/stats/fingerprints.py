"""Rows of heads in which samples can be recognised, heads differ, or labels matter, as much as a test asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeadRows:
    """Rows of three shares: one per sample and head, sorted by sample."""

    features: np.ndarray
    label: np.ndarray
    sample: np.ndarray
    values: np.ndarray
    """The same as (sample, layer, head, metric) with one layer."""
    label_of_sample: np.ndarray


def head_rows(
    *,
    n_samples: int = 60,
    n_heads: int = 24,
    fingerprint: float = 0.0,
    head_spread: float = 0.0,
    noise: float = 0.2,
    effect: float = 0.0,
    effect_in_one_head: float = 0.0,
    seed: int = 0,
) -> HeadRows:
    """Return shares made by a softmax of a sample's fingerprint, a head's habit, the label's effect and noise."""
    generator = np.random.default_rng(seed)
    label = generator.permutation(np.arange(n_samples) % 2)
    lean = fingerprint * generator.normal(size=(n_samples, 1, 3))
    lean = (
        lean
        + head_spread * generator.normal(size=(1, n_heads, 3))
        + noise * generator.normal(size=(n_samples, n_heads, 3))
    )
    lean[:, :, 0] += effect * label[:, None]
    lean[:, n_heads // 2, 0] += effect_in_one_head * label
    shares = np.exp(lean)
    shares /= shares.sum(axis=2, keepdims=True)
    sample = np.repeat(np.arange(n_samples), n_heads)
    return HeadRows(shares.reshape(-1, 3), label[sample], sample, shares[:, None], label)
