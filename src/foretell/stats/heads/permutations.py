"""Labels dealt anew under the null hypothesis, where samples come in groups and strata."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from foretell.stats.folds import group_numbers

__all__ = ["Permutations", "permuted_labels"]

_FEWEST_ALIKE = 7
"""Fewest groups of similar size between which labels are exchanged, where a stratum has more."""
_TOLERANCE = 1e-12
"""Smaller differences between mean labels, and smaller shares of a variance, are rounding."""


@dataclass(frozen=True)
class Permutations:
    """Deviations of labels from what is expected of them, as observed and as dealt anew."""

    observed: Float[np.ndarray, " sample"]
    """Deviation of each sample's label; 0 where nothing can be exchanged."""
    permuted: Float[np.ndarray, "permutation sample"]
    """The same after groups were exchanged and labels shuffled within them."""
    rule: str
    """What was permuted, in words."""
    reason: str | None
    """Why nothing can be exchanged; None if something can."""
    _exchange: _Exchange

    def deviation(self, scores: Float[np.ndarray, "column sample"]) -> Float[np.ndarray, " column"]:
        """Return the standard deviation, over all permutations, of the product of each column with the labels.

        Args:
            scores: Columns as rows, 0 where missing.

        Undefined:
            nan where the columns are such that no permutation changes the product.
        """
        return self._exchange.deviation(scores)


@dataclass(frozen=True)
class _Exchange:
    """Groups, what is exchanged between them, and what is shuffled within them."""

    members: Int[np.ndarray, " sample"]
    """Samples sorted by block of groups, then by group."""
    starts: Int[np.ndarray, " group"]
    """First place of each group in `members`."""
    block_starts: Int[np.ndarray, " block"]
    """First group of each block; groups are exchanged within a block."""
    scale: Float[np.ndarray, " group"]
    """Standard deviation of a group's mean label, up to a constant."""
    between: Float[np.ndarray, " group"]
    """Deviation of a group's mean label, over its scale; the mean over a block is 0."""
    within: Float[np.ndarray, " sample"]
    """Deviation of each sample's label from the mean of its group, in the order of `members`."""

    @property
    def sizes(self) -> Int[np.ndarray, " group"]:
        return np.diff(np.append(self.starts, len(self.members)))

    def observed(self) -> Float[np.ndarray, " sample"]:
        """Return the deviations of the labels as they are."""
        out = np.empty(len(self.members))
        out[self.members] = np.repeat(self.scale * self.between, self.sizes) + self.within
        return out

    def permuted(self, n: int, generator: np.random.Generator) -> Float[np.ndarray, "permutation sample"]:
        """Return the deviations of the labels dealt anew."""
        moved = np.tile(self.between, (n, 1))
        for start, stop in _spans(self.block_starts, len(self.between)):
            if np.any(self.between[start:stop]):
                moved[:, start:stop] = generator.permuted(moved[:, start:stop], axis=1)
        placed = np.repeat(moved * self.scale, self.sizes, axis=1)
        mixed = np.add.reduceat(np.abs(self.within), self.starts) > 0
        for size in np.unique(self.sizes[mixed]):
            places = self.starts[mixed & (self.sizes == size), None] + np.arange(size)
            shuffled = generator.permuted(np.tile(self.within[places], (n, 1, 1)), axis=2)
            placed[:, places.ravel()] += shuffled.reshape(n, -1)
        out = np.empty_like(placed)
        out[:, self.members] = placed
        return out

    def deviation(self, scores: Float[np.ndarray, "column sample"]) -> Float[np.ndarray, " column"]:
        """Return the exact standard deviation of `scores @ permuted` over all permutations."""
        ordered, sizes = scores[:, self.members], self.sizes
        sums = np.add.reduceat(ordered, self.starts, axis=1)
        total = np.zeros(len(scores))
        scaled = sums * self.scale
        for start, stop in _spans(self.block_starts, len(sizes)):
            spread = np.square(self.between[start:stop]).sum()
            if spread > 0:
                part = scaled[:, start:stop] - scaled[:, start:stop].mean(axis=1, keepdims=True)
                total += np.einsum("cg,cg->c", part, part) * spread / (stop - start - 1)
        inner = np.add.reduceat(np.square(self.within), self.starts)
        if np.any(inner > 0):
            apart = ordered - np.repeat(sums / sizes, sizes, axis=1)
            squares = np.add.reduceat(np.square(apart), self.starts, axis=1)
            total += squares @ (inner / np.maximum(sizes - 1, 1))
        most = np.einsum("cs,cs->c", scores, scores) * np.square(self.observed()).mean()
        return np.asarray(np.where(total > _TOLERANCE * most, np.sqrt(total), np.nan))


