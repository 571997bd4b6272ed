"""The figures of a study, built from its tables: ROC curves, the forest, importances, maps, detectors, thresholds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.showing.figures import (
    BarFigure,
    BarPanel,
    BarSeries,
    Curve,
    CurveFigure,
    CurvePanel,
    Dot,
    DotFigure,
    DotPanel,
    Figure,
    Level,
    Words,
)
from foretell.showing.map_figures import map_figures
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text

__all__ = [
    "PROTOCOLS",
    "detector_figures",
    "direction_figure",
    "forest_figure",
    "importance_figure",
    "roc_figure",
    "segment_figure",
    "study_figures",
    "threshold_figure",
]

PROTOCOLS = {"rows": "rows (source)", "grouped": "grouped by sample", "placebo": "placebo labels"}
"""What each forest protocol is called in figures."""

_LEVELS = ("sample", "row")


def study_figures(data: ReportData) -> tuple[Figure, ...]:
    """Return every figure the study's tables allow, in the order a reader meets them.

    A figure whose table is empty is left out; a dataset without a number stays as a panel that says why.
    """
    candidates: list[Figure | None] = [
        roc_figure(data),
        forest_figure(data),
        importance_figure(data),
        *map_figures(data),
        *detector_figures(data),
        threshold_figure(data),
        segment_figure(data),
        direction_figure(data),
    ]
    return tuple(figure for figure in candidates if figure is not None)


def _rows(frame: pl.DataFrame, **values: object) -> list[dict[str, Any]]:
    for name, value in values.items():
        frame = frame.filter(pl.col(name) == value)
    return frame.to_dicts()


def _column(frame: pl.DataFrame, name: str) -> Float[np.ndarray, "point"]:
    return frame.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)


def _ordered(frame: pl.DataFrame, name: str) -> list[str]:
    return [str(value) for value in frame.get_column(name).unique(maintain_order=True).to_list()]


def _reasons(rows: Iterable[dict[str, Any]]) -> str:
    reasons = dict.fromkeys(str(row["reason"]) for row in rows if row.get("reason"))
    return "; ".join(reasons) or "no numbers in the table"


def roc_figure(data: ReportData) -> CurveFigure | None:
    """Return the ROC curves of each metric alone, one panel per dataset, by sample and by row."""
    roc, points = data.table("roc"), data.table("roc_points")
    if roc.is_empty():
        return None
    metrics = _ordered(roc, "metric")
    panels = []
    for dataset in _ordered(roc, "dataset"):
        rows = _rows(roc, dataset=dataset)
        curves = []
        for level_index, level in enumerate(_LEVELS):
            for metric_index, metric in enumerate(metrics):
                line = points.filter(
                    (pl.col("dataset") == dataset) & (pl.col("metric") == metric) & (pl.col("level") == level)
                )
                found = [row for row in rows if row["metric"] == metric and row["level"] == level]
                if line.is_empty() or not found:
                    continue
                text = estimate_text(found[0]["auc"], found[0]["auc_lower"], found[0]["auc_upper"])
                curves.append(
                    Curve(
                        label=f"{metric}, {level}: {text}",
                        x=_column(line, "false_positive_rate"),
                        y=_column(line, "true_positive_rate"),
                        tone=metric_index,
                        dash=level_index,
                    )
                )
        panels.append(CurvePanel(dataset, tuple(curves), note=None if curves else _reasons(rows)))
    words = Words(
        name="roc-single-metrics",
        title="One metric alone: ROC per dataset",
        caption=(
            "Each metric by itself as a score for the label. Solid: one value per sample (mean over its layers and "
            "heads). Dotted: every row of the table. The legend gives the area under the curve with its 95 % interval; "
            "rows of one sample are kept together for it. The grey diagonal is chance."
        ),
        alt="ROC curves of each metric, one panel per dataset. "
        + _listed(f"{row['dataset']} {row['metric']} {row['level']} {estimate_text(row['auc'], None, None)}"
                  for row in roc.to_dicts()),
    )  # fmt: skip
    return CurveFigure(words, tuple(panels), "False positive rate", "True positive rate", roc=True)


def _listed(parts: Iterable[str], *, most: int = 24) -> str:
    entries = list(parts)
    tail = f"; and {len(entries) - most} more" if len(entries) > most else ""
    return "; ".join(entries[:most]) + tail + "."


def forest_figure(data: ReportData) -> CurveFigure | None:
    """Return the forest's ROC curves of all datasets and protocols in one panel."""
    forest, points = data.table("forest"), data.table("forest_points")
    if forest.is_empty():
        return None
    datasets = _ordered(forest, "dataset")
    curves = []
    for row in forest.to_dicts():
        line = points.filter((pl.col("dataset") == row["dataset"]) & (pl.col("protocol") == row["protocol"]))
        if line.is_empty() or row["auc"] is None:
            continue
        protocol = list(PROTOCOLS).index(row["protocol"]) if row["protocol"] in PROTOCOLS else len(PROTOCOLS)
        text = estimate_text(row["auc"], row["auc_lower"], row["auc_upper"])
        index = datasets.index(row["dataset"])
        curves.append(
            Curve(
                label=f"{row['dataset']}, {PROTOCOLS.get(row['protocol'], row['protocol'])}: {text}",
                x=_column(line, "false_positive_rate"),
                y=_column(line, "true_positive_rate"),
                tone=index,
                dash=(2, 0, 1, 3)[protocol],
                marker=index,
            )
        )
    words = Words(
        name="roc-forest",
        title="Random forest on the metrics: ROC of every dataset and protocol",
        caption=(
            "Dashed: rows split at random, as in the source, so that rows of one sample stand on both sides. Solid: "
            "whole samples held out, the honest one. Dotted: the row split again, with labels shuffled between "
            "samples; whatever it scores above 0.5 is leak. Colour and marker name the dataset."
        ),
        alt="ROC curves of the random forest. "
        + _listed(f"{row['dataset']} {row['protocol']} {estimate_text(row['auc'], None, None)}"
                  for row in forest.to_dicts()),
    )  # fmt: skip
    panel = CurvePanel("", tuple(curves), note=None if curves else _reasons(forest.to_dicts()))
    return CurveFigure(words, (panel,), "False positive rate", "True positive rate", roc=True)


