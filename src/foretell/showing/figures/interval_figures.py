"""Estimates with intervals: importances, detectors and baselines, threshold rules, transfer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from foretell.showing.figures.curve_figures import PROTOCOLS
from foretell.showing.figures.figure import (
    BarFigure,
    BarPanel,
    BarSeries,
    Dot,
    DotFigure,
    DotPanel,
    Words,
)
from foretell.showing.figures.table_cells import listed, matching, of_attention, ordered, reasons
from foretell.showing.figures.titles import (
    areas_of_detectors,
    gains_of_detectors,
    importance_of_columns,
    leaks,
    threshold_rules,
    transferred,
)
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text

__all__ = ["covered", "detector_figures", "importance_figure", "leak_figure", "threshold_figure", "transfer_figure"]

_COVERED = {
    "detectors": "94 to 99 %",
    "forests": "92 to 99 %",
    "importances": "98 to 100 %",
    "increments": "91 to 100 %",
    "threshold rules": "98 to 100 %",
}
"""Lowest and highest share in thirteen designs (docs/concepts/coverage.md), of kinds that are not near 95 % in all."""


def covered(kind: str, interval: str) -> str:
    """Say how often intervals of a kind cover the true value; nothing of other levels, which were not simulated."""
    if interval != "95 % interval":
        return ""
    return f" Such intervals of {kind} cover the true value in {_COVERED[kind]} of simulated studies."


Row = dict[str, Any]


def importance_figure(data: ReportData) -> BarFigure | None:
    """Return impurity and permutation importances for each dataset."""
    importances = data.table("importances")
    if importances.is_empty():
        return None
    metrics = tuple(ordered(importances, "metric"))
    panels = []
    for dataset in ordered(importances, "dataset"):
        for kind, y_label, reference, reference_label in (
            ("impurity", "Share of impurity", 1 / len(metrics), f"1/{len(metrics)}"),
            ("permutation", "AUC lost when shuffled", 0.0, "0"),
        ):
            rows = matching(importances, dataset=dataset, kind=kind)
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
            note = None if series else reasons(rows)
            title = f"{dataset}: {kind}"
            panels.append(BarPanel(title, metrics, tuple(series), y_label, reference, reference_label, note))
    words = Words(
        name="importances",
        title=importance_of_columns(importances),
        how="A column matters where the solid bar on the right is above 0 with its whole whisker.",
        caption=(
            f"Left: impurity importance. {len(metrics)} exchangeable columns have 1/{len(metrics)} each (dashed line) "
            "even on pure noise, so equal bars are not a result. Right: permutation importance, the held-out AUC lost "
            f"when a column is shuffled; 0 (dashed line) means no effect. Whiskers: {data.interval}."
            f"{covered('importances', data.interval)}"
        ),
        alt="Bars of impurity and permutation importance per dataset and metric.",
        sources={"importances": importances},
        section="leak",
        folded=True,
    )
    return BarFigure(words, tuple(panels), n_columns=2)


def leak_figure(data: ReportData) -> DotFigure | None:
    """Return the forest's AUC by protocol, one panel per dataset."""
    forest = data.table("forest")
    if forest.is_empty():
        return None
    order = list(PROTOCOLS)

    def label(row: Row) -> str:
        return PROTOCOLS.get(row["protocol"], str(row["protocol"]))

    def dot(row: Row) -> Dot:
        tone = order.index(row["protocol"]) if row["protocol"] in order else len(order)
        return Dot(label(row), row["auc"], row["auc_lower"], row["auc_upper"], tone)

    words = Words(
        "leak",
        leaks(forest),
        f"AUC of the random forest with {data.interval}. Rows: random split of rows, as in the source study, with rows "
        "of one sample in both training and test sets. Grouped: whole samples held out. Placebo: rows split at random, "
        "labels dealt anew by whole groups. A leak is called one where the placebo is at least 0.05 above chance, with "
        f"its interval above it, and rows are at least 0.05 above grouped.{covered('forests', data.interval)}",
        "AUC of the forest by dataset and protocol. "
        + listed(
            f"{row['dataset']} {row['protocol']} {estimate_text(row['auc'], None, None)}" for row in forest.to_dicts()
        ),
        how="Rows and placebo right of the dashed line, grouped on it: the forest recognises samples, not behaviour.",
        sources={"forest": forest},
        section="leak",
    )
    return DotFigure(
        words,
        _panels(forest, "auc", label, dot),
        x_label="AUC",
        first_label=f"AUC, {data.interval}",
        reference=0.5,
        reference_label="chance",
        tone_labels=tuple(PROTOCOLS.values()),
    )


