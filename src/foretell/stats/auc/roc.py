"""ROC curves of single metrics, per dataset and pooled, at row level and at sample level.

At row level every (sample, layer, head) is an observation, as in the source study; the interval is still clustered by
sample (or group). At sample level a sample's rows are averaged first; where samples lack some rows, each row is taken
relative to the mean of its layer and head, so that the means do not compare different heads.

The pooled AUC compares a positive with the negatives of its own dataset only, because raw scores of different datasets
differ for reasons unrelated to the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Num, Shaped

from foretell.schema.tables import ROC, ROC_POINTS, conform, empty
from foretell.stats.auc.intervals import (
    AucVariance,
    Estimate,
    Placements,
    auc_variance,
    effective_groups,
    interval_of_auc,
    placements,
)
from foretell.stats.folds import group_codes
from foretell.stats.table.copies import pooled_groups
from foretell.stats.table.joined import StudyTable

__all__ = ["Curve", "Level", "RocCurves", "pooled_auc", "roc_curve", "roc_curves"]

Level = Literal["row", "sample"]
"""What is scored: every row, or the mean over a sample's rows."""

_LEVELS: tuple[Level, ...] = ("row", "sample")
_MOST_POINTS = 400
_NO_CLASSES = "no dataset has both classes"


@dataclass(frozen=True)
class Curve:
    """Points of a ROC curve from (0, 0) to (1, 1)."""

    false_positive_rate: Float[np.ndarray, " point"]
    true_positive_rate: Float[np.ndarray, " point"]

    @property
    def area(self) -> float:
        """Area under the curve by the trapezoidal rule."""
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))


@dataclass(frozen=True)
class RocCurves:
    """ROC of every dataset, metric and level."""

    curves: pl.DataFrame
    """Columns of `foretell.schema.tables.ROC`."""
    points: pl.DataFrame
    """Columns of `foretell.schema.tables.ROC_POINTS`; at most 400 points per curve."""


