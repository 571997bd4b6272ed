"""What a sample is, apart from its name: a key of its values, from which orders and seeds of random steps are taken.

Ids, names of datasets, groups and strata, and the order of the rows are arbitrary, so no random step may depend on
them. A sample is known by its values: `Contents.ranked` is a hash of the rank of each value within its column, which no
increasing transform of a column changes, and `Contents.exact` hashes the values themselves, in two halves of the
columns. Hashes of columns are summed, so that columns can be added in blocks and in any order; what is missing adds
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt

from foretell.stats.folds import derived_seed
from foretell.stats.table.dense import DenseDataset

__all__ = ["Contents", "content_order", "content_seed", "dataset_contents", "in_order", "row_keys"]

_BLOCK = 1 << 16
"""Values at a time, so that they stay in the cache of a processor."""
_NOTHING = np.uint64(0)


@dataclass
class Contents:
    """Keys of the samples of one dataset, summed over the columns added so far."""

    exact: UInt[np.ndarray, "half sample"]
    """Samples with equal values in every other column have equal keys here."""
    ranked: UInt[np.ndarray, " sample"]
    """Key of the ranks; 0 where no ranks were asked for."""
    n_values: Int[np.ndarray, " sample"]
    """Columns in which the sample has a number."""
    n_columns: int
    """Columns in which any sample has one."""

    @classmethod
    def none(cls, n: int) -> Contents:
        """Return the keys of n samples before any column is added."""
        return cls(np.zeros((2, n), np.uint64), np.zeros(n, np.uint64), np.zeros(n, np.int64), 0)

    def add(
        self,
        values: Float[np.ndarray, "column sample"],
        layer: Int[np.ndarray, " column"],
        head: Int[np.ndarray, " column"],
        metric: Int[np.ndarray, " column"],
        *,
        ranked: bool = True,
    ) -> None:
        """Add columns, known by layer, head and index of the metric; without `ranked` only the exact keys."""
        place = np.stack([layer, head, metric]).astype(np.uint64)
        column = _mixed(_mixed(_mixed(place[0]) + place[1]) + place[2])
        half = place.sum(axis=0) % 2
        width = max(1, _BLOCK // max(1, values.shape[1]))
        for start in range(0, values.shape[0], width):
            part = slice(start, start + width)
            block = np.ascontiguousarray(values[part], dtype=np.float64)
            present = ~np.isnan(block)
            hashed = np.where(present, _mixed((block + 0.0).view(np.uint64) ^ column[part, None]), _NOTHING)
            for side in (0, 1):
                self.exact[side] += hashed[half[part] == side].sum(axis=0, dtype=np.uint64)
            self.n_values += present.sum(axis=0)
            self.n_columns += int(np.count_nonzero(present.any(axis=1)))
            if ranked:
                hashed = np.where(present, _mixed(_dense_ranks(block) ^ column[part, None]), _NOTHING)
                self.ranked += hashed.sum(axis=0, dtype=np.uint64)

    def include(self, other: Contents, place: Int[np.ndarray, " other"]) -> None:
        """Add columns that were added to the keys of some of the samples, which are at `place` here."""
        self.exact[:, place] += other.exact
        self.ranked[place] += other.ranked
        self.n_values[place] += other.n_values
        self.n_columns += other.n_columns

    def at(self, order: Int[np.ndarray, " sample"]) -> Contents:
        """Return the keys of some of the samples, or of all in another order."""
        return Contents(self.exact[:, order], self.ranked[order], self.n_values[order], self.n_columns)


def dataset_contents(data: DenseDataset, *, ranked: bool = True) -> Contents:
    """Return the keys of the samples of a dataset.

    Args:
        data: The dataset.
        ranked: Whether keys of ranks are wanted, which takes a sort of every column.
    """
    found = Contents.none(len(data.ids))
    shape = (len(data.metrics), len(data.layers), len(data.heads))
    metric, layer, head = (axis.ravel() for axis in np.indices(shape))
    layers, heads = np.asarray(data.layers, dtype=np.int64), np.asarray(data.heads, dtype=np.int64)
    found.add(data.by_column, layers[layer], heads[head], metric, ranked=ranked)
    return found


def row_keys(matrices: Sequence[Float[np.ndarray, "sample _feature"]]) -> UInt[np.ndarray, " sample"]:
    """Return one key per sample, equal for samples with equal rows in every matrix.

    Args:
        matrices: At least one; all have the same samples.
    """
    found = Contents.none(len(matrices[0]))
    for index, matrix in enumerate(matrices):
        column = np.arange(matrix.shape[1])
        found.add(matrix.T, column, np.full_like(column, index), column, ranked=False)
    return np.asarray(_mixed(found.exact[0]) + found.exact[1])


def content_order(
    content: UInt[np.ndarray, " sample"],
    label: Shaped[np.ndarray, " sample"],
    *,
    group: Shaped[np.ndarray, " sample"] | None = None,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
) -> Int[np.ndarray, " sample"]:
    """Return the order of samples by content, in which random numbers are folds_of.

    Samples of equal content are ordered by label, then by the contents of their group and of their stratum. Samples
    that are equal in all of this are interchangeable, so it does not matter which of them comes first.

    Args:
        content: Key of each sample, such as `Contents.ranked`.
        label: Label of each sample.
        group: Names of groups.
        stratum: Names of strata.

    Example:
        >>> content_order(np.array([7, 3, 3], dtype=np.uint64), np.array([0, 1, 0])).tolist()
        [2, 1, 0]
    """
    own = _mixed(content ^ _mixed(np.asarray(label == 1, dtype=np.uint64)))
    keys = [own]
    for names in (group, stratum):
        if names is not None:
            codes = np.unique(names, return_inverse=True)[1].reshape(-1)
            total = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.uint64)
            np.add.at(total, codes, own)
            keys.append(total[codes])
    return np.lexsort((*keys[:0:-1], np.asarray(label == 1), content))


def content_seed(seed: int, purpose: str, content: UInt[np.ndarray, " sample"]) -> int:
    """Return a seed for one purpose that depends on the contents of a dataset, and not on names or order.

    Args:
        seed: The seed of the study.
        purpose: Such as "folds".
        content: Key of each sample.

    Example:
        >>> first, second = np.array([5, 9], dtype=np.uint64), np.array([9, 5], dtype=np.uint64)
        >>> content_seed(0, "folds", first) == content_seed(0, "folds", second)
        True
    """
    return derived_seed(seed, purpose, int(_mixed(content).sum(dtype=np.uint64)), content.size)


def in_order(data: DenseDataset, order: Int[np.ndarray, " sample"]) -> DenseDataset:
    """Return a dataset with its samples in another order.

    Args:
        data: The dataset.
        order: Index of each sample to take.
    """
    values = np.ascontiguousarray(data.values.transpose(3, 1, 2, 0)[..., order]).transpose(3, 1, 2, 0)
    return DenseDataset(
        data.dataset,
        values,
        data.layers,
        data.heads,
        data.metrics,
        ids=tuple(data.ids[index] for index in order),
        label=data.label[order],
        group=data.group[order],
        stratum=None if data.stratum is None else data.stratum[order],
        baselines={name: column[order] for name, column in data.baselines.items()},
        answer=None if data.answer is None else tuple(data.answer[index] for index in order),
        prompt=None if data.prompt is None else tuple(data.prompt[index] for index in order),
    )


def _mixed(key: UInt[np.ndarray, "*shape"]) -> UInt[np.ndarray, "*shape"]:
    """Return well-mixed 64-bit numbers: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    out = key + np.uint64(0x9E3779B97F4A7C15)
    out = (out ^ (out >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    out = (out ^ (out >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(out ^ (out >> np.uint64(31)))


def _dense_ranks(values: Float[np.ndarray, "column sample"]) -> UInt[np.ndarray, "column sample"]:
    """Return the number of distinct smaller values within the column, from 1; of missing values any number."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    steps = np.ones(values.shape, dtype=np.uint64)
    steps[:, 1:] += np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, dtype=np.uint64)
    ranks = np.empty_like(steps)
    np.put_along_axis(ranks, order, steps, axis=1)
    return ranks
