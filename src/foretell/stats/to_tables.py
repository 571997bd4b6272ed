"""Results converted to the tables of `foretell.schema.tables`: one row per key, null with a reason where undefined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from foretell.schema.tables import (
    DETECTORS,
    EARLY,
    EARLY_RELATIVE,
    FOREST,
    FOREST_POINTS,
    HELD_OUT_SCORES,
    HIDDEN_LAYERS,
    IMPORTANCES,
    RELIABILITY,
    THRESHOLDS,
    TOLD_BY,
    TRANSFER,
    VERDICTS,
    Table,
    conform,
    empty,
)
from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.detector import MAJORITY, Detector
from foretell.stats.detectors.transfer import Transfer
from foretell.stats.early.curves import Curve, Point
from foretell.stats.early.probes import LayerProbe
from foretell.stats.early.relative import RelativePoint
from foretell.stats.early.told_by import FirstMoment
from foretell.stats.forest.importances import Importance
from foretell.stats.forest.random_forest import ForestResult, Protocol
from foretell.stats.forest.thresholds import ThresholdRule
from foretell.stats.signals.family import ALL, ALL_SIGNALS
from foretell.stats.verdicts.rules import Verdict

__all__ = [
    "detector_frame",
    "early_frame",
    "first_moment_frame",
    "forest_frame",
    "forest_points_frame",
    "held_out_frame",
    "hidden_layers_frame",
    "importance_frame",
    "relative_frame",
    "reliability_frame",
    "threshold_frame",
    "transfer_frame",
    "verdict_frame",
]

Row = dict[str, Any]
Behaviours = Mapping[str, str | None]
"""What label 1 means, by dataset."""


def _frame(rows: Sequence[Row], table: Table) -> pl.DataFrame:
    if not rows:
        return empty(table)
    frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    return conform(frame.with_columns(pl.col(pl.Float64).fill_nan(None)), table)


def _numbers(one: Estimate, name: str, lower: str, upper: str) -> Row:
    return {name: one.estimate, lower: one.lower, upper: one.upper}


def threshold_frame(rules: Mapping[tuple[str, str], Sequence[ThresholdRule]]) -> pl.DataFrame:
    """Return the table thresholds from rules by dataset and metric."""
    return _frame(
        [
            {
                "dataset": dataset,
                "metric": metric,
                "objective": rule.objective,
                "threshold": rule.threshold,
                "side": rule.side,
                "train_value": rule.train_value,
                **_numbers(rule.heldout, "heldout_value", "lower", "upper"),
                "reason": rule.reason,
            }
            for (dataset, metric), of_metric in rules.items()
            for rule in of_metric
        ],
        THRESHOLDS,
    )


def forest_frame(forests: Mapping[str, Mapping[Protocol, ForestResult]]) -> pl.DataFrame:
    """Return the table forest from results by dataset and protocol."""
    return _frame(
        [
            {
                "dataset": dataset,
                "protocol": protocol,
                **_numbers(result.auc, "auc", "auc_lower", "auc_upper"),
                **result.measures,
                "n": result.n_rows,
                "n_samples": result.n_samples,
                "reason": result.reason or result.auc.reason or _undefined(result.measures),
            }
            for dataset, results in forests.items()
            for protocol, result in results.items()
        ],
        FOREST,
    )


def _undefined(measures: Mapping[str, float | None]) -> str | None:
    names = [name for name, value in measures.items() if value is None]
    return f"{', '.join(names)}: the forest always predicts the same label" if names else None


def forest_points_frame(forests: Mapping[str, Mapping[Protocol, ForestResult]]) -> pl.DataFrame:
    """Return the table forest_points from results by dataset and protocol."""
    frames = []
    for dataset, results in forests.items():
        for protocol, result in results.items():
            points = result.points()
            frames.append(
                pl.DataFrame({"false_positive_rate": points[:, 0], "true_positive_rate": points[:, 1]}).with_columns(
                    pl.lit(dataset).alias("dataset"), pl.lit(protocol, dtype=pl.String).alias("protocol")
                )
            )
    return conform(pl.concat(frames), FOREST_POINTS) if frames else empty(FOREST_POINTS)


def importance_frame(found: Mapping[str, Sequence[Importance]], metrics: Sequence[str]) -> pl.DataFrame:
    """Return the table importances from importances by dataset; `metrics` are the names of the columns."""
    return _frame(
        [
            {
                "dataset": dataset,
                "protocol": one.protocol,
                "metric": metrics[one.metric],
                "kind": one.kind,
                **_numbers(one.value, "importance", "lower", "upper"),
                "reason": one.value.reason,
            }
            for dataset, importances in found.items()
            for one in importances
        ],
        IMPORTANCES,
    )


def detector_frame(found: Mapping[str, Sequence[Detector]], behaviours: Behaviours) -> pl.DataFrame:
    """Return the table detectors from detectors by dataset."""
    rows = [_detector(dataset, behaviours.get(dataset), one) for dataset, several in found.items() for one in several]
    return _frame(rows, DETECTORS)


def _reason(one: Detector) -> str | None:
    reasons = [one.reason or one.auc.reason]
    if one.reason is None and one.role == "detector":
        reasons += [f"increment: {one.increment.reason}" if one.increment.estimate is None else None]
    if one.reason is None and one.within_strata.estimate is None:
        reasons += [f"within strata: {one.within_strata.reason}"]
    return "; ".join(reason for reason in reasons if reason) or None


def _detector(dataset: str, behaviour: str | None, one: Detector) -> Row:
    return {
        "dataset": dataset,
        "detector": one.name,
        "role": one.role,
        "signal": one.signal,
        "behaviour": behaviour,
        **_numbers(one.auc, "auc", "auc_lower", "auc_upper"),
        **_numbers(one.within_strata, "auc_within_strata", "auc_within_lower", "auc_within_upper"),
        "best_baseline": one.best_baseline,
        **_numbers(one.increment, "increment", "increment_lower", "increment_upper"),
        "brier": one.brier,
        "calibration_error": one.calibration_error,
        "n": one.n,
        "n_features": one.n_features,
        "reason": _reason(one),
    }


def reliability_frame(found: Mapping[str, Sequence[Detector]]) -> pl.DataFrame:
    """Return the table reliability from detectors by dataset."""
    return _frame(
        [
            {
                "dataset": dataset,
                "detector": one.name,
                "bin": index,
                "n": bin_.n,
                "mean_probability": bin_.mean_probability,
                "observed": bin_.observed,
                "lower": bin_.lower,
                "upper": bin_.upper,
            }
            for dataset, detectors in found.items()
            for one in detectors
            for index, bin_ in enumerate(one.reliability)
        ],
        RELIABILITY,
    )


def held_out_frame(found: Mapping[str, Sequence[Detector]], ids: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Return the table held_out_scores; what scores all samples alike has none.

    Args:
        found: Detectors and baselines by dataset.
        ids: Of the samples that they score, in that order, by dataset.
    """
    frames = [
        pl.DataFrame({"id": ids[dataset]}).with_columns(
            dataset=pl.lit(dataset),
            detector=pl.lit(one.name),
            score=pl.Series(one.heldout.score.mean(axis=0) if one.heldout.n_repeats else np.full(one.n, np.nan)),
            rank=pl.Series(one.heldout.ranks()),
            reason=pl.lit(one.heldout.reason, pl.String),
        )
        for dataset, several in found.items()
        for one in several
        if one.name != MAJORITY
    ]
    whole = pl.concat(frames) if frames else empty(HELD_OUT_SCORES)
    return conform(whole.with_columns(pl.col(pl.Float64).fill_nan(None)), HELD_OUT_SCORES)


