"""Correction for multiple testing: false discovery rate, and permutation max-statistic.

Among a thousand heads some correlate with any label by chance. The false discovery rate bounds the expected share of
false discoveries. The max-statistic compares each head with the *largest* statistic of all heads under permuted
labels, which bounds the probability of even one false discovery (family-wise error rate).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats

from foretell.errors import InputError
from foretell.stats.auc.rank_sums import Engine, midranks
from foretell.stats.folds import group_numbers
from foretell.stats.heads.permutations import Permutations, permuted_labels
from foretell.stats.table.contents import Contents, content_order

__all__ = [
    "MaxStatistic",
    "benjamini_hochberg",
    "blockwise_max_statistic",
    "in_parts",
    "joined_max_statistic",
    "max_statistic",
]

_TOLERANCE = 1e-9
"""Statistics of unit variance that differ by less are equal."""
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
class MaxStatistic:
    """Family-wise error-corrected p-value of each column."""

    pvalue: Float[np.ndarray, " column"]
    """(1 + permutations whose largest statistic is at least the column's) / (1 + permutations); nan if undefined."""
    statistic: Float[np.ndarray, " column"]
    """Absolute standardised association of the column with the label."""
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

    The statistic is the product of centred midranks (within strata: of ranks within them) and of the deviations of
    labels, over its standard deviation under all permutations, so that columns with ties, missing values or values that
    groups share are comparable with the others. It is proportional to the AUC (within strata) minus one half, but where
    groups of different sizes are compared with groups of similar size. Permuting labels preserves the dependence
    between columns, so the correction is not conservative. The order of the samples has no influence.

    Args:
        values: nan where missing.
        label: 1 positive, 0 negative.
        group: See `permuted_labels`.
        stratum: See `permuted_labels`.
        n_permutations: Number of permutations; the smallest p-value is 1 / (1 + n_permutations).
        seed: Seed of a local generator.
        engine: Compiled loops or numpy.

    Undefined:
        nan where no permutation changes the statistic of a column, as of a constant one; everywhere, with a reason,
        when no label can be exchanged.

    Source:
        Westfall & Young (1993), single-step maxT.
    """
    contents = Contents.none(values.shape[0])
    columns = np.arange(values.shape[1])
    contents.add(values.T, columns, columns, columns)
    permutations = permuted_labels(
        label,
        group=group,
        stratum=stratum,
        order=content_order(contents.ranked, label, group=group, stratum=stratum),
        n_permutations=n_permutations,
        seed=seed,
    )
    return blockwise_max_statistic(in_parts(values.T), permutations, stratum=stratum, engine=engine)


def in_parts(columns: Float[np.ndarray, "column sample"]) -> Iterator[Float[np.ndarray, "_column sample"]]:
    """Yield columns in contiguous blocks of bounded size.

    Args:
        columns: Columns as rows.
    """
    width = max(1, _BLOCK // max(1, columns.shape[1]))
    return (np.ascontiguousarray(columns[start : start + width]) for start in range(0, columns.shape[0], width))


def blockwise_max_statistic(
    blocks: Iterable[Float[np.ndarray, "_column sample"]],
    permutations: Permutations,
    *,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    engine: Engine = "auto",
) -> MaxStatistic:
    """Return `max_statistic` over blocks of columns that need not be in memory at the same time.

    Args:
        blocks: Columns as rows, nan where missing; every block has the same samples.
        permutations: From `permuted_labels`, shared by all blocks.
        stratum: The strata given to `permuted_labels`.
        engine: Compiled loops or numpy.
    """
    n_permutations, n = permutations.permuted.shape
    largest = np.zeros(n_permutations)
    found = [np.zeros(0)]
    codes = None if stratum is None else group_numbers(stratum)
    for block in blocks:
        if block.shape[1] != n:
            raise InputError("the permutations have another number of samples; make them from these labels")
        if permutations.reason is not None:
            found.append(np.full(block.shape[0], np.nan))
            continue
        scores = _centred_ranks(block, codes, engine)
        deviation = permutations.deviation(scores)
        found.append(np.abs(scores @ permutations.observed) / deviation)
        scores, deviation = scores[~np.isnan(deviation)], deviation[~np.isnan(deviation)]
        width = max(1, _BLOCK // max(1, n_permutations))
        for start in range(0, scores.shape[0], width):
            part = permutations.permuted @ scores[start : start + width].T
            part /= deviation[start : start + width]
            np.maximum(largest, np.abs(part, out=part).max(axis=1, initial=0.0), out=largest)
    reason = permutations.reason or ("no permutations were requested" if n_permutations == 0 else None)
    return _compared(np.concatenate(found), largest, reason)


def joined_max_statistic(parts: Sequence[MaxStatistic]) -> MaxStatistic:
    """Return the max-statistic of blocks of columns that were read apart, under the same permutations."""
    largest = np.maximum.reduce([part.largest for part in parts])
    return _compared(np.concatenate([part.statistic for part in parts]), largest, parts[0].reason)


def _compared(
    statistic: Float[np.ndarray, " column"], largest: Float[np.ndarray, " permutation"], reason: str | None
) -> MaxStatistic:
    """Return the p-values of statistics among the largest of each permutation."""
    n_permutations = len(largest)
    reached = n_permutations - np.searchsorted(np.sort(largest), statistic - _TOLERANCE, side="left")
    defined = ~np.isnan(statistic) & (reason is None)
    pvalue = np.where(defined, (1 + reached) / (1 + n_permutations), np.nan)
    return MaxStatistic(pvalue, statistic, largest, reason)


def _centred_ranks(
    block: Float[np.ndarray, "column sample"], codes: Int[np.ndarray, " sample"] | None, engine: Engine
) -> Float[np.ndarray, "column sample"]:
    """Return centred midranks, within strata if there are any; 0 where missing."""
    if codes is None:
        return _centred(midranks(block, engine=engine))
    scores = np.empty(block.shape)
    for code in range(int(codes.max(initial=-1)) + 1):
        chosen = codes == code
        scores[:, chosen] = _centred(midranks(block[:, chosen], engine=engine))
    return scores


def _centred(ranks: Float[np.ndarray, "column sample"]) -> Float[np.ndarray, "column sample"]:
    """Return ranks minus their mean, which is known exactly: it is half the number of ranks plus one."""
    mean = (np.count_nonzero(~np.isnan(ranks), axis=1) + 1) / 2
    return np.asarray(np.nan_to_num(ranks - mean[:, None], copy=False))
