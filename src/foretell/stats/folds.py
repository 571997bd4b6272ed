"""Cross-validation splits and bootstrap resamples that keep groups of dependent samples together.

A group is never split between training and test: it is the sample itself, or the prompt that several samples share.
Results depend on the seed and on the sorted ids only, not on the order of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from foretell.errors import InputError

__all__ = [
    "Folds",
    "bootstrap_weights",
    "derived_seed",
    "group_codes",
    "group_numbers",
    "grouped_folds",
    "shuffled_labels",
]

_ATTEMPTS = 20
"""Number of seeds tried until every training set has both classes; uneven groups can make a split fail."""


@dataclass(frozen=True)
class Folds:
    """Which fold holds out each sample; no group is split."""

    fold: Int[np.ndarray, " sample"]
    """Fold of each sample from 0, or -1 everywhere if there is no split."""
    n_folds: int
    """At most the requested number and the number of groups of the rarer class; 0 if there is no split."""
    seed: int
    reason: str | None
    """Why there is no split; None if there is one."""

    def heldout(self, fold: int) -> Bool[np.ndarray, " sample"]:
        """Return the test samples of `fold`."""
        return np.asarray(self.fold == fold)

    def train(self, fold: int) -> Bool[np.ndarray, " sample"]:
        """Return the training samples of `fold`."""
        return np.asarray((self.fold != fold) & (self.fold >= 0))


def derived_seed(seed: int, *words: str | int) -> int:
    """Return a seed for one purpose, independent of the seeds for other purposes.

    Args:
        seed: The seed of the study.
        words: Names of the purpose, such as a dataset and a protocol.

    Example:
        >>> derived_seed(0, "alpaca") != derived_seed(0, "flan")
        True
    """
    entropy = [seed, *(byte for word in words for byte in (*str(word).encode(), 256))]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def group_codes(group: Sequence[object] | np.ndarray) -> Int[np.ndarray, " sample"]:
    """Return the rank of each sample's group among the sorted distinct groups, from 0.

    Example:
        >>> group_codes(["b", "a", "b"]).tolist()
        [1, 0, 1]
    """
    return np.asarray(np.unique(np.asarray(group), return_inverse=True)[1].reshape(-1).astype(np.int64))


def group_numbers(group: Shaped[np.ndarray, " sample"]) -> Int[np.ndarray, " sample"]:
    """Return the number of each sample's group, in the order in which the groups first occur.

    Example:
        >>> group_numbers(np.array(["b", "a", "b"])).tolist()
        [0, 1, 0]
    """
    _, first, codes = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return np.asarray(rank[codes.reshape(-1)])


def grouped_folds(
    label: Int[np.ndarray, " sample"],
    group: Sequence[object] | np.ndarray | None = None,
    *,
    ids: Sequence[str] | np.ndarray | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> Folds:
    """Stratified group k-fold: no group is split, and folds have similar class frequencies.

    Where the rarer class has fewer groups than `n_folds`, fewer folds are made.

    Args:
        label: `(sample,)`, 0 or 1, or codes of more classes.
        group: `(sample,)` names of groups that are never split; None: each sample by itself.
        ids: `(sample,)` unique names that make the split independent of the order of samples; None: sorted by group,
            or in the given order.
        n_folds: Number of folds, at least 2.
        seed: Random seed.

    Raises:
        InputError: `n_folds` is below 2, or lengths differ.

    Undefined:
        `reason` is set and every fold is -1 where one class is missing, or has only one group.

    Source:
        scikit-learn's StratifiedGroupKFold; its StratifiedKFold on groups where all groups have one label and one size.

    Example:
        >>> folds = grouped_folds(np.array([0, 1, 0, 1]), ["a", "a", "b", "b"], n_folds=2)
        >>> bool(folds.fold[0] == folds.fold[1])
        True
    """
    n = len(label)
    if n_folds < 2:
        raise InputError(f"n_folds is {n_folds}: splitting needs at least 2")
    if (group is not None and len(group) != n) or (ids is not None and len(ids) != n):
        raise InputError(f"label has {n} samples, and group or ids have another number")
    nothing = np.full(n, -1, dtype=np.int64)
    groups = np.arange(n) if group is None else group_codes(group)
    order = np.argsort(groups if ids is None else np.asarray(ids), kind="stable")
    ordered = np.asarray(label, dtype=np.int64)[order]
    codes = group_numbers(groups[order])
    classes = np.unique(ordered)
    if len(classes) < 2:
        return Folds(nothing, 0, seed, f"all {n} samples have one label" if n else "no samples")
    groups_of_class = {int(value): len(np.unique(codes[ordered == value])) for value in classes}
    rarest = min(groups_of_class, key=lambda value: groups_of_class[value])
    made = min(n_folds, groups_of_class[rarest])
    if made < 2:
        return Folds(nothing, 0, seed, f"only 1 group has label {rarest}: splitting needs at least 2")
    for attempt in range(_ATTEMPTS):
        split = _split(ordered, codes, made, derived_seed(seed, "folds", attempt))
        if all(len(np.unique(ordered[split != fold])) == len(classes) for fold in range(made)):
            fold = nothing.copy()
            fold[order] = split
            return Folds(fold, made, seed, None)
    return Folds(nothing, 0, seed, f"no split into {made} folds leaves both labels in every training set")


def _split(
    label: Int[np.ndarray, " sample"], codes: Int[np.ndarray, " sample"], n_folds: int, seed: int
) -> Int[np.ndarray, " sample"]:
    """Return the fold of each sample; groups of one label and one size are split as units."""
    n_groups = int(codes.max()) + 1
    size = np.bincount(codes, minlength=n_groups)
    total = np.bincount(codes, weights=label, minlength=n_groups)
    largest = np.zeros(n_groups, dtype=np.int64)
    np.maximum.at(largest, codes, label)
    pure = bool((largest * size == total).all())
    if pure and size.min() == size.max():
        of_group = np.zeros(n_groups, dtype=np.int64)
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        for fold, (_, heldout) in enumerate(splitter.split(np.zeros(n_groups), largest)):
            of_group[heldout] = fold
        return np.asarray(of_group[codes])
    split = np.zeros(len(label), dtype=np.int64)
    grouped = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for fold, (_, heldout) in enumerate(grouped.split(np.zeros(len(label)), label, codes)):
        split[heldout] = fold
    return split


def bootstrap_weights(
    group: Int[np.ndarray, " sample"],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    kind: Int[np.ndarray, " sample"] | None = None,
) -> Float[np.ndarray, "resample group"]:
    """Draw the number of occurrences of each group in each resample of a cluster bootstrap.

    Args:
        group: `(sample,)` codes from `group_codes`.
        n_resamples: Number of resamples.
        seed: Random seed.
        kind: `(sample,)` codes; groups are resampled among groups with the same set of codes, so that no resample loses
            a class. None: among all groups.

    Returns:
        `(resample, group)` counts as floats; each row sums to the number of groups.

    Example:
        >>> float(bootstrap_weights(np.array([0, 1, 2]), n_resamples=1)[0].sum())
        3.0
    """
    generator = np.random.default_rng(derived_seed(seed, "bootstrap"))
    n_groups = int(group.max()) + 1 if len(group) else 0
    weights = np.zeros((n_resamples, n_groups))
    composition = np.zeros(n_groups, dtype=np.int64) if kind is None else _composition(group, kind, n_groups)
    for value in np.unique(composition):
        members = np.flatnonzero(composition == value)
        share = np.full(len(members), 1.0 / len(members))
        weights[:, members] = generator.multinomial(len(members), share, size=n_resamples)
    return weights


def _composition(
    group: Int[np.ndarray, " sample"], kind: Int[np.ndarray, " sample"], n_groups: int
) -> Int[np.ndarray, " group"]:
    """Return one code per group for its set of kinds."""
    holds = np.zeros((n_groups, int(kind.max()) + 1), dtype=bool)
    holds[group, kind] = True
    return np.asarray(np.unique(holds, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64))


def shuffled_labels(
    label: Int[np.ndarray, " sample"],
    *,
    group: Sequence[object] | np.ndarray | None = None,
    ids: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
) -> Int[np.ndarray, " sample"]:
    """Return the labels dealt anew by whole groups, which removes any association with the behaviour.

    Every group is given the labels of another one, in random order. A group of another size is given as many of them
    as it has samples, over again where they are too few; so groups of one label stay groups of one label.

    Args:
        label: `(sample,)` of labels.
        group: `(sample,)` names of groups; None: labels are permuted between samples.
        ids: `(sample,)` unique names that make the permutation independent of the order of samples.
        seed: Random seed.

    Example:
        >>> sorted(shuffled_labels(np.array([0, 0, 1])).tolist())
        [0, 0, 1]
        >>> assigned = shuffled_labels(np.array([0, 0, 1, 1, 0]), group=["a", "a", "b", "b", "c"], seed=1)
        >>> bool(assigned[0] == assigned[1]), bool(assigned[2] == assigned[3])
        (True, True)
    """
    n = len(label)
    order = np.arange(n) if ids is None else np.argsort(np.asarray(ids), kind="stable")
    codes = np.arange(n) if group is None else group_numbers(np.asarray(group)[order])
    generator = np.random.default_rng(derived_seed(seed, "placebo"))
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]) if n else []
    ordered = np.asarray(label)[order]
    assigned = np.empty_like(ordered)
    for place, source in zip(members, generator.permutation(len(members)), strict=True):
        given = ordered[members[source]]
        assigned[place] = np.resize(generator.permutation(given) if len(given) > 1 else given, len(place))
    permuted = np.empty_like(ordered)
    permuted[order] = assigned
    return permuted