def detector_figures(data: ReportData) -> tuple[DotFigure, ...]:
    """Return the AUC of detectors and baselines, and the increments over all baselines."""
    detectors = of_attention(data.table("detectors"))
    if detectors.is_empty():
        return ()
    tones = ("detector", "baseline")
    areas = _detector_panels(detectors, "auc", second="auc_within_strata")
    auc = DotFigure(
        Words(
            "detectors",
            areas_of_detectors(detectors),
            f"AUC on held-out samples, with {data.interval}. Detectors (blue) use the model's internals; baselines "
            "(orange) use only what is known without them, such as lengths or log-probability. Open diamonds: AUC "
            "within strata, which removes the effect of the task type. The dashed line is chance."
            f"{covered('detectors', data.interval)}",
            "Held-out AUC of detectors and baselines per dataset. "
            + listed(
                f"{row['dataset']} {row['detector']} {estimate_text(row['auc'], row['auc_lower'], row['auc_upper'])}"
                for row in detectors.to_dicts()
            ),
            how="A detector is worth something where its blue dot is to the right of every orange one.",
            sources={"detectors": data.table("detectors")},
            section="signals",
        ),
        areas,
        x_label="Held-out AUC",
        first_label=f"AUC over all samples, {data.interval}",
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
            gains_of_detectors(detectors.filter(pl.col("role") != "baseline")),
            "Held-out AUC of all baselines and the detector together minus that of all baselines, of nested models on "
            f"the same samples, within strata where there are strata, with {data.interval}. Where the interval "
            "includes 0 (dashed line), no improvement over the baselines is shown."
            f"{covered('increments', data.interval)}",
            "Increment in AUC over all baselines, per dataset and detector.",
            how="A dot to the right of the dashed line, with its whole interval, knows more than all baselines do.",
            sources={"detectors": data.table("detectors")},
            section="signals",
        ),
        increments,
        x_label="Increment of AUC",
        first_label=f"increment, {data.interval}",
        reference=0.0,
        reference_label="no increment",
    )
    return auc, gain


def _panels(
    frame: pl.DataFrame, value: str, label: Callable[[Row], str], dot: Callable[[Row], Dot], *, title: str = "{}"
) -> tuple[DotPanel, ...]:
    """Return one panel per dataset with the dots of its rows; rows without a value are listed with their reason."""
    panels = []
    for dataset in ordered(frame, "dataset"):
        rows = matching(frame, dataset=dataset)
        dots = tuple(dot(row) for row in rows if row[value] is not None)
        undefined = tuple((label(row), reasons([row])) for row in rows if row[value] is None)
        panels.append(DotPanel(title.format(dataset), dots, undefined))
    return tuple(panels)


def _detector_panels(detectors: pl.DataFrame, value: str, *, second: str | None) -> tuple[DotPanel, ...]:
    def dot(row: Row) -> Dot:
        ends = row[f"{value}_lower"], row[f"{value}_upper"]
        tone = 1 if row["role"] == "baseline" else 0
        return Dot(row["detector"], row[value], *ends, tone, row[second] if second else None)

    return _panels(detectors, value, lambda row: str(row["detector"]), dot)


def threshold_figure(data: ReportData) -> DotFigure | None:
    """Return each threshold rule's value on held-out and on training groups."""
    thresholds = data.table("thresholds")
    if thresholds.is_empty():
        return None
    objectives = ordered(thresholds, "objective")

    def label(row: Row) -> str:
        return f"{row['metric']}, {row['objective']}"

    def dot(row: Row) -> Dot:
        sign = "<" if row["side"] == "below" else ">"
        rule = "" if row["threshold"] is None else f" ({sign} {row['threshold']:.3g})"
        tone = objectives.index(row["objective"])
        return Dot(label(row) + rule, row["heldout_value"], row["lower"], row["upper"], tone, row["train_value"])

    words = Words(
        "thresholds",
        threshold_rules(thresholds),
        "The rule “predict 1 if the metric is above (or below) t”. Filled: the objective on held-out groups, with "
        f"{data.interval}. Open: the same on the training groups, where t was chosen; the difference is optimism."
        f"{covered('threshold rules', data.interval)}",
        "Held-out and training value of each threshold rule per dataset and metric.",
        how="The wider the gap between open and filled marks, the more of the rule is fitted to chance.",
        sources={"thresholds": thresholds},
        folded=True,
    )
    return DotFigure(
        words,
        _panels(thresholds, "heldout_value", label, dot),
        x_label="Value of the objective",
        first_label=f"held out, {data.interval}",
        second_label="training groups",
        tone_labels=tuple(objectives),
    )


def transfer_figure(data: ReportData) -> DotFigure | None:
    """Return the AUC of detectors fitted on one dataset and evaluated on another, one panel per evaluated dataset."""
    transfer = data.table("transfer")
    if transfer.is_empty():
        return None
    detectors = ordered(transfer, "detector")

    def label(row: Row) -> str:
        return f"{row['detector']}, fitted on {row['train']}"

    def dot(row: Row) -> Dot:
        return Dot(label(row), row["auc"], row["auc_lower"], row["auc_upper"], detectors.index(row["detector"]))

    words = Words(
        "transfer",
        transferred(transfer),
        f"AUC with {data.interval} of a detector fitted on other datasets, and held-out AUC of one fitted on the "
        "dataset itself. A signal that is not specific to a dataset transfers.",
        "AUC of detectors fitted on each dataset, one panel per evaluated dataset.",
        how="A signal that is not specific to one dataset has dots right of chance, wherever it was fitted.",
        sources={"transfer": transfer},
        folded=True,
    )
    return DotFigure(
        words,
        _panels(transfer, "auc", label, dot, title="evaluated on {}"),
        x_label="AUC",
        first_label=f"AUC, {data.interval}",
        reference=0.5,
        reference_label="chance",
    )
