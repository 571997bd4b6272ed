"""Labels, groups and feature sets of the samples of one dataset, or of several pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from foretell.stats.detectors.baselines import baselines
from foretell.stats.detectors.features import Features, head_features
from foretell.stats.detectors.log_ratios import LogRatios
from foretell.stats.table.dense import DenseDataset

__all__ = ["POOLED", "Samples", "common_heads", "dataset_samples", "pooled_samples"]

POOLED = "all"
"""Name of the pool of several datasets."""


@dataclass(frozen=True)
class Samples:
    """Samples with label, group, and the feature sets of detectors and baselines."""

    features: tuple[Features, ...]
    """All heads first."""
    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"]
    ids: Shaped[np.ndarray, " sample"]
    """Unique."""
    stratum: Shaped[np.ndarray, " sample"] | None
    dataset: Shaped[np.ndarray, " sample"] | None
    """Dataset of each sample where several are pooled."""
    notes: tuple[str, ...]

    def n_groups(self, label: int) -> int:
        """Return how many groups have a sample with this label."""
        return len(np.unique(self.group[self.label == label]))


def _with_baselines(heads: list[Features], known: list[Features]) -> tuple[Features, ...]:
    """Return all feature sets, and one more of all heads and all baselines together."""
    if not known:
        return tuple(heads)
    beside = Features("all heads and baselines", "detector", (*heads[0].blocks, *known[-1].blocks))
    return (*heads, beside, *known)


def dataset_samples(data: DenseDataset, *, log_ratios: LogRatios) -> Samples:
    """Return the samples of one dataset.

    Args:
        data: The dataset.
        log_ratios: How shares are transformed.
    """
    known, notes = baselines(data.stratum, data.baselines)
    return Samples(
        features=_with_baselines(head_features(data.values, log_ratios=log_ratios), known),
        label=data.label.astype(np.int64),
        group=data.group,
        ids=np.asarray(data.ids),
        stratum=data.stratum,
        dataset=None,
        notes=tuple(notes),
    )


def common_heads(datasets: Sequence[DenseDataset]) -> list[Float[np.ndarray, "sample layer head metric"]]:
    """Return each dataset's values at the layers and heads common to all; there may be none.

    Args:
        datasets: Datasets with the same metrics.
    """
    layers = sorted(set(datasets[0].layers).intersection(*(data.layers for data in datasets)))
    heads = sorted(set(datasets[0].heads).intersection(*(data.heads for data in datasets)))
    found = []
    for data in datasets:
        at_layer = [data.layers.index(layer) for layer in layers]
        at_head = [data.heads.index(head) for head in heads]
        found.append(data.values[:, at_layer][:, :, at_head])
    return found


def pooled_samples(datasets: Sequence[DenseDataset], *, log_ratios: LogRatios) -> Samples:
    """Return the pooled samples of several datasets.

    Samples whose group is their own id are independent of other datasets, even if an id occurs twice; named groups that
    occur in several datasets are one group.

    Args:
        datasets: The datasets.
        log_ratios: How shares are transformed.
    """
    sizes = [len(data.ids) for data in datasets]
    dataset = np.repeat(np.array([data.dataset for data in datasets]), sizes)
    ids = np.concatenate([[f"{data.dataset}\x1f{id_}" for id_ in data.ids] for data in datasets])
    named = np.concatenate([data.group for data in datasets])
    alone = named == np.concatenate([np.asarray(data.ids) for data in datasets])
    strata = [
        np.full(size, "") if data.stratum is None else data.stratum for data, size in zip(datasets, sizes, strict=True)
    ]
    stratum = np.concatenate(strata)
    columns = {
        name: np.concatenate([data.baselines.get(name, np.full(len(data.ids), np.nan)) for data in datasets])
        for name in sorted({name for data in datasets for name in data.baselines})
    }
    shown = stratum if (stratum != "").any() else None
    known, notes = baselines(shown, columns)
    values = np.concatenate(common_heads(datasets))
    return Samples(
        features=_with_baselines(head_features(values, log_ratios=log_ratios), known),
        label=np.concatenate([data.label for data in datasets]).astype(np.int64),
        group=np.where(alone, ids, named),
        ids=ids,
        stratum=shown,
        dataset=dataset,
        notes=tuple(notes),
    )
