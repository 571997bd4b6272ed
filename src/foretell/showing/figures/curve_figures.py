"""Curves of a study: ROC of single metrics and of the forest, calibration, and values per layer."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.showing.figures.figure import (
    Curve,
    CurveFigure,
    CurvePanel,
    Level,
    Words,
)
from foretell.showing.figures.table_cells import column, listed, matching, ordered, reasons
from foretell.showing.figures.titles import forest_protocols, probabilities, separating_layer, single_metrics
from foretell.showing.overview import ALL_BASELINES
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text

__all__ = ["PROTOCOLS", "direction_figure", "forest_figure", "reliability_figure", "roc_band", "roc_figure"]

PROTOCOLS = {"rows": "rows (source)", "grouped": "grouped by sample", "placebo": "placebo labels"}
"""Names of the forest protocols in figures."""

_LEVELS = ("sample", "row")
_NORMAL = NormalDist()


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
        title=single_metrics(roc),
        how="A curve above the grey diagonal is a metric that is higher where label 1 is; the legend gives its AUC.",
        caption=(
            "Each metric as a score for the label. Solid: one value per sample (mean over its layers and heads). "
            f"Dotted: every row of the table. AUCs have their {data.interval}, clustered by group."
        ),
        sources={"roc": roc, "roc_points": points},
        folded=True,
        alt="ROC curves of each metric, one panel per dataset. "
        + listed(f"{row['dataset']} {row['metric']} {row['level']} {estimate_text(row['auc'], None, None)}"
                  for row in roc.to_dicts()),
    )  # fmt: skip
    return CurveFigure(words, tuple(panels), "False positive rate", "True positive rate", roc=True)


def forest_figure(data: ReportData) -> CurveFigure | None:
    """Return the forest's ROC curves, one panel per dataset with a curve per protocol.

    The curve of the grouped split has a band that goes with the interval of its AUC; see `roc_band`.
    """
    forest, points = data.table("forest"), data.table("forest_points")
    if forest.is_empty():
        return None
    panels = []
    for dataset in ordered(forest, "dataset"):
        rows = matching(forest, dataset=dataset)
        curves = []
        for row in rows:
            line = points.filter((pl.col("dataset") == dataset) & (pl.col("protocol") == row["protocol"]))
            if line.is_empty() or row["auc"] is None:
                continue
            index = list(PROTOCOLS).index(row["protocol"]) if row["protocol"] in PROTOCOLS else len(PROTOCOLS)
            text = estimate_text(row["auc"], row["auc_lower"], row["auc_upper"])
            x, y = column(line, "false_positive_rate"), column(line, "true_positive_rate")
            ends = [row[name] for name in ("auc", "auc_lower", "auc_upper")]
            lower, upper = (None, None) if row["protocol"] != "grouped" or None in ends else roc_band(y, *ends)
            label = f"{PROTOCOLS.get(row['protocol'], row['protocol'])}: {text}"
            curves.append(Curve(label, x, y, index, (2, 0, 1, 3)[index], None, lower, upper))
        panels.append(CurvePanel(dataset, tuple(curves), note=None if curves else reasons(rows)))
    words = Words(
        name="roc-forest",
        title=forest_protocols(forest),
        how="Where the dashed curve is above the solid one and the dotted one is above the diagonal, the split leaks.",
        caption=(
            "Random forest on the metrics. Dashed: random split of rows, as in the source study, with rows of one "
            "sample in both training and test sets. Solid: whole samples held out; its band is the curve moved to "
            "both ends of its AUC's interval. Dotted: random split of rows with labels dealt anew by whole groups; an "
            f"AUC above 0.5 is leakage. The legend gives AUCs with their {data.interval}."
        ),
        alt="ROC curves of the random forest. "
        + listed(f"{row['dataset']} {row['protocol']} {estimate_text(row['auc'], None, None)}"
                  for row in forest.to_dicts()),
        sources={"forest": forest, "forest_points": points},
        section="leak",
        folded=True,
    )  # fmt: skip
    return CurveFigure(words, tuple(panels), "False positive rate", "True positive rate", roc=True)


def roc_band(
    y: Float[np.ndarray, " point"], area: float, lower: float, upper: float
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return the lower and the upper edge of the band at every point of a ROC curve.

    On the normal scale a curve becomes one of another area when it is moved by sqrt(2) times the difference of the
    normal quantiles of both areas. The edges are the curve moved to both ends of the interval of its area.

    Args:
        y: True positive rates.
        area: The curve's AUC, in 0 to 1.
        lower: Lower end of the interval of the AUC.
        upper: Upper end.

    Source:
        The binormal model: Hanley 1988, Medical Decision Making 8. Where scores are normal in both classes, the edges
        are the curves of these areas.

    Example:
        >>> low, high = roc_band(np.array([0.0, 0.5, 1.0]), 0.7, 0.6, 0.8)
        >>> [round(float(one), 2) for one in (low[1], high[1])]
        [0.35, 0.67]
    """
    middle = _quantile(area)
    moves = (math.sqrt(2) * (_quantile(end) - middle) for end in (lower, upper))
    low, high = (np.array([_moved(value, move) for value in y.tolist()]) for move in moves)
    return low, high