def importance_figure(data: ReportData) -> BarFigure | None:
    """Return the importances, impurity beside permutation, for each dataset."""
    importances = data.table("importances")
    if importances.is_empty():
        return None
    metrics = tuple(_ordered(importances, "metric"))
    panels = []
    for dataset in _ordered(importances, "dataset"):
        for kind, y_label, reference, reference_label in (
            ("impurity", "Share of impurity", 1 / len(metrics), f"1/{len(metrics)}"),
            ("permutation", "AUC lost when shuffled", 0.0, "0"),
        ):
            rows = _rows(importances, dataset=dataset, kind=kind)
            series = []
            for index, protocol in enumerate(PROTOCOLS):
                by_metric = {row["metric"]: row for row in rows if row["protocol"] == protocol}
                if not any(row["importance"] is not None for row in by_metric.values()):
                    continue
                picked = [by_metric.get(metric, {}) for metric in metrics]
                series.append(
                    BarSeries(
                        label=PROTOCOLS[protocol],
                        values=tuple(row.get("importance") for row in picked),
                        lower=tuple(row.get("lower") for row in picked),
                        upper=tuple(row.get("upper") for row in picked),
                        tone=index,
                    )
                )
            note = None if series else _reasons(rows)
            title = f"{dataset}: {kind}"
            panels.append(BarPanel(title, metrics, tuple(series), y_label, reference, reference_label, note))
    words = Words(
        name="importances",
        title="What the forest used: two kinds of importance",
        caption=(
            f"Left: impurity importance. {len(metrics)} exchangeable columns get 1/{len(metrics)} each (dashed line) even "
            "on pure noise, so equal bars there are no finding. Right: how much held-out AUC is lost when a column is "
            "shuffled; 0 (dashed line) means that the forest did not need it. Whiskers are 95 % intervals."
        ),
        alt="Bars of impurity and permutation importance per dataset and metric.",
    )
    return BarFigure(words, tuple(panels), n_columns=2)


