"""Which signal tells a behaviour, and how early: AUC over the answer, hidden states by layer, increments.

All numbers are taken from the tables of a study; nothing is estimated here.
"""

from __future__ import annotations

import polars as pl

from foretell.showing.figures.early_figures import early_figures, panel_title, shared_range
from foretell.showing.figures.figure import (
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
from foretell.showing.figures.interval_figures import covered
from foretell.showing.figures.table_cells import column, reasons
from foretell.showing.figures.titles import gains_of_signals, separating_layer
from foretell.showing.overview import ALL_BASELINES, Overview, OverviewRow, overview
from foretell.showing.report_data import ReportData

__all__ = ["signal_figures"]


def signal_figures(data: ReportData) -> tuple[Figure, ...]:
    """Return the figures of a study that compares signals over the generated tokens; none of another study."""
    shown = overview(data)
    if not shown.timed:
        return ()
    made = [*early_figures(data, shown), _layers(data, shown), _increments(data, shown)]
    return tuple(figure for figure in made if figure is not None)


def _layers(data: ReportData, shown: Overview) -> CurveFigure | None:
    layers = data.table("hidden_layers")
    if layers.is_empty():
        return None
    pools = layers["pool"].unique(maintain_order=True).to_list()
    panels = []
    for row in shown.rows:
        part = layers.filter(pl.col("dataset") == row.dataset)
        if part.is_empty():
            continue
        curves = []
        for index, pool in enumerate(pools):
            line = part.filter((pl.col("pool") == pool) & pl.col("auc").is_not_null()).sort("layer")
            if line.is_empty():
                continue
            lower, upper = column(line, "auc_lower"), column(line, "auc_upper")
            curves.append(Curve(pool, column(line, "layer"), column(line, "auc"), index, 0, index, lower, upper))
        note = None if curves else reasons(part.to_dicts())
        panels.append(CurvePanel(panel_title(row, shown), tuple(curves), _known_at(data, row, part), note))
    if not panels:
        return None
    words = Words(
        "hidden-layers",
        separating_layer(layers, "Hidden states separate"),
        "Each point is the held-out AUC of one layer's hidden states alone, with "
        f"{data.interval}, at the last number of tokens that counts; the dashed line is all baselines there. The "
        "highest of many layers is optimistic: the detector of the table above chooses its layer on training groups.",
        "Held-out AUC of hidden states by layer and pool, per behaviour, with the baselines as a line.",
        how="A layer is worth something where its point and band are above the dashed line.",
        sources={"hidden_layers": layers},
        section="heads",
    )
    return CurveFigure(
        words, tuple(panels), "Layer", "Held-out AUC", y_range=shared_range(panels), reference=0.5, one_legend=True
    )


def _known_at(data: ReportData, row: OverviewRow, part: pl.DataFrame) -> tuple[Level, ...]:
    """Return the AUC of all baselines at the checkpoint of the layers."""
    last = part["n_generated"].max()
    early = data.table("early").filter(
        (pl.col("dataset") == row.dataset)
        & (pl.col("detector") == ALL_BASELINES)
        & (pl.col("n_generated") == last)
        & pl.col("auc").is_not_null()
    )
    return () if early.is_empty() else (Level(ALL_BASELINES, float(early.item(0, "auc")), dash=2),)


def _increments(data: ReportData, shown: Overview) -> DotFigure | None:
    panels = []
    for row in shown.rows:
        dots, undefined = [], []
        for cell in (*row.cells, *row.published):
            gain = cell.increment
            if gain.value is None:
                undefined.append((cell.signal, cell.why or "no numbers in the table"))
            else:
                dots.append(Dot(cell.signal, gain.value, gain.lower, gain.upper, 0 if cell.predicts else 1))
        panels.append(DotPanel(panel_title(row, shown), tuple(dots), tuple(undefined)))
    if not any(panel.dots for panel in panels):
        return None
    words = Words(
        "families-increments",
        gains_of_signals(shown),
        "AUC of all baselines and the signal together minus that of all baselines, within task types "
        f"where there are any, with {data.interval}, at the last number of tokens that counts. Blue: the verdict is "
        "signal or weak signal, after adjustment for all signals of the study. Below the families: detectors of the "
        f"literature on the same signals.{covered('increments', data.interval)}",
        "Increment in AUC over all baselines, per behaviour and signal.",
        how="A dot to the right of the dashed line, with its whole interval, knows more than all baselines do.",
        sources={name: data.table(name) for name in ("verdicts", "early") if not data.table(name).is_empty()},
        section="signals",
    )
    return DotFigure(
        words,
        tuple(panels),
        x_label="Increment of AUC",
        first_label=f"increment, {data.interval}",
        reference=0.0,
        reference_label="no increment",
        tone_labels=("tells the behaviour", "not shown to tell it"),
    )
