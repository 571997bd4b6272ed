"""Which signal tells a behaviour, and how early: AUC by generated tokens, hidden states by layer, increments.

All numbers are taken from the tables of a study; nothing is estimated here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

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
from foretell.showing.figures.table_cells import column, listed, reasons
from foretell.showing.figures.titles import early_signals, gains_of_signals, separating_layer
from foretell.showing.overview import ALL_BASELINES, BASELINE, Overview, OverviewRow, families, overview, shown_signal
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text

__all__ = ["signal_figures"]

_MOST_FAMILIES = 4
"""Curves of one panel, besides that of the baselines."""

_LOWEST = 0.35
_NEAREST_TICKS = 0.45


def signal_figures(data: ReportData) -> tuple[Figure, ...]:
    """Return the figures of a study that compares signals over the generated tokens; none of another study."""
    shown = overview(data)
    if not shown.timed:
        return ()
    made = [_early(data, shown), _layers(data, shown), _increments(data, shown)]
    return tuple(figure for figure in made if figure is not None)


def _title(row: OverviewRow, shown: Overview) -> str:
    """Name a panel by its behaviour, and by its dataset where the behaviour has several."""
    if row.behaviour is None:
        return row.dataset
    alike = [one for one in shown.rows if one.behaviour == row.behaviour]
    return row.behaviour if len(alike) == 1 else f"{row.behaviour}: {row.dataset}"


def _place(n_generated: float) -> float:
    """Return the place of a number of tokens on the axis, which is logarithmic and begins at 0."""
    return math.log2(1 + n_generated)


def _chosen(data: ReportData, shown: Overview) -> tuple[str, ...]:
    """Return the families with a curve: if there are too many, not all together, and those with the highest AUCs."""
    every = families(data)
    if len(every) <= _MOST_FAMILIES:
        return every
    if len(every) == _MOST_FAMILIES + 1 and "all" in every:
        return tuple(signal for signal in every if signal != "all")
    highest: dict[str, float] = {}
    for row in shown.rows:
        for signal, cell in zip(every, map(row.cell, shown.signals), strict=True):
            area = cell.auc.value if cell is not None else None
            highest[signal] = max(highest.get(signal, 0.0), area or 0.0)
    kept = sorted(every, key=lambda signal: -highest[signal])[:_MOST_FAMILIES]
    return tuple(signal for signal in every if signal in kept)


def _early(data: ReportData, shown: Overview) -> CurveFigure:
    early, chosen = data.table("early"), _chosen(data, shown)
    panels = [
        _early_panel(early.filter(pl.col("dataset") == row.dataset), row, _title(row, shown), chosen)
        for row in shown.rows
    ]
    drawn = {shown_signal(signal) for signal in chosen}
    left = [name for name in shown.signals if name not in drawn]
    omitted = f" Not drawn, to stay readable: {', '.join(left)} (see tables/early.parquet)." if left else ""
    words = Words(
        "early",
        early_signals(shown),
        f"Held-out AUC over all samples, with {data.interval}; an answer that has "
        "ended counts as it is. Grey: the words so far tell the label by themselves, so nothing there is foretold."
        + omitted,
        "Held-out AUC against the number of generated tokens, per behaviour. "
        + listed(
            f"{row.behaviour or row.dataset}, {cell.signal} {estimate_text(cell.auc.value, None, None)}"
            for row in shown.rows
            for cell in row.cells
        ),
        how="A signal is worth something where its line is above the dotted one: the best baseline by then.",
        sources={"early": early},
        section="signals",
    )
    return CurveFigure(
        words,
        tuple(panels),
        "Generated tokens",
        "Held-out AUC",
        y_range=_range(panels),
        reference=0.5,
        one_legend=True,
    )


def _early_panel(early: pl.DataFrame, row: OverviewRow, title: str, chosen: Sequence[str]) -> CurvePanel:
    curves = []
    for index, signal in enumerate(chosen):
        part = early.filter((pl.col("signal") == signal) & pl.col("auc").is_not_null())
        part = part.unique("n_generated", keep="first", maintain_order=True).sort("n_generated")
        if not part.is_empty():
            curves.append(_curve(part, shown_signal(signal), tone=index, marker=index))
    known = early.filter((pl.col("signal") == BASELINE) & pl.col("auc").is_not_null())
    if not known.is_empty():
        best = known.sort("auc", descending=True, maintain_order=True).unique("n_generated", keep="first").sort(
            "n_generated"
        )  # fmt: skip
        curves.append(_curve(best, "best baseline", tone=_BASELINE_TONE, dash=1, named=True))
    if not curves:
        return CurvePanel(title, (), note=reasons(early.to_dicts()))
    counts = early.unique("n_generated").sort("n_generated")
    return CurvePanel(
        title, tuple(curves), ticks=_ticks(counts["n_generated"].to_list()), greyed=_greyed(counts)
    )  # fmt: skip


_BASELINE_TONE = 6
"""Another colour than those of the families."""


def _curve(
    part: pl.DataFrame, label: str, *, tone: int, dash: int = 0, marker: int | None = None, named: bool = False
) -> Curve:
    tokens = part["n_generated"].to_list()
    names = ["before the first token" if n == 0 else f"{n} tokens" if n > 1 else "1 token" for n in tokens]
    if named:
        names = [f"{name}, {detector}" for name, detector in zip(names, part["detector"].to_list(), strict=True)]
    x = np.array([_place(n) for n in tokens])
    lower, upper = column(part, "auc_lower"), column(part, "auc_upper")
    return Curve(label, x, column(part, "auc"), tone, dash, marker, lower, upper, tuple(names))


def _ticks(tokens: Sequence[int]) -> tuple[tuple[float, str], ...]:
    """Return the checkpoints as ticks, without those that leave no room for the next; the last is always there."""
    kept: list[int] = []
    for n in sorted(tokens, reverse=True):
        if not kept or _place(kept[-1]) - _place(n) >= _NEAREST_TICKS:
            kept.append(n)
    return tuple((_place(n), str(n)) for n in reversed(kept))


def _greyed(counts: pl.DataFrame) -> tuple[tuple[float, float], ...]:
    """Return the ranges around checkpoints that do not count, up to half the way to their neighbours."""
    places = [_place(n) for n in counts["n_generated"].to_list()]
    middles = [(one + other) / 2 for one, other in pairwise(places)]
    edges = [places[0] - 0.15, *middles, places[-1] + 0.15]
    ranges: list[tuple[float, float]] = []
    for index, counted in enumerate(counts["counts"].to_list()):
        if counted is not False:
            continue
        if ranges and ranges[-1][1] == edges[index]:
            ranges[-1] = (ranges[-1][0], edges[index + 1])
        else:
            ranges.append((edges[index], edges[index + 1]))
    return tuple(ranges)


def _range(panels: Sequence[CurvePanel]) -> tuple[float, float]:
    """Return limits of the y axis that all panels share."""
    values = [y for panel in panels for curve in panel.curves for y in (curve.y, curve.lower) if y is not None]
    values += [np.array([level.value]) for panel in panels for level in panel.levels]
    lowest = min((float(np.nanmin(y)) for y in values if np.isfinite(y).any()), default=0.5)
    return max(0.0, min(_LOWEST, math.floor(20 * lowest) / 20)), 1.02


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
        panels.append(CurvePanel(_title(row, shown), tuple(curves), _known_at(data, row, part), note))
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
        words, tuple(panels), "Layer", "Held-out AUC", y_range=_range(panels), reference=0.5, one_legend=True
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
        panels.append(DotPanel(_title(row, shown), tuple(dots), tuple(undefined)))
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