def transfer_frame(cells: Sequence[Transfer], detector: str) -> pl.DataFrame:
    """Return the table transfer from the results of one detector."""
    return _frame(
        [
            {
                "train": cell.train,
                "dataset": cell.dataset,
                "detector": detector,
                **_numbers(cell.auc, "auc", "auc_lower", "auc_upper"),
                "n_train": cell.n_train,
                "n": cell.n,
                "reason": cell.auc.reason,
            }
            for cell in cells
        ],
        TRANSFER,
    )


_NOTHING = Estimate(None, None, None, 0.95, 0, 0, "none")


def _missing_numbers(one: Verdict) -> str | None:
    if one.verdict == "not enough data":
        return one.why
    reasons = [
        f"increment: {one.increment.reason}" if one.increment.estimate is None else None,
        "minimal_auc: not even an AUC of 1 is detectable" if one.minimal_auc is None else None,
    ]
    return "; ".join(reason for reason in reasons if reason) or None


def verdict_frame(verdicts: Mapping[str, Sequence[Verdict]], behaviours: Behaviours) -> pl.DataFrame:
    """Return the table verdicts from verdicts by dataset."""
    return _frame(
        [
            {
                "dataset": dataset,
                "signal": one.signal,
                "behaviour": behaviours.get(dataset),
                "verdict": one.verdict,
                "why": one.why,
                **_numbers(one.auc or _NOTHING, "auc", "auc_lower", "auc_upper"),
                **_numbers(one.increment, "increment", "increment_lower", "increment_upper"),
                "p_adjusted": one.p_adjusted,
                "minimal_auc": one.minimal_auc,
                "reason": _missing_numbers(one),
            }
            for dataset, of_dataset in verdicts.items()
            for one in of_dataset
        ],
        VERDICTS,
    )