def detector_figures(data: ReportData) -> tuple[DotFigure, ...]:
    """Return the detectors' AUC beside the baselines', and what each adds to the best baseline."""
    detectors = data.table("detectors")
    if detectors.is_empty():
        return ()
    tones = ("detector", "baseline")
    areas = _detector_panels(detectors, "auc", second="auc_within_strata")
    auc = DotFigure(
        Words(
            "detectors",
            "Detectors against baselines",
            "AUC on samples that were not used for fitting, with 95 % interval. A detector (blue) uses the model's "
            "internals; a baseline (orange) uses only what anyone could see, such as lengths or log-probability. Open "
            "diamonds: AUC within strata, where the kind of task can no longer be guessed. The dashed line is chance.",
            "Held-out AUC of detectors and baselines per dataset. "
            + _listed(
                f"{row['dataset']} {row['detector']} {estimate_text(row['auc'], row['auc_lower'], row['auc_upper'])}"
                for row in detectors.to_dicts()
            ),
        ),
        areas,
        x_label="Held-out AUC",
        first_label="AUC over all samples",
        second_label="AUC within strata" if any(dot.second is not None for p in areas for dot in p.dots) else None,
        reference=0.5,
        reference_label="chance",
        tone_labels=tones,
    )
    increments = _detector_panels(detectors.filter(pl.col("role") != "baseline"), "increment", second=None)
    if not any(panel.dots for panel in increments):
        return (auc,)
    gain = DotFigure(
        Words(
            "increments",
            "What a detector adds to the best baseline",
            "Difference in held-out AUC to the best baseline, with 95 % interval. An interval that includes 0 (dashed "
            "line) means that the internals added nothing that could be shown.",
            "Increment in AUC over the best baseline, per dataset and detector.",
        ),
        increments,
        x_label="AUC above the best baseline",
        first_label="increment",
        reference=0.0,
        reference_label="no gain",
    )
    return auc, gain


def _detector_panels(detectors: pl.DataFrame, value: str, *, second: str | None) -> tuple[DotPanel, ...]:
    panels = []
    for dataset in _ordered(detectors, "dataset"):
        dots, undefined = [], []
        for row in _rows(detectors, dataset=dataset):
            if row[value] is None:
                undefined.append((str(row["detector"]), _reasons([row])))
                continue
            dots.append(
                Dot(
                    label=row["detector"],
                    estimate=row[value],
                    lower=row[f"{value}_lower"],
                    upper=row[f"{value}_upper"],
                    tone=1 if row["role"] == "baseline" else 0,
                    second=row[second] if second else None,
                )
            )
        panels.append(DotPanel(dataset, tuple(dots), tuple(undefined)))
    return tuple(panels)


