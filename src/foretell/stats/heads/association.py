"""Association of each head's metric with the label: correlations and AUC with p-values and intervals.

A positive correlation (AUC above one half) means that the behaviour is more likely where the metric is higher.

Thousands of columns are tested at once; `max_statistic` corrects for their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Num, Shaped, UInt
from scipy import special

from foretell.errors import InputError
from foretell.jobs.progress_bar import progress_bar
from foretell.schema.tables import ASSOCIATION, conform
from foretell.stats.auc.clustered import (
    clustered_auc_variance,
    clustered_pearson_pvalue,
    clustered_rank_pvalue,
)
from foretell.stats.auc.intervals import degrees_of_freedom, interval_of_auc
from foretell.stats.auc.rank_sums import ColumnSums, Engine, column_sums
from foretell.stats.auc.within_strata import NO_STRATUM, NO_STRATUM_WITH_BOTH, auc_within_strata
from foretell.stats.detectors.adjustment import Explained, without
from foretell.stats.folds import group_codes
from foretell.stats.heads.max_statistic import MaxStatistic, benjamini_hochberg, blockwise_max_statistic, in_parts
from foretell.stats.heads.permutations import Permutations, permuted_labels
from foretell.stats.table.contents import content_order, content_seed, dataset_contents
from foretell.stats.table.dense import dense_dataset
from foretell.stats.table.joined import StudyTable

__all__ = [
    "ColumnStatistics",
    "association",
    "association_frame",
    "column_statistics",
    "dataset_permutations",
    "statistics_from_sums",
    "strongest_head",
]


_CONSTANT_WITHIN = "the column is constant, or is wherever labels can be exchanged"


@dataclass(frozen=True)
class ColumnStatistics:
    """Association of every column with the label; nan where undefined, and `reason` says why."""

    n: Int[np.ndarray, " column"]
    n_positive: Int[np.ndarray, " column"]
    pearson: Float[np.ndarray, " column"]
    pearson_p: Float[np.ndarray, " column"]
    spearman: Float[np.ndarray, " column"]
    spearman_p: Float[np.ndarray, " column"]
    auc: Float[np.ndarray, " column"]
    auc_variance: Float[np.ndarray, " column"]
    """DeLong's variance (Obuchowski's where groups hold several samples)."""
    auc_lower: Float[np.ndarray, " column"]
    auc_upper: Float[np.ndarray, " column"]
    auc_p: Float[np.ndarray, " column"]
    auc_within: Float[np.ndarray, " column"]
    """AUC over pairs of one stratum; nan without strata."""
    reason: tuple[str | None, ...]
    level: float
    method: str
    """How p-values and intervals were computed."""


def column_statistics(
    values: Num[np.ndarray, "sample column"],
    label: Shaped[np.ndarray, " sample"],
    *,
    group: Shaped[np.ndarray, " sample"] | None = None,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    level: float = 0.95,
    engine: Engine = "auto",
) -> ColumnStatistics:
    """Correlations and AUC of every column with a binary label, with two-sided p-values and intervals.

    For independent samples, Pearson's and Spearman's p-values are those of Student's t, and the AUC's is that of the
    Mann-Whitney test (normal approximation, corrected for ties and continuity). With groups of several samples, all
    three are cluster-robust score tests (`foretell.stats.auc.clustered`); Spearman's and the AUC's are then the same
    test.

    Args:
        values: nan where missing; float32 is used without rounding.
        label: 1 positive, 0 negative.
        group: Names of groups of dependent samples; None: all samples are independent.
        stratum: Names of task types, for the AUC within them only.
        level: Intended coverage of the AUC's interval, in (0, 1).
        engine: Compiled loops or numpy.

    Undefined:
        Everything where a column has fewer than two values or one class; correlations and interval where it is
        constant (the AUC is then 0.5, its p-value 1); the interval where a class has fewer than two samples
        (groups); Pearson's where a value is infinite; the p-value of Spearman where there are two values.

    Source:
        Must equal `scipy.stats.pearsonr`, `spearmanr`, `mannwhitneyu(method="asymptotic", use_continuity=True)`
        and `sklearn.metrics.roc_auc_score`; variance by DeLong et al. (1988).

    Example:
        >>> statistics = column_statistics(np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([0, 0, 1, 1]))
        >>> float(statistics.auc[0])
        0.75
    """
    columns = values.T if values.dtype in (np.float32, np.float64) else values.T.astype(np.float64)
    columns = np.ascontiguousarray(columns)
    positive = np.asarray(label == 1)
    sums = column_sums(columns, positive.astype(np.uint32), engine=engine)
    codes = None if group is None else group_codes(group)
    if codes is not None and np.unique(codes).size < codes.size:
        found = _clustered(columns, positive, codes, sums, level=level, engine=engine)
    else:
        found = statistics_from_sums(sums, level=level)
    if stratum is None:
        return found
    return replace(found, auc_within=auc_within_strata(columns, positive, stratum, engine=engine))


def association_frame(
    dataset: str,
    columns: pl.DataFrame,
    statistics: ColumnStatistics,
    largest: MaxStatistic | None,
    *,
    stratified: bool = False,
) -> pl.DataFrame:
    """Return the statistics of a dataset's columns in the columns of the association table.

    False discovery rates are taken over all columns of the dataset.

    Args:
        dataset: Its name.
        columns: Layer, head and metric of each column.
        statistics: Of the same columns in the same order.
        largest: Likewise; None without permutations.
        stratified: Whether samples have strata.
    """
    names = ("pearson", "pearson_p", "spearman", "spearman_p", "auc", "auc_lower", "auc_upper", "auc_p", "auc_within")
    frame = columns.with_columns(
        pl.lit(dataset).alias("dataset"),
        pl.Series("n", statistics.n),
        pl.Series("n_positive", statistics.n_positive),
        *(pl.Series(name, getattr(statistics, name)) for name in names),
        pl.Series("q_value", benjamini_hochberg(statistics.auc_p)),
        pl.Series("p_max", np.full(columns.height, np.nan) if largest is None else largest.pvalue),
        pl.Series("reason", statistics.reason, dtype=pl.String),
    )
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    for name, why in {
        "p_max": "no permutations were requested" if largest is None else largest.reason or _CONSTANT_WITHIN,
        "auc_within": NO_STRATUM_WITH_BOTH if stratified else NO_STRATUM,
    }.items():
        unexplained = pl.col("reason").is_null() & pl.col(name).is_null()
        frame = frame.with_columns(pl.when(unexplained).then(pl.lit(why)).otherwise("reason").alias("reason"))
    return conform(frame, ASSOCIATION)


def strongest_head(family: pl.DataFrame) -> dict[str, Any] | None:
    """Return the row of one dataset's association table that the permutations rank first, or None without rows.

    It is the row with the smallest `p_max`; of equals, that with the largest distance from one half of the AUC that was
    permuted: within strata where it is defined, else over all pairs. A sentence about the strongest head must name this
    AUC.

    Args:
        family: Rows of one dataset.

    Example:
        >>> rows = {"layer": [0, 0], "head": [0, 1], "metric": "PAM", "p_max": 0.001, "q_value": 0.2}
        >>> family = pl.DataFrame({**rows, "auc": [0.7, 0.5], "auc_within": [0.6, 0.2]})
        >>> strongest_head(family)["head"]
        1
    """
    distance = (pl.coalesce("auc_within", "auc") - 0.5).abs()
    keys = {"p_max": False, "_distance": True, "q_value": False, "layer": False, "head": False, "metric": False}
    ranked = family.with_columns(_distance=distance).sort(list(keys), descending=list(keys.values()), nulls_last=True)
    return ranked.drop("_distance").row(0, named=True) if family.height else None


def dataset_permutations(
    label: Shaped[np.ndarray, " sample"],
    content: UInt[np.ndarray, " sample"],
    *,
    residual: Float[np.ndarray, " sample"] | None = None,
    group: Shaped[np.ndarray, " sample"] | None,
    stratum: Shaped[np.ndarray, " sample"] | None,
    n_permutations: int,
    seed: int,
) -> Permutations:
    """Return the permutations of one dataset, which names and the order of its samples do not change.

    Args:
        label: Of each sample.
        content: Key of each sample, `Contents.ranked`.
        residual: See `permuted_labels`.
        group: See `permuted_labels`.
        stratum: See `permuted_labels`.
        n_permutations: See `permuted_labels`.
        seed: Seed of the study.
    """
    return permuted_labels(
        label,
        residual=residual,
        group=group,
        stratum=stratum,
        order=content_order(content, label, group=group, stratum=stratum),
        n_permutations=n_permutations,
        seed=content_seed(seed, "permutations", content),
    )


def association(
    table: StudyTable,
    *,
    explained: Mapping[str, Explained] | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    progress: bool | None = None,
) -> pl.DataFrame:
    """Association of every dataset, layer, head and metric with the label, in the columns of the association table.

    Samples of one group are kept together in every interval, p-value and permutation. False discovery rates and
    max-statistic p-values are over all heads and metrics of a dataset. Where the table has strata, the max-statistic
    ranks and permutes within them, so that a head that only separates task types has no small `p_max`, and `auc_within`
    is the AUC within them; all other columns ignore strata.

    Args:
        table: From `read_table`.
        explained: By dataset, what baselines explain; the max-statistic is that of what they leave of label and metric,
            so that a head which only tells what the baselines know has no small `p_max`.
        n_permutations: Permutations of the max-statistic; 0 leaves it out (p_max is null).
        seed: Seed of the permutations.
        level: Intended coverage of the AUC's interval.
        progress: Show a progress bar; None means only on a terminal.

    Raises:
        InputError: The level is not between 0 and 1, or the number of permutations is negative.
    """
    if not 0 < level < 1 or n_permutations < 0:
        raise InputError(f"level {level} must lie between 0 and 1, and {n_permutations} permutations be 0 or more")
    frames = []
    for dataset in progress_bar(table.datasets, desc="association", unit="dataset", progress=progress):
        data = dense_dataset(table, dataset)
        values = data.by_column.T
        statistics = column_statistics(values, data.label, group=data.group, stratum=data.stratum, level=level)
        largest, known = None, None if explained is None else explained.get(dataset)
        if n_permutations:
            permutations = dataset_permutations(
                data.label,
                dataset_contents(data).ranked,
                residual=None if known is None else known.residual,
                group=data.group,
                stratum=data.stratum,
                n_permutations=n_permutations,
                seed=seed,
            )
            blocks: Iterable[np.ndarray] = in_parts(data.by_column)
            if known is not None:
                blocks = (np.ascontiguousarray(without(block.T, known.known).T) for block in blocks)
            largest = blockwise_max_statistic(blocks, permutations, stratum=data.stratum)
        rank = pl.col("metric").replace_strict(list(table.metrics), list(range(len(table.metrics))))
        places = data.column_index().sort(rank, "layer", "head")
        found = association_frame(dataset, places, statistics, largest, stratified=data.stratum is not None)
        frames.append(found.sort("layer", "head", rank))
    return pl.concat(frames)


def statistics_from_sums(sums: ColumnSums, *, level: float = 0.95) -> ColumnStatistics:
    """Return the statistics of columns of independent samples from their sums (see `column_statistics`)."""
    n, m, q, area, pearson, spearman = _estimates(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = n / 2 - 1
        pearson_p = 2 * special.betaincc(rest, rest, (np.abs(pearson) + 1) / 2)
        pearson_p = np.where(n == 2, np.where(np.isnan(pearson), np.nan, 1.0), np.minimum(pearson_p, 1.0))
        statistic = spearman * np.sqrt(np.maximum((n - 2) / ((spearman + 1) * (1 - spearman)), 0))
        spearman_p = np.where(n == 2, np.nan, 2 * special.stdtr(n - 2, -np.abs(statistic)))
        spread = np.sqrt(m * q / 12 * ((n + 1) - sums.ties / (n * (n - 1))))
        distance = np.abs(sums.wins / 2 - m * q / 2) - 0.5
        auc_p = np.where(spread > 0, np.minimum(2 * special.ndtr(-distance / spread), 1.0), 1.0)
        high = (sums.squares_of_positive / (4 * q * q) - m * area**2) / (m - 1)
        low = (sums.squares_of_negative / (4 * m * m) - q * area**2) / (q - 1)
        high, low = np.maximum(high, 0) / m, np.maximum(low, 0) / q
        variance = np.where((m < 2) | (q < 2), np.nan, high + low)
        degrees = degrees_of_freedom(variance, high, low, m, q)
    auc_p = np.where(np.isnan(area), np.nan, auc_p)
    return _with_intervals(
        sums,
        (pearson, pearson_p, spearman, spearman_p, area, variance, auc_p),
        sizes=(m, q, degrees),
        level=level,
        method="Student's t; Mann-Whitney; DeLong, Newcombe score",
    )


def _clustered(
    columns: Float[np.ndarray, "column sample"],
    positive: Shaped[np.ndarray, " sample"],
    codes: Int[np.ndarray, " sample"],
    sums: ColumnSums,
    *,
    level: float,
    engine: Engine,
) -> ColumnStatistics:
    """Return the statistics of columns whose samples are dependent within groups."""
    label = positive.astype(np.float64)
    _, _, _, area, pearson, spearman = _estimates(sums)
    spread = clustered_auc_variance(columns, label, codes, engine=engine)
    pearson_p = np.where(np.isnan(pearson), np.nan, clustered_pearson_pvalue(columns, label, codes))
    rank_p = clustered_rank_pvalue(columns, label, codes, engine=engine)
    constant = np.isnan(spearman) & ~np.isnan(area)
    auc_p = np.where(np.isnan(area), np.nan, np.where(constant, 1.0, rank_p))
    return _with_intervals(
        sums,
        (pearson, pearson_p, spearman, np.where(np.isnan(spearman), np.nan, rank_p), area, spread.variance, auc_p),
        sizes=(spread.n_positive, spread.n_negative, spread.degrees),
        level=level,
        method="score tests clustered by groups; Obuchowski, Newcombe score",
    )


def _estimates(sums: ColumnSums) -> tuple[np.ndarray, ...]:
    """Return n, positives, negatives, AUC, Pearson and Spearman of each column."""
    n, m = sums.n.astype(np.float64), sums.n_positive.astype(np.float64)
    q = n - m
    with np.errstate(divide="ignore", invalid="ignore"):
        area = np.where((m > 0) & (q > 0), sums.wins / (2 * m * q), np.nan)
        pearson = np.clip(sums.contrast / np.sqrt(sums.spread * (m * q / n)), -1, 1)
        rank_spread = np.where(sums.ties < n**3 - n, (n**3 - n - sums.ties) / 12, np.nan)
        spearman = np.clip((sums.wins - m * q) / 2 / np.sqrt(rank_spread * (m * q / n)), -1, 1)
    undefined = np.isnan(area)
    return n, m, q, area, np.where(undefined, np.nan, pearson), np.where(undefined, np.nan, spearman)


def _with_intervals(
    sums: ColumnSums,
    numbers: tuple[np.ndarray, ...],
    *,
    sizes: tuple[np.ndarray, np.ndarray, np.ndarray],
    level: float,
    method: str,
) -> ColumnStatistics:
    """Return the statistics with the AUC's interval and the reasons of undefined numbers."""
    pearson, pearson_p, spearman, spearman_p, area, variance, auc_p = numbers
    constant = sums.ties >= sums.n.astype(np.float64) ** 3 - sums.n
    with np.errstate(divide="ignore", invalid="ignore"):
        lower, upper = interval_of_auc(
            area, variance, *sizes[:2], degrees=sizes[2], independent="groups" not in method, level=level
        )
    undefined = np.isnan(variance) | np.isnan(area) | constant
    unit = "group" if "groups" in method else "sample"
    reason = np.select(
        [
            sums.n == 0,
            sums.n < 2,
            np.isnan(area),
            constant,
            undefined,
            sums.infinite,
            np.isnan(pearson_p) | np.isnan(spearman_p) | np.isnan(auc_p),
        ],
        [
            "no values",
            "fewer than two values",
            "only one class is present",
            "the column is constant",
            f"a class has fewer than two {unit}s: no interval",
            "a value is infinite",
            f"fewer than three {unit}s: not every p-value is defined",
        ],
        default="",
    )
    return ColumnStatistics(
        n=sums.n,
        n_positive=sums.n_positive,
        pearson=pearson,
        pearson_p=pearson_p,
        spearman=spearman,
        spearman_p=spearman_p,
        auc=area,
        auc_variance=np.where(undefined, np.nan, variance),
        auc_lower=np.where(undefined, np.nan, lower),
        auc_upper=np.where(undefined, np.nan, upper),
        auc_p=auc_p,
        auc_within=np.full(area.shape, np.nan),
        reason=tuple(str(text) or None for text in reason),
        level=level,
        method=method,
    )
