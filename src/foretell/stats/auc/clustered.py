"""Cluster-robust variances and p-values of many columns at once.

Answers to one prompt are not independent. Contributions to a statistic are summed within each group first, and the
variance is taken over groups, so that many answers to one prompt count for little more than one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import special

from foretell.stats.auc.intervals import AucVariance, degrees_of_freedom, effective_groups
from foretell.stats.auc.rank_sums import Engine, compiled_loops, in_blocks, midranks, sort_order

__all__ = [
    "clustered_auc_variance",
    "clustered_pearson_pvalue",
    "clustered_rank_pvalue",
    "group_contributions",
    "group_sums",
    "placement_counts",
]

_TOLERANCE = 1e-12
"""Sums that are smaller than this share of their summands' sizes are rounding, and are zero."""


def clustered_auc_variance(
    values: Float[np.ndarray, "column sample"],
    label: Shaped[np.ndarray, " sample"],
    codes: Int[np.ndarray, " sample"],
    *,
    engine: Engine = "auto",
) -> AucVariance:
    """Cluster-robust variance of each column's AUC, and its degrees of freedom.

    Args:
        values: One column per row; nan where missing.
        label: 1 positive, 0 negative.
        codes: Integer of each sample's group, from 0.
        engine: Compiled loops or numpy.

    Undefined:
        nan where a class occurs in fewer than two groups.

    Source:
        Equal to `intervals.auc_variance` of one column.
    """
    positive = np.ascontiguousarray(label == 1, dtype=np.uint32)
    blocks = in_blocks(lambda block: _block_variance(block, positive, codes, engine), np.ascontiguousarray(values))
    return AucVariance(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


def clustered_pearson_pvalue(
    values: Float[np.ndarray, "column sample"], label: Shaped[np.ndarray, " sample"], codes: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, " column"]:
    """Two-sided p-value of the correlation of each column with the label, robust to dependence within groups.

    The variance is that of the covariance under the null hypothesis: the contribution of each group is squared and
    summed. Sandwich variances around the estimated slope are too small where groups are few, differ much in size, or
    rarely have one of the labels; their false-positive rate is then about twice the nominal one.

    Undefined:
        nan where a column is constant, has one class, or fewer than three groups, and where the contributions of all
        groups are zero up to rounding, as where all groups have the same share of positives and no values within them.

    Source:
        Rotnitzky & Jewell (1990) and Boos (1992), the generalised score test, of the slope on the label.
    """
    present = ~np.isnan(values)
    n = np.count_nonzero(present, axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.where(present, label - (np.where(present, label, 0).sum(axis=1) / n)[:, None], 0.0)
        x = np.where(present, values - (np.where(present, values, 0.0).sum(axis=1, dtype=np.float64) / n)[:, None], 0.0)
        x /= np.abs(x).max(axis=1, initial=0.0)[:, None]
        products = x * y
        scores = group_contributions(products, codes)
        statistic = np.abs(scores.sum(axis=1)) / np.sqrt(np.einsum("cg,cg->c", scores, scores))
        pvalue = 2 * special.ndtr(-statistic)
    n_groups = np.count_nonzero(group_sums(present, codes), axis=1)
    defined = (n_groups >= 3) & np.any(y != 0, axis=1)
    return np.where(defined, pvalue, np.nan)


def clustered_rank_pvalue(
    values: Float[np.ndarray, "column sample"],
    label: Shaped[np.ndarray, " sample"],
    codes: Int[np.ndarray, " sample"],
    *,
    engine: Engine = "auto",
) -> Float[np.ndarray, " column"]:
    """Two-sided p-value of Spearman's coefficient and of the AUC, robust to dependence within groups.

    Both are linear in ranks, so they share one test: `clustered_pearson_pvalue` on midranks.
    """
    return clustered_pearson_pvalue(midranks(values, engine=engine), label, codes)


def group_sums(
    values: Shaped[np.ndarray, "column sample"], codes: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, "column group"]:
    """Return the sums of values by group, in the order of the codes that occur; of no samples none."""
    if not len(codes):
        return np.zeros((len(values), 0))
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    return np.add.reduceat(values[:, order].astype(np.float64), starts, axis=1)


def group_contributions(
    values: Float[np.ndarray, "column sample"], codes: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, "column group"]:
    """Return `group_sums`, in which what is only the rounding of its summands is zero."""
    sums = group_sums(values, codes)
    sums[np.abs(sums) <= _TOLERANCE * group_sums(np.abs(values), codes)] = 0.0
    return sums


def _block_variance(
    values: Float[np.ndarray, "column sample"],
    positive: Shaped[np.ndarray, " sample"],
    codes: Int[np.ndarray, " sample"],
    engine: Engine,
) -> tuple[Float[np.ndarray, " column"], ...]:
    """Return variance, degrees of freedom and effective numbers of groups with positives and negatives."""
    present = ~np.isnan(values)
    high, low = present & (positive == 1), present & (positive == 0)
    m, q = (np.count_nonzero(chosen, axis=1).astype(np.float64)[:, None] for chosen in (high, low))
    counts = placement_counts(values, present, positive, engine)
    sizes = [group_sums(chosen, codes) for chosen in (high, low, present)]
    groups_high, groups_low, groups = (effective_groups(size) for size in sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = counts.sum(axis=1, where=high)[:, None] / (2 * m * q)
        sum_high = group_sums(np.where(high, counts / (2 * q) - area, 0.0), codes)
        sum_low = group_sums(np.where(low, counts / (2 * m) - area, 0.0), codes)
        of_high = groups_high / (groups_high - 1) * np.einsum("cg,cg->c", sum_high, sum_high) / m[:, 0] ** 2
        of_low = groups_low / (groups_low - 1) * np.einsum("cg,cg->c", sum_low, sum_low) / q[:, 0] ** 2
        shared = np.einsum("cg,cg->c", sum_high, sum_low) / (m[:, 0] * q[:, 0])
        variance = np.maximum(of_high + of_low + 2 * groups / (groups - 1) * shared, 0.0)
        degrees = degrees_of_freedom(variance, of_high, of_low, groups_high, groups_low)
    undefined = np.minimum(*(np.count_nonzero(size, axis=1) for size in sizes[:2])) < 2
    return np.where(undefined, np.nan, variance), np.where(undefined, np.nan, degrees), groups_high, groups_low


def placement_counts(
    values: Float[np.ndarray, "column sample"],
    present: Shaped[np.ndarray, "column sample"],
    positive: Shaped[np.ndarray, " sample"],
    engine: Engine,
) -> Float[np.ndarray, "column sample"]:
    """Return twice the number of negatives below each positive and of positives above each negative, ties one half.

    Args:
        values: One column per row; nan where missing.
        present: Where they are not missing.
        positive: 1 positive, 0 negative.
        engine: Compiled loops or numpy.
    """
    loops = compiled_loops(engine)
    if loops is not None:
        out = np.zeros(values.shape)
        loops.group_placements(values, sort_order(values), np.count_nonzero(present, axis=1), positive, out)
        return out
    ranks = midranks(values, engine=engine)
    among_high = midranks(np.where(positive == 1, values, np.nan), engine=engine)
    among_low = midranks(np.where(positive == 0, values, np.nan), engine=engine)
    m = np.count_nonzero(present & (positive == 1), axis=1)[:, None]
    out = np.where(positive == 1, 2 * (ranks - among_high), 2 * (m - (ranks - among_low)))
    return np.where(present, out, 0.0)
