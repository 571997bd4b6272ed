"""Correction for multiple testing: false discovery rate, and permutation max-statistic.

Among a thousand heads some correlate with any label by chance. The false discovery rate bounds the expected share of
false discoveries. The max-statistic compares each head with the *largest* statistic of all heads under permuted
labels, which bounds the probability of even one false discovery (family-wise error rate).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats

from foretell.errors import InputError
from foretell.stats.auc.rank_sums import Engine, midranks
from foretell.stats.folds import group_codes

__all__ = [
    "MaxStatistic",
    "Permutations",
    "benjamini_hochberg",
    "blockwise_max_statistic",
    "max_statistic",
    "permuted_labels",
]

_TOLERANCE = 1e-9
_BLOCK = 1 << 22


def benjamini_hochberg(pvalue: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Smallest false discovery rate at which each test is rejected.

    Args:
        pvalue: In [0, 1]; nan where a test is undefined, which removes it from the family.

    Undefined:
        nan where the p-value is.

    Source:
        Benjamini & Hochberg (1995), `scipy.stats.false_discovery_control`.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.04, 0.04]
    """
    qvalue = np.full(pvalue.shape, np.nan)
    present = ~np.isnan(pvalue)
    qvalue[present] = stats.false_discovery_control(pvalue[present])
    return qvalue


@dataclass(frozen=True)
class Permutations:
    """Labels permuted under the null hypothesis, respecting groups and strata."""

    labels: Shaped[np.ndarray, "permutation sample"]
    """Boolean."""
    rule: str
    """What was permuted, in words."""