def roc_curve(score: Num[np.ndarray, " n"], label: Shaped[np.ndarray, " n"], *, max_points: int | None = None) -> Curve:
    """True against false positive rate at every threshold.

    Collinear points are dropped, which does not change the curve. With `max_points` the others are thinned evenly along
    the curve; compute the AUC from the scores then, not from the points.

    Args:
        score: Any monotone scale; nan is missing and ignored.
        label: 1 positive, 0 negative; both must be present.
        max_points: Largest number of points; None keeps all.

    Source:
        The points are among those of `sklearn.metrics.roc_curve`, and the area is the same without `max_points`.

    Example:
        >>> roc_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])).true_positive_rate.tolist()
        [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    present = ~np.isnan(score)
    order = np.argsort(-score[present], kind="stable")
    ordered, positive = score[present][order], (label[present] == 1)[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    hits = np.cumsum(positive)[last]
    rate = np.r_[0, hits] / hits[-1]
    alarm = np.r_[0, last + 1 - hits] / (last[-1] + 1 - hits[-1])
    return _thinned(_without_midpoints(np.r_[0, last + 1 - hits], np.r_[0, hits], alarm, rate), max_points)


def pooled_auc(
    score: Num[np.ndarray, " n"],
    label: Shaped[np.ndarray, " n"],
    within: Shaped[np.ndarray, " n"],
    *,
    group: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
) -> tuple[Estimate, Curve | None]:
    """Probability that a random positive scores above a random negative of the same dataset (or topic), ties one half.

    Args:
        score: Any monotone scale, which may differ between datasets; nan is missing and ignored.
        label: 1 positive, 0 negative.
        within: Dataset (or topic) of each value; those that lack a class are ignored.
        group: Names of groups of dependent values, within or across datasets; None: all values are independent.
        level: Intended coverage of the interval.

    Returns:
        The estimate, and the covariate-adjusted ROC curve whose area it is (None where undefined).

    Undefined:
        None when no dataset has both classes; no interval when a class of a dataset has fewer than two groups.

    Source:
        Janes & Pepe (2009), covariate-adjusted ROC curve; Obuchowski (1997) for the covariance of the AUCs of two
        datasets that have groups in common.
    """
    present = ~np.isnan(score)
    names = np.arange(score.size) if group is None else group_codes(group)
    found: list[tuple[Placements, AucVariance]] = []
    parts: list[_Part] = []
    for code in np.unique(within[present]):
        chosen = present & (within == code)
        positive = label[chosen] == 1
        if positive.all() or not positive.any():
            continue
        placed = placements(score[chosen], positive)
        high, low = names[chosen][positive], names[chosen][~positive]
        found.append((placed, auc_variance(placed, high, low)))
        parts.append(_Part(high, low))
    n = sum(part.high.size + part.low.size for part in parts)
    n_groups = np.unique(np.concatenate([np.r_[part.high, part.low] for part in parts])).size if parts else 0
    variance_of = "DeLong" if n_groups == n else "clustered DeLong (Obuchowski)"
    method = f"pairs within a dataset, {variance_of}, Newcombe score"
    if not found:
        return Estimate(None, None, None, level, 0, 0, method, reason=_NO_CLASSES), None
    weights = np.array([placed.of_positive.size for placed, _ in found], dtype=np.float64)
    weights /= weights.sum()
    placed_positives = np.concatenate([placed.of_positive for placed, _ in found])
    shares = weights**2 * np.array([spread.variance for _, spread in found])
    area, variance = float(placed_positives.mean()), float(shares.sum())
    alarm, count = np.unique(1 - placed_positives, return_counts=True)
    rate = np.cumsum(count) / placed_positives.size
    curve = Curve(np.r_[0, np.repeat(alarm, 2), 1], np.repeat(np.r_[0, rate], 2))
    if np.isnan(variance):
        reason = "a class of a dataset has fewer than two groups: no interval"
        return Estimate(area, None, None, level, n, n_groups, method, reason=reason), curve
    together = float(np.sum(shares**2 / np.array([spread.degrees for _, spread in found])))
    sizes = np.sum([(spread.n_positive, spread.n_negative) for _, spread in found], axis=0)
    degrees = variance**2 / together if together > 0 else float(sizes.min()) - 1
    if n_groups < sum(part.n_groups for part in parts):
        placed_parts = [placed for placed, _ in found]
        variance = max(variance + _shared_variance(placed_parts, parts, weights, int(names.max()) + 1), variance / 2)
        sizes = [_effective(parts, side) for side in ("high", "low")]
        degrees = min(degrees, max(min(sizes) - 1, 1.0))
    independent = n_groups == n and len(found) == 1
    lower, upper = interval_of_auc(
        area, variance, *map(float, sizes), degrees=degrees, independent=independent, level=level
    )
    return Estimate(area, float(lower), float(upper), level, n, n_groups, method), curve


@dataclass(frozen=True)
class _Part:
    """Groups of the positives and of the negatives of one dataset."""

    high: Int[np.ndarray, " positive"]
    low: Int[np.ndarray, " negative"]

    @property
    def n_groups(self) -> int:
        return int(np.unique(np.r_[self.high, self.low]).size)


def _shared_variance(
    placed: Sequence[Placements], parts: Sequence[_Part], weights: Float[np.ndarray, " part"], n_names: int
) -> float:
    """Return what groups that several datasets share add to the variance of the weighted mean of their AUCs."""
    sums = np.zeros((len(parts), n_names))
    for index, (one, part) in enumerate(zip(placed, parts, strict=True)):
        area = one.of_positive.mean()
        high = np.bincount(part.high, weights=one.of_positive - area, minlength=n_names) / part.high.size
        low = np.bincount(part.low, weights=one.of_negative - area, minlength=n_names) / part.low.size
        sums[index] = weights[index] * (high + low)
    return float(np.square(sums.sum(axis=0)).sum() - np.square(sums).sum())


def _effective(parts: Sequence[_Part], side: Literal["high", "low"]) -> float:
    """Return the effective number of groups of one class over all datasets."""
    groups = np.concatenate([getattr(part, side) for part in parts])
    return float(effective_groups(np.unique(groups, return_counts=True)[1]))


def roc_curves(table: StudyTable, *, level: float = 0.95) -> RocCurves:
    """ROC of every metric, per dataset and pooled, at row level and at sample level.

    Intervals are clustered by group at both levels. A dataset of one class has null and the reason.

    Args:
        table: From `read_table`.
        level: Intended coverage of the intervals.
    """
    rows = _rows(table)
    frames = {"row": rows, "sample": _averaged(_comparable(rows, table.metrics), table.metrics)}
    curves: list[dict[str, object]] = []
    points: list[pl.DataFrame] = [empty(ROC_POINTS)]
    datasets = [*table.datasets, *(["all"] if len(table.datasets) > 1 and "all" not in table.datasets else [])]
    for dataset in datasets:
        pooled = dataset == "all" and "all" not in table.datasets
        for metric in table.metrics:
            for kind in _LEVELS:
                frame = frames[kind] if pooled else frames[kind].filter(pl.col("dataset") == dataset)
                frame = frame.drop_nulls(metric)
                key = {"dataset": dataset, "metric": metric, "level": kind}
                estimate, curve = _judged(frame, metric, level, pooled=pooled)
                curves.append({**key, **_counts(frame), **_numbers(estimate)})
                if curve is not None:
                    points.append(_points(_thinned(curve, _MOST_POINTS), key))
    return RocCurves(conform(pl.DataFrame(curves, infer_schema_length=None), ROC), pl.concat(points))


def _rows(table: StudyTable) -> pl.DataFrame:
    """Return dataset, layer, head, codes of sample, group and pooled group, label and metrics of every row."""
    samples = table.samples.select(
        "dataset", "id", _sample=pl.int_range(pl.len()), _group=pl.struct("dataset", "group").rank("dense")
    )
    pooled = pl.col("_group")
    if len(table.datasets) > 1:
        pooled = pl.lit(pl.Series(np.concatenate(list(pooled_groups(table).values()))))
    frame = table.frame.select("dataset", "layer", "head", "id", "behavior_label", *table.metrics)
    samples = samples.with_columns(_pooled=pooled.cast(pl.Int64))
    return frame.join(samples, on=["dataset", "id"], how="left").drop("id")


def _comparable(rows: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """Return the rows with each value less the mean of its layer and head, in datasets where samples lack values."""
    heads = rows.group_by("dataset").agg(
        _n_heads=pl.struct("layer", "head").n_unique(),
        _n_samples=pl.col("_sample").n_unique(),
        _n=pl.len(),
        _n_null=pl.sum_horizontal(pl.col(list(metrics)).null_count()),
    )
    lacking = heads.filter((pl.col("_n") < pl.col("_n_heads") * pl.col("_n_samples")) | (pl.col("_n_null") > 0))
    incomplete = pl.col("dataset").is_in(lacking.get_column("dataset").to_list())
    centred = [pl.col(name) - pl.col(name).mean().over("dataset", "layer", "head") for name in metrics]
    if not lacking.height:
        return rows
    return rows.with_columns(
        pl.when(incomplete).then(new).otherwise(name).alias(name) for name, new in zip(metrics, centred, strict=True)
    )


def _averaged(rows: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    key = ["dataset", "_sample", "_group", "_pooled", "behavior_label"]
    return rows.group_by(key).agg(pl.col(list(metrics)).mean()).sort(key)


def _judged(frame: pl.DataFrame, metric: str, level: float, *, pooled: bool) -> tuple[Estimate, Curve | None]:
    score = frame.get_column(metric).to_numpy()
    label = frame.get_column("behavior_label").to_numpy()
    group = frame.get_column("_pooled" if pooled else "_group").to_numpy()
    within = frame.get_column("dataset").rank("dense").to_numpy() if pooled else np.zeros(score.size)
    estimate, curve = pooled_auc(score, label, within, group=group, level=level)
    if pooled and estimate.estimate is not None and _n_judged(frame) < 2:
        reason = "only one dataset has both classes, so there is nothing to pool"
        return replace(estimate, estimate=None, lower=None, upper=None, reason=reason), None
    if pooled or curve is None:
        return estimate, curve
    return estimate, roc_curve(score, label)


def _n_judged(frame: pl.DataFrame) -> int:
    """Return how many datasets of a frame have both classes."""
    classes = frame.group_by("dataset").agg(pl.col("behavior_label").n_unique())
    return classes.filter(pl.col("behavior_label") == 2).height


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    positive = frame.filter(pl.col("behavior_label") == 1)
    return {
        "n": frame.height,
        "n_samples": frame.get_column("_sample").n_unique(),
        "n_positive": positive.get_column("_sample").n_unique(),
    }


def _numbers(estimate: Estimate) -> dict[str, object]:
    return {
        "auc": estimate.estimate,
        "auc_lower": estimate.lower,
        "auc_upper": estimate.upper,
        "reason": "only one class is present" if estimate.reason == _NO_CLASSES else estimate.reason,
    }


def _points(curve: Curve, key: dict[str, str]) -> pl.DataFrame:
    rates = {"false_positive_rate": curve.false_positive_rate, "true_positive_rate": curve.true_positive_rate}
    names = [pl.lit(value).alias(name) for name, value in key.items()]
    return conform(pl.DataFrame(rates).with_columns(names), ROC_POINTS)


def _without_midpoints(
    alarms: Shaped[np.ndarray, " point"],
    hits: Shaped[np.ndarray, " point"],
    alarm: Float[np.ndarray, " point"],
    rate: Float[np.ndarray, " point"],
) -> Curve:
    """Return the curve without points in the middle of a horizontal or vertical line."""
    bends = (np.diff(alarms, 2) != 0) | (np.diff(hits, 2) != 0)
    kept = np.r_[True, bends, True]
    return Curve(alarm[kept], rate[kept])


def _thinned(curve: Curve, max_points: int | None) -> Curve:
    if max_points is None or curve.false_positive_rate.size <= max_points:
        return curve
    way = curve.false_positive_rate + curve.true_positive_rate
    chosen = np.unique(np.searchsorted(way, np.linspace(0, 2, max_points)).clip(0, way.size - 1))
    chosen[-1] = way.size - 1
    return Curve(curve.false_positive_rate[chosen], curve.true_positive_rate[chosen])