def early_frame(curves: Mapping[str, Curve], behaviours: Behaviours) -> pl.DataFrame:
    """Return the table early from curves by dataset."""
    rows = []
    for dataset, curve in curves.items():
        for point in curve.points:
            about = {"n_generated": point.after, "counts": point in curve.counting}
            rows += _point_rows(point, {**_about(dataset, curve, behaviours), **about})
    return _frame(rows, EARLY)


def relative_frame(
    relative: Mapping[str, Sequence[RelativePoint]], curves: Mapping[str, Curve], behaviours: Behaviours
) -> pl.DataFrame:
    """Return the table early_relative from results by dataset."""
    rows = []
    for dataset, several in relative.items():
        for one in several:
            about = {"position": one.position, "counts": one.counts}
            rows += _point_rows(one.point, {**_about(dataset, curves[dataset], behaviours), **about})
    return _frame(rows, EARLY_RELATIVE)


def _about(dataset: str, curve: Curve, behaviours: Behaviours) -> Row:
    return {
        "dataset": dataset,
        "behaviour": behaviours.get(dataset),
        "n": curve.n,
        "n_positive": curve.n_positive,
    }


def _point_rows(point: Point, about: Row) -> list[Row]:
    """Return a row for every detector and baseline of a moment, and for every family that is undefined there."""
    about = {**about, "share_written": point.share_written}
    undefined = [
        {**about, "detector": ALL_SIGNALS if name == ALL else name, "signal": name, "reason": reason}
        for name, reason in point.undefined.items()
    ]
    return [*({**about, **_moment(one)} for one in point.detectors), *undefined]


def _moment(one: Detector) -> Row:
    return {
        "detector": one.name,
        "signal": one.signal,
        **_numbers(one.auc, "auc", "auc_lower", "auc_upper"),
        "auc_within": one.within_strata.estimate,
        **_numbers(one.increment, "increment", "increment_lower", "increment_upper"),
        "p": one.evidence.p_above,
        "reason": _reason(one),
    }


def first_moment_frame(found: Mapping[str, Sequence[FirstMoment]], behaviours: Behaviours) -> pl.DataFrame:
    """Return the table told_by from results by dataset."""
    return _frame(
        [
            {
                "dataset": dataset,
                "behaviour": behaviours.get(dataset),
                "signal": one.signal,
                "n_generated": one.after,
                "p_adjusted": one.p_adjusted,
                "reason": one.reason,
            }
            for dataset, several in found.items()
            for one in several
        ],
        TOLD_BY,
    )


def hidden_layers_frame(
    layers: Mapping[str, Sequence[LayerProbe]], curves: Mapping[str, Curve], behaviours: Behaviours
) -> pl.DataFrame:
    """Return the table hidden_layers from probes by dataset, judged at the last moment of the curve that counts."""
    return _frame(
        [
            {
                "dataset": dataset,
                "behaviour": behaviours.get(dataset),
                "pool": one.pool,
                "layer": one.layer,
                "n_generated": curves[dataset].last.after,
                **_numbers(one.detector.auc, "auc", "auc_lower", "auc_upper"),
                "auc_within": one.detector.within_strata.estimate,
                "reason": _reason(replace(one.detector, role="baseline")),
            }
            for dataset, several in layers.items()
            for one in several
        ],
        HIDDEN_LAYERS,
    )