def _quantile(area: float) -> float:
    return _NORMAL.inv_cdf(min(max(area, 1e-6), 1 - 1e-6))


def _moved(value: float, move: float) -> float:
    return _NORMAL.cdf(_NORMAL.inv_cdf(value) + move) if 0 < value < 1 else value


_MOST_CALIBRATED = 3


def reliability_figure(data: ReportData) -> CurveFigure | None:
    """Return the reliability diagram, one panel per dataset.

    At most three detectors have a curve: all baselines together, and the detectors with the highest AUCs.
    """
    reliability = data.table("reliability")
    if reliability.is_empty():
        return None
    detectors = _calibrated(data, ordered(reliability, "detector"))
    panels = []
    for part in reliability.partition_by("dataset", maintain_order=True):
        curves = []
        for index, detector in enumerate(detectors):
            line = part.filter(pl.col("detector") == detector)
            if line.is_empty():
                continue
            ends = column(line, "lower"), column(line, "upper")
            x, y = column(line, "mean_probability"), column(line, "observed")
            curves.append(Curve(detector, x, y, index, index, index, *ends))
        panels.append(CurvePanel(str(part.item(0, "dataset")), tuple(curves)))
    left = [name for name in ordered(reliability, "detector") if name not in detectors]
    words = Words(
        "reliability",
        probabilities(data.table("detectors"), detectors),
        "Held-out samples in bins of equal counts: mean predicted probability against the share with label 1, with the "
        f"{data.interval} of the share." + (f" Not drawn: {', '.join(left)}." if left else ""),
        "Predicted probability against observed frequency per dataset and detector.",
        how="Calibrated probabilities are on the diagonal; a curve below it is too sure of label 1.",
        sources={"reliability": reliability},
        folded=True,
    )
    return CurveFigure(words, tuple(panels), "Predicted probability of label 1", "Observed share of label 1", roc=True)


def _calibrated(data: ReportData, named: list[str]) -> list[str]:
    """Return the detectors with a curve, in the order of the table."""
    if len(named) <= _MOST_CALIBRATED:
        return named
    areas = data.table("detectors").filter(pl.col("detector").is_in(named) & pl.col("auc").is_not_null())
    means = (
        areas.filter(pl.col("role") != "baseline")
        .group_by("detector")
        .agg(pl.col("auc").mean())
        .sort("auc", "detector")
    )
    kept = {*means["detector"].to_list()[-(_MOST_CALIBRATED - 1) :], ALL_BASELINES}
    return [name for name in named if name in kept] or named[:_MOST_CALIBRATED]


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
    null, scores = data.table("direction_null"), direction.filter(pl.col("measure") == "score")
    panels = tuple(_direction_panel(part, null) for part in direction.partition_by("concept", maintain_order=True))
    values = [
        *(y for panel in panels for curve in panel.curves for y in (curve.y, curve.lower) if y is not None),
        *(np.array([level.value]) for panel in panels for level in panel.levels),
    ]
    lowest = min((float(np.nanmin(y)) for y in values if np.isfinite(y).any()), default=0.5)
    words = Words(
        "direction-by-layer",
        separating_layer(scores, "On held-out topics the direction separates"),
        "AUC on topics the direction was not fitted on, with 95 % interval; dotted: over pairs of one topic only. "
        + ("" if null.is_empty() else "Random directions: mean, with the 5th to 95th percentile of their AUC. ")
        + "Horizontal lines are baselines without the model's internals, such as the answer's log-probability; a "
        "direction below them adds nothing to them.",
        "Line of held-out AUC per layer with baselines as horizontal lines.",
        how="The direction is worth something where its line and band are above every horizontal line.",
        sources={"direction": direction} | ({} if null.is_empty() else {"direction_null": null}),
        section="surfaces",
    )
    y_range = (max(0.0, min(0.4, lowest - 0.05)), 1.02)
    return CurveFigure(words, panels, "Layer", "Held-out AUC", y_range=y_range, one_legend=len(panels) == 1)


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
