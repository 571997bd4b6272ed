"""Labels, groups and feature sets of the samples of one dataset, or of several pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from foretell.stats.detectors.adjustment import known_columns, without
from foretell.stats.detectors.baselines import baselines
from foretell.stats.detectors.features import Features, head_features
from foretell.stats.detectors.log_ratios import LogRatios
from foretell.stats.folds import group_numbers
from foretell.stats.table.contents import content_order, content_seed, row_keys
from foretell.stats.table.dense import DenseDataset

__all__ = ["FoldOrder", "Samples", "common_heads", "dataset_samples", "fold_order", "pooled_samples"]


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
    known: Float[np.ndarray, "sample column"] | None
    """What the baselines explain of all of them, from `known_columns`."""

    @property
    def comparable(self) -> Shaped[np.ndarray, " sample"]:
        """Name of the set of samples that each is compared with: its dataset and stratum."""
        empty = np.full(len(self.label), "")
        parts = (empty if one is None else one for one in (self.dataset, self.stratum))
        return np.char.add(np.char.add(next(parts), "\x1f"), next(parts))

    def n_groups(self, label: int) -> int:
        """Return how many groups have a sample with this label that can be compared with one of the other label."""
        other = np.unique(self.comparable[self.label != label])
        return len(np.unique(self.group[(self.label == label) & np.isin(self.comparable, other)]))


@dataclass(frozen=True)
class FoldOrder:
    """What random steps depend on: neither names nor the order of rows."""

    order: Int[np.ndarray, " sample"]
    """Samples by content."""
    group: Int[np.ndarray, " sample"]
    """Number of each sample's group, in that order."""
    seed: int

    @property
    def place(self) -> Int[np.ndarray, " sample"]:
        """Rank of each sample."""
        return np.argsort(self.order)


def fold_order(samples: Samples, seed: int) -> FoldOrder:
    """Return the order of a dataset's samples in which folds are dealt to detectors, their groups, and the seed.

    Args:
        samples: Of one dataset, or of several pooled.
        seed: The seed of the study.
    """
    heads = samples.features[0].matrix
    content = row_keys([heads] if heads.shape[1] else [feature.matrix for feature in samples.features])
    order = content_order(content, samples.label, group=samples.group, stratum=samples.stratum)
    group = group_numbers(samples.group[order])[np.argsort(order)]
    return FoldOrder(order, group, content_seed(seed, "detectors", content))


def _features(
    values: Float[np.ndarray, "sample layer head metric"],
    known: list[Features],
    explained: Float[np.ndarray, "sample column"] | None,
    log_ratios: LogRatios,
    dataset: Shaped[np.ndarray, " sample"] | None = None,
) -> tuple[Features, ...]:
    """Return the feature sets of heads and baselines; beside baselines, what these explain is taken out of heads.

    Of several datasets it is taken out of each by itself.
    """
    if not known:
        return (*head_features(values, log_ratios=log_ratios), *known)

    def taken_out(flat: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, "sample feature"]:
        if dataset is None:
            return without(flat, explained)
        left = np.empty_like(flat)
        for here in (np.flatnonzero(dataset == one) for one in set(dataset)):
            left[here] = without(flat[here], known_columns([_part(one, here) for one in known], len(here)))
        return left

    return (*head_features(values, log_ratios=log_ratios, taken_out=taken_out), *known)


def _together(texts: Sequence[tuple[str | None, ...] | None], sizes: Sequence[int]) -> list[str | None] | None:
    """Return the texts of all datasets; None where no dataset has any."""
    if all(one is None for one in texts):
        return None
    return [text for one, size in zip(texts, sizes, strict=True) for text in one or (None,) * size]


def _part(one: Features, here: Int[np.ndarray, " part"]) -> Features:
    return replace(one, blocks=tuple(block[here] for block in one.blocks))


def dataset_samples(data: DenseDataset, *, log_ratios: LogRatios) -> Samples:
    """Return the samples of one dataset.

    Args:
        data: The dataset.
        log_ratios: How shares are transformed.
    """
    known, notes = baselines(data.stratum, data.baselines, data.answer, data.prompt)
    explained = known_columns(known, len(data.ids))
    return Samples(
        features=_features(data.values, known, explained, log_ratios),
        label=data.label.astype(np.int64),
        group=data.group,
        ids=np.asarray(data.ids),
        stratum=data.stratum,
        dataset=None,
        notes=tuple(notes),
        known=explained,
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
    answers = _together([data.answer for data in datasets], sizes)
    prompts = _together([data.prompt for data in datasets], sizes)
    known, notes = baselines(shown, columns, answers, prompts)
    values, explained = np.concatenate(common_heads(datasets)), known_columns(known, len(ids))
    return Samples(
        features=_features(values, known, explained, log_ratios, dataset),
        label=np.concatenate([data.label for data in datasets]).astype(np.int64),
        group=np.where(alone, ids, named),
        ids=ids,
        stratum=shown,
        dataset=dataset,
        notes=tuple(notes),
        known=explained,
    )