def permuted_labels(
    label: Shaped[np.ndarray, " sample"],
    *,
    residual: Float[np.ndarray, " sample"] | None = None,
    group: Shaped[np.ndarray, " sample"] | None = None,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    order: Int[np.ndarray, " sample"] | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Permutations:
    """Return labels dealt anew under the null hypothesis that the label is independent of every column.

    A label is the mean of its group plus a deviation from it. Means are exchanged between groups, deviations are
    shuffled within each group; both only within strata. This is used in every case, and is

    * for independent samples: the permutation of their labels;
    * for groups of one label: the permutation of labels between whole groups;
    * for groups with both labels: means have a variance that depends on the size n of the group, rho + (1 - rho) / n
      with the correlation rho of labels within groups, so each mean is divided by its standard deviation before it
      moves and multiplied by that of the group it moves to.

    Labels may depend on the size of a group, as where long tasks fail and have many answers. So means are exchanged
    between groups of similar size: groups of a stratum are sorted by size and cut into blocks of at least 7; groups of
    one size stay together.

    The permutation is exact for independent samples and for groups of one label, whatever their sizes, and approximate
    for groups with both labels. Flipping the signs of the groups' score contributions needs no exchange, but has
    hardly any power where few groups have the rarer label: theirs are the only large contributions, and some of many
    columns reach any pattern of a few signs by chance.

    A group belongs to the stratum of most of its samples.

    Args:
        label: 1 positive, 0 negative.
        residual: What baselines leave of each label; it is dealt instead of the label, as if it were one. The
            permutation is approximate then (Freedman & Lane).
        group: Names of groups of dependent samples; None: all samples are independent.
        stratum: Names of task types; labels are permuted only within a type.
        order: Order in which random numbers are dealt, from `content_order`; None: as given.
        n_permutations: Number of permutations.
        seed: Seed of a local generator.

    Undefined:
        `reason` is set where no exchange changes a label, as where labels are constant within every stratum.

    Source:
        Freedman & Lane (1983) and Winkler et al. (2014, 2015), permutation of residuals within exchangeability blocks,
        whole blocks and within blocks; sign flips: Hemerik, Goeman & Finos (2020).
    """
    n = label.size
    order = np.arange(n) if order is None else order
    positive = np.asarray(label == 1 if residual is None else residual, dtype=np.float64)[order]
    codes = np.arange(n) if group is None else group_numbers(group[order])
    kinds = np.zeros(n, dtype=np.int64) if stratum is None else group_numbers(stratum[order])
    exchange = _exchange(positive, codes, kinds)
    back = _Exchange(order[exchange.members], *(getattr(exchange, name) for name in _REST))
    moving = np.any(exchange.between) or np.any(exchange.within)
    generator = np.random.default_rng(seed)
    observed = back.observed() if moving else np.zeros(n)
    permuted = back.permuted(n_permutations, generator) if moving else np.zeros((n_permutations, n))
    rule = _rule(exchange, stratum is not None) + " (of what baselines leave of them)" * (residual is not None)
    return Permutations(observed, permuted, rule, _reason(positive, moving), back)


_REST = ("starts", "block_starts", "scale", "between", "within")


def _exchange(
    positive: Float[np.ndarray, " sample"], codes: Int[np.ndarray, " sample"], kinds: Int[np.ndarray, " sample"]
) -> _Exchange:
    """Return what is exchanged; group codes and strata are numbered from 0."""
    sizes = np.bincount(codes)
    deviation = positive - (np.bincount(kinds, weights=positive) / np.maximum(np.bincount(kinds), 1))[kinds]
    mean = np.bincount(codes, weights=deviation) / np.maximum(sizes, 1)
    scale = _scale(deviation, codes, sizes)
    kind_of_group = _most_frequent(codes, kinds)
    blocks = _blocks(kind_of_group, sizes)
    arranged = np.lexsort((np.arange(sizes.size), blocks))
    place = np.empty_like(arranged)
    place[arranged] = np.arange(sizes.size)
    members = np.argsort(place[codes], kind="stable")
    block_starts = np.flatnonzero(np.diff(blocks[arranged], prepend=-1))
    between = np.zeros(sizes.size)
    for start, stop in _spans(block_starts, sizes.size):
        here = arranged[start:stop]
        if np.ptp(mean[here]) > _TOLERANCE:
            centre = np.sum(mean[here] / scale[here]) / np.sum(1 / scale[here])
            between[start:stop] = (mean[here] - centre) / scale[here]
    ordered = sizes[arranged]
    within = (deviation - mean[codes])[members]
    within[np.abs(within) < _TOLERANCE] = 0.0
    return _Exchange(members, np.cumsum(ordered) - ordered, block_starts, scale[arranged], between, within)


def _scale(
    deviation: Float[np.ndarray, " sample"], codes: Int[np.ndarray, " sample"], sizes: Int[np.ndarray, " group"]
) -> Float[np.ndarray, " group"]:
    """Return the standard deviation of each group's mean label, up to a constant, from the correlation in groups."""
    squares = np.bincount(codes, weights=np.square(deviation))
    inner = float(np.sum((sizes - 1) * squares))
    shared = float(np.sum(np.square(np.bincount(codes, weights=deviation)) - squares))
    correlation = 1.0 if inner <= 0 else float(np.clip(shared / inner, 0.0, 1.0))
    if correlation > 1 - _TOLERANCE:
        return np.ones(sizes.size)
    return np.asarray(np.sqrt(correlation + (1 - correlation) / sizes))


def _most_frequent(codes: Int[np.ndarray, " sample"], kinds: Int[np.ndarray, " sample"]) -> Int[np.ndarray, " group"]:
    """Return the stratum of most samples of each group; of equals the first."""
    n_kinds = int(kinds.max(initial=0)) + 1
    pairs, counts = np.unique(codes * n_kinds + kinds, return_counts=True)
    best = np.lexsort((pairs, -counts, pairs // n_kinds))
    firsts = best[np.flatnonzero(np.diff(pairs[best] // n_kinds, prepend=-1))]
    return np.asarray(pairs[firsts] % n_kinds)


def _blocks(kind: Int[np.ndarray, " group"], sizes: Int[np.ndarray, " group"]) -> Int[np.ndarray, " group"]:
    """Return blocks of groups of one stratum and of similar size."""
    blocks = np.zeros(sizes.size, dtype=np.int64)
    last = -1
    for value in np.unique(kind):
        here = np.flatnonzero(kind == value)
        distinct, counts = np.unique(sizes[here], return_counts=True)
        waiting, left, edges = 0, here.size, []
        for size, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            if waiting >= _FEWEST_ALIKE and left >= _FEWEST_ALIKE:
                edges.append(size)
                waiting = 0
            waiting, left = waiting + count, left - count
        blocks[here] = last + 1 + np.searchsorted(edges, sizes[here], side="right")
        last += 1 + len(edges)
    return blocks


def _spans(starts: Int[np.ndarray, " block"], n: int) -> list[tuple[int, int]]:
    return list(zip(starts.tolist(), [*starts[1:].tolist(), n], strict=True)) if n else []


def _rule(exchange: _Exchange, stratified: bool) -> str:
    within = " within strata" if stratified else ""
    if not np.any(exchange.within):
        units = "samples" if np.all(exchange.sizes == 1) else "whole groups"
        return f"labels permuted between {units}{within}"
    return f"mean labels permuted between groups of similar size, and labels shuffled in groups{within}"


def _reason(positive: Float[np.ndarray, " sample"], moving: object) -> str | None:
    if moving:
        return None
    if positive.size == 0 or positive.min() == positive.max():
        return "only one class is present"
    return "labels cannot be exchanged: each stratum, or each set of groups of similar size, has one label"