def threshold_figure(data: ReportData) -> DotFigure | None:
    """Return each threshold rule's value on held-out groups, beside its value where it was chosen."""
    thresholds = data.table("thresholds")
    if thresholds.is_empty():
        return None
    objectives = _ordered(thresholds, "objective")
    panels = []
    for dataset in _ordered(thresholds, "dataset"):
        dots, undefined = [], []
        for row in _rows(thresholds, dataset=dataset):
            label = f"{row['metric']}, {row['objective']}"
            if row["heldout_value"] is None:
                undefined.append((label, _reasons([row])))
                continue
            sign = "<" if row["side"] == "below" else ">"
            rule = "" if row["threshold"] is None else f" ({sign} {row['threshold']:.3g})"
            dots.append(
                Dot(
                    label=f"{label}{rule}",
                    estimate=row["heldout_value"],
                    lower=row["lower"],
                    upper=row["upper"],
                    tone=objectives.index(row["objective"]),
                    second=row["train_value"],
                )
            )
        panels.append(DotPanel(dataset, tuple(dots), tuple(undefined)))
    words = Words(
        "thresholds",
        "Threshold rules",
        "The rule “predict 1 if the metric is above (or below) t”. Filled: the objective on groups the threshold was "
        "not chosen on, with 95 % interval. Open: the same on the groups it was chosen on; the gap is optimism.",
        "Held-out and training value of each threshold rule per dataset and metric.",
    )
    return DotFigure(
        words,
        tuple(panels),
        x_label="Value of the objective",
        first_label="held out",
        second_label="where it was chosen",
        tone_labels=tuple(objectives),
    )


def segment_figure(data: ReportData) -> CurveFigure | None:
    """Return each segment's mass per layer, from the optional table `segment_mass` (dataset, layer, segment, mass)."""
    masses = data.tables.get("segment_mass")
    if masses is None or masses.is_empty():
        return None
    segments = _ordered(masses, "segment")
    panels = tuple(
        CurvePanel(
            dataset,
            tuple(
                _layer_curve(masses.filter((pl.col("dataset") == dataset) & (pl.col("segment") == segment)), segment, i)
                for i, segment in enumerate(segments)
            ),
        )
        for dataset in _ordered(masses, "dataset")
    )
    words = Words(
        "segment-masses",
        "Where attention lands, by layer",
        "Share of attention that each segment receives from the generated tokens, mean over heads and samples. Shares of "
        "prompt, query and system alone describe only the part that is not on template and generated tokens.",
        "Lines of attention mass per segment over layers, one panel per dataset.",
    )
    return CurveFigure(words, panels, "Layer", "Attention mass", y_range=(0.0, 1.0))


def _layer_curve(frame: pl.DataFrame, label: str, index: int) -> Curve:
    ordered = frame.sort("layer")
    value = "mass" if "mass" in ordered.columns else "auc"
    band = {
        end: _column(ordered, f"{value}_{end}") for end in ("lower", "upper") if f"{value}_{end}" in ordered.columns
    }
    x, y = _column(ordered, "layer"), _column(ordered, value)
    return Curve(label, x, y, tone=index, dash=index if value == "mass" else 0, marker=index, **band)


def direction_figure(data: ReportData) -> CurveFigure | None:
    """Return the direction's held-out AUC per layer, one panel per concept, with baselines as level lines."""
    direction = data.direction
    if direction is None or direction.is_empty():
        return None
    baselines = [name for name in direction.columns if name.endswith("_auc")]
    panels = []
    for concept in _ordered(direction, "concept"):
        frame = direction.filter(pl.col("concept") == concept)
        levels = tuple(
            Level(f"{name.removesuffix('_auc').replace('_', ' ')} (baseline)", float(value), dash=index + 1)
            for index, name in enumerate(baselines)
            if (value := frame.get_column(name).drop_nulls().first()) is not None
        )
        panels.append(CurvePanel(concept, (_layer_curve(frame, "direction, held-out topics", 0),), levels))
    words = Words(
        "direction-by-layer",
        "How well the direction tells true from false, by layer",
        "AUC on topics the direction was not fitted on, with 95 % interval. Horizontal lines are baselines that need no "
        "internals, such as the answer's log-probability: a direction that stays below them has found nothing new.",
        "Line of held-out AUC per layer with baselines as horizontal lines.",
    )
    lowest = min((float(np.nanmin(line)) for name in ("auc", "auc_lower", *baselines) if name in direction.columns
                  and np.isfinite(line := _column(direction, name)).any()), default=0.5)  # fmt: skip
    return CurveFigure(words, tuple(panels), "Layer", "Held-out AUC", y_range=(max(0.0, min(0.4, lowest - 0.05)), 1.02))
