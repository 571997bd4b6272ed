"""Curves of a study: ROC of single metrics and of the forest, calibration, and values per layer."""

from __future__ import annotations

import numpy as np
import polars as pl

from foretell.showing.figures.figure import (
    Curve,
    CurveFigure,
    CurvePanel,
    Level,
    Words,
)
from foretell.showing.figures.table_cells import column, listed, matching, ordered, reasons
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text

__all__ = ["PROTOCOLS", "direction_figure", "forest_figure", "reliability_figure", "roc_figure"]

PROTOCOLS = {"rows": "rows (source)", "grouped": "grouped by sample", "placebo": "placebo labels"}
"""Names of the forest protocols in figures."""

_LEVELS = ("sample", "row")


def roc_figure(data: ReportData) -> CurveFigure | None:
    """Return the ROC curves of each single metric, one panel per dataset, by sample and by row."""
    roc, points = data.table("roc"), data.table("roc_points")
    if roc.is_empty():
        return None
    metrics = ordered(roc, "metric")
    panels = []
    for dataset in ordered(roc, "dataset"):
        rows = matching(roc, dataset=dataset)
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
                        x=column(line, "false_positive_rate"),
                        y=column(line, "true_positive_rate"),
                        tone=metric_index,
                        dash=level_index,
                    )
                )
        panels.append(CurvePanel(dataset, tuple(curves), note=None if curves else reasons(rows)))
    words = Words(
        name="roc-single-metrics",
        title="ROC of single metrics, per dataset",
        caption=(
            "Each metric as a score for the label. Solid: one value per sample (mean over its layers and heads). "
            f"Dotted: every row of the table. The legend gives the AUC with its {data.interval}, clustered by group. "
            "The grey diagonal is chance."
        ),
        alt="ROC curves of each metric, one panel per dataset. "
        + listed(f"{row['dataset']} {row['metric']} {row['level']} {estimate_text(row['auc'], None, None)}"
                  for row in roc.to_dicts()),
    )  # fmt: skip
    return CurveFigure(words, tuple(panels), "False positive rate", "True positive rate", roc=True)


def forest_figure(data: ReportData) -> CurveFigure | None:
    """Return the forest's ROC curves of all datasets and protocols in one panel."""
    forest, points = data.table("forest"), data.table("forest_points")
    if forest.is_empty():
        return None
    datasets = ordered(forest, "dataset")
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
                x=column(line, "false_positive_rate"),
                y=column(line, "true_positive_rate"),
                tone=index,
                dash=(2, 0, 1, 3)[protocol],
                marker=index,
            )
        )
    words = Words(
        name="roc-forest",
        title="Random forest on the metrics: ROC by dataset and protocol",
        caption=(
            "Dashed: random split of rows, as in the source study, with rows of one sample in both training and test "
            "sets. Solid: whole samples held out. Dotted: random split of rows with labels dealt anew by whole groups; "
            "an AUC above 0.5 is leakage. Colour and marker give the dataset."
        ),
        alt="ROC curves of the random forest. "
        + listed(f"{row['dataset']} {row['protocol']} {estimate_text(row['auc'], None, None)}"
                  for row in forest.to_dicts()),
    )  # fmt: skip
    panel = CurvePanel("", tuple(curves), note=None if curves else reasons(forest.to_dicts()))
    return CurveFigure(words, (panel,), "False positive rate", "True positive rate", roc=True)


def reliability_figure(data: ReportData) -> CurveFigure | None:
    """Return the reliability diagram, one panel per dataset."""
    reliability = data.table("reliability")
    if reliability.is_empty():
        return None
    detectors = ordered(reliability, "detector")
    panels = []
    for part in reliability.partition_by("dataset", maintain_order=True):
        curves = [
            Curve(
                label=line.item(0, "detector"),
                x=column(line, "mean_probability"),
                y=column(line, "observed"),
                tone=detectors.index(line.item(0, "detector")),
                marker=detectors.index(line.item(0, "detector")),
            )
            for line in part.partition_by("detector", maintain_order=True)
        ]
        panels.append(CurvePanel(str(part.item(0, "dataset")), tuple(curves)))
    words = Words(
        "reliability",
        "Calibration of predicted probabilities",
        "Mean predicted probability of held-out samples, in bins of equal counts, against the share of samples with "
        "label 1. Calibrated probabilities are on the diagonal.",
        "Predicted probability against observed frequency per dataset and detector.",
        folded=True,
    )
    return CurveFigure(words, tuple(panels), "Predicted probability", "Observed share", roc=True)