def permuted_labels(
    label: Shaped[np.ndarray, " sample"],
    *,
    group: Shaped[np.ndarray, " sample"] | None = None,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Permutations:
    """Return permuted labels under the null hypothesis that the label is independent of every column.

    The rule, within each stratum if strata are given:

    * every sample its own group: labels are permuted between samples;
    * groups of several samples, each group of one label: labels are permuted between whole groups;
    * groups with both labels: the labels of a group move as a block to a group of the same size, and are shuffled
      within it.

    A group belongs to one stratum, the first by name of its samples' strata.

    Args:
        label: 1 positive, 0 negative.
        group: Names of groups of dependent samples; None: all samples are independent.
        stratum: Names of task types; labels are permuted only within a type.
        n_permutations: Number of permutations.
        seed: Seed of a local generator.
    """
    generator = np.random.default_rng(seed)
    positive = label == 1
    codes = np.arange(label.size) if group is None else group_codes(group)
    n_groups = int(codes.max(initial=-1)) + 1
    stratum_of = np.zeros(n_groups, dtype=np.int64)
    if stratum is not None:
        stratum_of[:] = np.iinfo(np.int64).max
        np.minimum.at(stratum_of, codes, group_codes(stratum))
    within = "" if stratum is None else " within strata"
    sizes, positives = np.bincount(codes, minlength=n_groups), np.bincount(codes, weights=positive, minlength=n_groups)
    if np.all((positives == 0) | (positives == sizes)):
        permuted = _permuted(positives > 0, stratum_of, n_permutations, generator)
        single = bool(np.all(sizes == 1))
        rule = f"labels permuted between {'samples' if single else 'whole groups'}{within}"
        return Permutations(permuted if single and group is None else permuted[:, codes], rule)
    labels = np.empty((n_permutations, label.size), dtype=np.bool_)
    _, blocks = np.unique(np.stack([stratum_of, sizes]), axis=1, return_inverse=True)
    members = np.argsort(codes, kind="stable")
    starts = np.cumsum(sizes) - sizes
    for block in range(int(blocks.max(initial=-1)) + 1):
        groups = np.flatnonzero(blocks.ravel() == block)
        size = int(sizes[groups[0]])
        samples = members[starts[groups][:, None] + np.arange(size)]
        moved = generator.permuted(np.tile(np.arange(groups.size), (n_permutations, 1)), axis=1)
        pattern = positive[samples][moved]
        labels[:, samples.ravel()] = generator.permuted(pattern, axis=2).reshape(n_permutations, -1)
    return Permutations(labels, f"labels permuted between groups of one size and shuffled in them{within}")


@dataclass(frozen=True)
class MaxStatistic:
    """Family-wise error-corrected p-value of each column."""

    pvalue: Float[np.ndarray, " column"]
    """(1 + permutations whose largest statistic is at least the column's) / (1 + permutations); nan if undefined."""
    statistic: Float[np.ndarray, " column"]
    """Absolute standardised rank sum of the positives."""
    largest: Float[np.ndarray, " permutation"]
    """Largest statistic of any column under each permutation."""
    reason: str | None = None


def max_statistic(
    values: Float[np.ndarray, "sample column"],
    label: Shaped[np.ndarray, " sample"],
    *,
    group: Shaped[np.ndarray, " sample"] | None = None,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
    engine: Engine = "auto",
) -> MaxStatistic:
    """Probability under the null hypothesis that the largest statistic of all columns reaches each column's.

    The statistic is the rank sum of the positives, centred and divided by its standard deviation over all
    permutations of single samples (within strata: of ranks within them), so that columns with ties or missing values
    are comparable with the others. Permuting labels preserves the dependence between columns, so the correction is not
    conservative.

    Args:
        values: nan where missing.
        label: 1 positive, 0 negative.
        group: See `permuted_labels`.
        stratum: See `permuted_labels`.
        n_permutations: Number of permutations; the smallest p-value is 1 / (1 + n_permutations).
        seed: Seed of a local generator.
        engine: Compiled loops or numpy.

    Undefined:
        nan where a column is constant or empty, and everywhere when one class is absent.

    Source:
        Westfall & Young (1993), single-step maxT.
    """
    permutations = permuted_labels(label, group=group, stratum=stratum, n_permutations=n_permutations, seed=seed)
    width = max(1, _BLOCK // max(1, values.shape[0]))
    blocks = (np.ascontiguousarray(values[:, i : i + width].T) for i in range(0, values.shape[1], width))
    return blockwise_max_statistic(blocks, label, permutations, stratum=stratum, engine=engine)


def blockwise_max_statistic(
    blocks: Iterable[Float[np.ndarray, "_column sample"]],
    label: Shaped[np.ndarray, " sample"],
    permutations: Permutations,
    *,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    engine: Engine = "auto",
) -> MaxStatistic:
    """Return `max_statistic` over blocks of columns that need not be in memory at the same time.

    Args:
        blocks: Columns as rows, nan where missing; every block has the same samples.
        label: 1 positive, 0 negative.
        permutations: From `permuted_labels`, shared by all blocks.
        stratum: The strata given to `permuted_labels`.
        engine: Compiled loops or numpy.
    """
    positive = np.asarray(label == 1)
    n_permutations, n = permutations.labels.shape
    if n != positive.size:
        raise InputError("the permutations have another number of samples; make them from these labels")
    largest = np.zeros(n_permutations)
    found = [np.zeros(0)]
    shuffled = permutations.labels.astype(np.float64)
    for scores in _standardised(blocks, stratum, engine):
        found.append(np.abs(scores @ positive))
        defined = scores[~np.isnan(found[-1])]
        width = max(1, _BLOCK // max(1, n_permutations))
        for start in range(0, defined.shape[0], width):
            part = shuffled @ defined[start : start + width].T
            np.maximum(largest, np.abs(part).max(axis=1, initial=0.0), out=largest)
    m = int(np.count_nonzero(positive))
    reason = "only one class is present" if m in (0, n) else None
    reason = "no permutations were requested" if n_permutations == 0 else reason
    scale = np.sqrt(m * (n - m) / (n * (n - 1))) if 0 < m < n else np.nan
    statistic, largest = np.concatenate(found) / scale, largest / scale
    reached = n_permutations - np.searchsorted(np.sort(largest), statistic * (1 - _TOLERANCE), side="left")
    defined = ~np.isnan(statistic) & (reason is None)
    pvalue = np.where(defined, (1 + reached) / (1 + n_permutations), np.nan)
    return MaxStatistic(pvalue, statistic, largest, reason)


def _standardised(
    blocks: Iterable[Float[np.ndarray, "_column sample"]],
    stratum: Shaped[np.ndarray, " sample"] | None,
    engine: Engine,
) -> Iterator[Float[np.ndarray, "_column sample"]]:
    """Yield centred midranks of unit length per column; 0 where missing, nan where a column is constant."""
    codes = None if stratum is None else group_codes(stratum)
    for block in blocks:
        if codes is None:
            scores = _centred(midranks(block, engine=engine))
        else:
            scores = np.empty(block.shape)
            for code in range(int(codes.max(initial=-1)) + 1):
                chosen = codes == code
                scores[:, chosen] = _centred(midranks(block[:, chosen], engine=engine))
        length = np.sqrt(np.einsum("cs,cs->c", scores, scores))
        length[length == 0] = np.nan
        scores /= length[:, None]
        yield scores


def _centred(ranks: Float[np.ndarray, "column sample"]) -> Float[np.ndarray, "column sample"]:
    present = ~np.isnan(ranks)
    n = np.count_nonzero(present, axis=1)
    mean = np.where(n > 0, np.where(present, ranks, 0.0).sum(axis=1) / np.maximum(n, 1), 0.0)
    return np.where(present, ranks - mean[:, None], 0.0)


def _permuted(
    marks: Shaped[np.ndarray, " group"],
    stratum: Int[np.ndarray, " group"],
    n_permutations: int,
    generator: np.random.Generator,
) -> Shaped[np.ndarray, "permutation group"]:
    out = np.empty((n_permutations, marks.size), dtype=np.bool_)
    for code in np.unique(stratum):
        chosen = np.flatnonzero(stratum == code)
        out[:, chosen] = generator.permuted(np.tile(marks[chosen], (n_permutations, 1)), axis=1)
    return out
