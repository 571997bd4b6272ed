"""What the detectors see of one dataset, or of several put together.

samples = samples_of(dense(table, "alpaca"), coordinates="centred")
samples.features[0].name
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from foretell.stats.detectors.baselines import baselines
from foretell.stats.detectors.features import Features, head_features
from foretell.stats.detectors.log_ratios import Coordinates
from foretell.stats.table.dense import Dense

__all__ = ["POOLED", "Samples", "common_heads", "pooled_samples", "samples_of"]

POOLED = "all"
"""Name under which several datasets are put together."""


@dataclass(frozen=True)
class Samples:
    """Samples with their label, what depends on what, and every set of columns that a detector or baseline sees."""

    features: tuple[Features, ...]
    """All heads first."""
    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"]
    ids: Shaped[np.ndarray, " sample"]
    """Unique."""
    stratum: Shaped[np.ndarray, " sample"] | None
    part: Shaped[np.ndarray, " sample"] | None
    """Dataset of each sample where several were put together."""
    notes: tuple[str, ...]

    def n_groups(self, label: int) -> int:
        """Return how many groups have a sample with this label."""
        return len(np.unique(self.group[self.label == label]))


def _with_baselines(heads: list[Features], known: list[Features]) -> tuple[Features, ...]:
    """Return all sets of columns, with all heads and all baselines side by side as one more."""
    if not known:
        return tuple(heads)
    beside = Features("all heads and baselines", "detector", (*heads[0].blocks, *known[-1].blocks))
    return (*heads, beside, *known)


def samples_of(array: Dense, *, coordinates: Coordinates) -> Samples:
    """Return what detectors see of one dataset.

    Args:
        array: The dataset.
        coordinates: How shares are shown.
    """
    known, notes = baselines(array.stratum, array.baselines)
    return Samples(
        features=_with_baselines(head_features(array.values, coordinates=coordinates), known),
        label=array.label.astype(np.int64),
        group=array.group,
        ids=np.asarray(array.ids),
        stratum=array.stratum,
        part=None,
        notes=tuple(notes),
    )


def common_heads(arrays: Sequence[Dense]) -> list[Float[np.ndarray, "sample layer head metric"]]:
    """Return each dataset's values of the layers and heads that all have; none may be left.

    Args:
        arrays: Datasets with the same metrics.
    """
    layers = sorted(set(arrays[0].layers).intersection(*(array.layers for array in arrays)))
    heads = sorted(set(arrays[0].heads).intersection(*(array.heads for array in arrays)))
    found = []
    for array in arrays:
        at_layer = [array.layers.index(layer) for layer in layers]
        at_head = [array.heads.index(head) for head in heads]
        found.append(array.values[:, at_layer][:, :, at_head])
    return found


def pooled_samples(arrays: Sequence[Dense], *, coordinates: Coordinates) -> Samples:
    """Return what detectors see of several datasets put together.

    Samples whose group is their own id depend on nobody in another dataset, even if an id occurs twice; named
    groups that occur in several datasets are one group.

    Args:
        arrays: The datasets.
        coordinates: How shares are shown.
    """
    sizes = [len(array.ids) for array in arrays]
    part = np.repeat(np.array([array.dataset for array in arrays]), sizes)
    ids = np.concatenate([[f"{array.dataset}\x1f{id_}" for id_ in array.ids] for array in arrays])
    named = np.concatenate([array.group for array in arrays])
    alone = named == np.concatenate([np.asarray(array.ids) for array in arrays])
    strata = [
        np.full(size, "") if array.stratum is None else array.stratum for array, size in zip(arrays, sizes, strict=True)
    ]
    stratum = np.concatenate(strata)
    columns = {
        name: np.concatenate([array.baselines.get(name, np.full(len(array.ids), np.nan)) for array in arrays])
        for name in sorted({name for array in arrays for name in array.baselines})
    }
    shown = stratum if (stratum != "").any() else None
    known, notes = baselines(shown, columns)
    values = np.concatenate(common_heads(arrays))
    return Samples(
        features=_with_baselines(head_features(values, coordinates=coordinates), known),
        label=np.concatenate([array.label for array in arrays]).astype(np.int64),
        group=np.where(alone, ids, named),
        ids=ids,
        stratum=shown,
        part=part,
        notes=tuple(notes),
    )