def _layer_curve(frame: pl.DataFrame, label: str, value: str, index: int) -> Curve:
    by_layer = frame.sort("layer")
    ends = [f"{value}_{end}" for end in ("lower", "upper")]
    lower, upper = (column(by_layer, end) if end in by_layer.columns else None for end in ends)
    x, y = column(by_layer, "layer"), column(by_layer, value)
    return Curve(label, x, y, tone=index, dash=index, marker=index, lower=lower, upper=upper)


def direction_figure(data: ReportData) -> CurveFigure | None:
    """Return the direction's held-out AUC per layer, one panel per concept, with baselines as horizontal lines.

    A baseline with an AUC below one half (it is lower where the concept is present) is drawn at one minus its AUC, and
    its label says so.
    """
    direction = data.direction
    if direction is None or direction.is_empty():
        return None
    null = data.table("direction_null")
    panels = tuple(_direction_panel(part, null) for part in direction.partition_by("concept", maintain_order=True))
    values = [
        *(y for panel in panels for curve in panel.curves for y in (curve.y, curve.lower) if y is not None),
        *(np.array([level.value]) for panel in panels for level in panel.levels),
    ]
    lowest = min((float(np.nanmin(y)) for y in values if np.isfinite(y).any()), default=0.5)
    words = Words(
        "direction-by-layer",
        "Held-out AUC of the direction, by layer",
        "AUC on topics the direction was not fitted on, with 95 % interval; dotted: over pairs of one topic only. "
        + ("" if null.is_empty() else "Random directions: mean, with the 5th to 95th percentile of their AUC. ")
        + "Horizontal lines are baselines without the model's internals, such as the answer's log-probability; a "
        "direction below them adds nothing to them.",
        "Line of held-out AUC per layer with baselines as horizontal lines.",
        section="surfaces",
    )
    return CurveFigure(words, panels, "Layer", "Held-out AUC", y_range=(max(0.0, min(0.4, lowest - 0.05)), 1.02))


def _direction_panel(part: pl.DataFrame, null: pl.DataFrame) -> CurvePanel:
    concept = str(part.item(0, "concept"))
    scores = part.filter(pl.col("measure") == "score")
    curves = [_layer_curve(scores, "direction, held-out topics", "auc", 0)]
    if "auc_within_topics" in scores.columns and scores.get_column("auc_within_topics").drop_nulls().len():
        curves.append(_layer_curve(scores, "direction, within one topic", "auc_within_topics", 1))
    drawn = null.filter((pl.col("concept") == concept) & (pl.col("kind") == "random") & pl.col("layer").is_not_null())
    if not drawn.is_empty():
        by_layer = drawn.sort("layer")
        ends = {end: column(by_layer, f"auc_{end}") for end in ("lower", "upper")}
        label = f"{drawn.item(0, 'n_draws')} random directions"
        x, y = column(by_layer, "layer"), column(by_layer, "auc_mean")
        curves.append(Curve(label, x, y, tone=4, dash=2, lower=ends["lower"], upper=ends["upper"]))
    levels = tuple(
        Level(
            f"{row['measure'].replace('_', ' ')}, {'higher' if row['auc'] >= 0.5 else 'lower'} is more “{concept}”",
            max(row["auc"], 1 - row["auc"]),
            dash=index + 2,
        )
        for index, row in enumerate(
            part.filter((pl.col("measure") != "score") & pl.col("auc").is_not_null()).to_dicts()
        )
    )
    note = None if scores.get_column("auc").drop_nulls().len() else reasons(part.to_dicts())
    return CurvePanel(concept, tuple(curves), levels, note)
