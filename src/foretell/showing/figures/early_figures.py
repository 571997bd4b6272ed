"""AUC of every signal over the course of an answer: by generated tokens, and by the share that is written.

All numbers are taken from the tables of a study; nothing is estimated here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from foretell.showing.figures.figure import Curve, CurveFigure, CurvePanel, Words
from foretell.showing.figures.table_cells import column, listed, reasons
from foretell.showing.figures.titles import early_signals, signals_halfway
from foretell.showing.overview import BASELINE, Overview, OverviewRow, families, shown_signal
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text

__all__ = ["early_figures", "panel_title", "shared_range"]

_MOST_FAMILIES = 4
"""Curves of one panel, besides that of the baselines."""

_BASELINE_TONE = 6
"""Another colour than those of the families."""

_LOWEST = 0.35
_NEAREST_TICKS = 0.45


@dataclass(frozen=True)
class _Moments:
    """Where a table has its moments, and how they are shown."""

    column: str
    place: Callable[[float], float]
    """Place of a moment on the axis."""
    name: Callable[[float], str]
    """A moment at the pointer."""
    tick: Callable[[float], str]
    label: str
    """Of the axis."""


def _of_tokens(n: float) -> str:
    return "before the first token" if n == 0 else f"{n:g} tokens" if n > 1 else "1 token"


def _of_share(position: float) -> str:
    return {0.0: "before the first token", 1.0: "whole answers"}.get(position, f"{position:.0%} of the answer")


_TOKENS = _Moments("n_generated", lambda n: math.log2(1 + n), _of_tokens, lambda n: f"{n:g}", "Generated tokens")
_POSITIONS = _Moments("position", lambda one: 4 * one, _of_share, lambda one: f"{one:.0%}", "Share of the answer")


def early_figures(data: ReportData, shown: Overview) -> tuple[CurveFigure, ...]:
    """Return the curves by generated tokens, and by the share of each answer where the study has it."""
    chosen = _chosen(data, shown)
    drawn = {shown_signal(signal) for signal in chosen}
    left = [name for name in shown.signals if name not in drawn]
    return (_by_tokens(data, shown, chosen, left), *_by_share(data, shown, chosen, left))


def _by_tokens(data: ReportData, shown: Overview, chosen: Sequence[str], left: Sequence[str]) -> CurveFigure:
    words = Words(
        "early",
        early_signals(shown),
        f"Held-out AUC over all samples, with {data.interval}; an answer that has "
        "ended counts as it is. Grey: the words so far tell the label by themselves, so nothing there is foretold."
        + _omitted(left, "early"),
        "Held-out AUC against the number of generated tokens, per behaviour. "
        + listed(
            f"{row.behaviour or row.dataset}, {cell.signal} {estimate_text(cell.auc.value, None, None)}"
            for row in shown.rows
            for cell in row.cells
        ),
        how="A signal is worth something where its line is above the dotted one: the best baseline by then.",
        sources={"early": data.table("early")},
        section="signals",
    )
    return _figure(words, data.table("early"), shown, chosen, _TOKENS)


def _by_share(data: ReportData, shown: Overview, chosen: Sequence[str], left: Sequence[str]) -> tuple[CurveFigure, ...]:
    table = data.table("early_relative")
    if table.is_empty():
        return ()
    title = signals_halfway(table)
    words = Words(
        "early-relative",
        title,
        f"Held-out AUC over all samples, with {data.interval}. Of each answer the last checkpoint is taken by which at "
        "most this share is written. Between the ends the length of the whole answer is a baseline too: whoever knows "
        "the share knows it. So this describes, and no verdict rests on it." + _omitted(left, "early_relative"),
        f"Held-out AUC against the share of each answer that is written, per behaviour. {title}.",
        how="A signal is worth something where its line is above the dotted one: the best baseline by then.",
        sources={"early_relative": table},
        section="signals",
        folded=True,
    )
    return (_figure(words, table, shown, chosen, _POSITIONS),)


def _figure(
    words: Words, table: pl.DataFrame, shown: Overview, chosen: Sequence[str], moments: _Moments
) -> CurveFigure:
    panels = [
        _panel(table.filter(pl.col("dataset") == row.dataset), panel_title(row, shown), chosen, moments)
        for row in shown.rows
    ]
    return CurveFigure(
        words,
        tuple(panels),
        moments.label,
        "Held-out AUC",
        y_range=shared_range(panels),
        reference=0.5,
        one_legend=True,
    )


def _omitted(left: Sequence[str], table: str) -> str:
    return f" Not drawn, to stay readable: {', '.join(left)} (see tables/{table}.parquet)." if left else ""


def panel_title(row: OverviewRow, shown: Overview) -> str:
    """Name a panel by its behaviour, and by its dataset where the behaviour has several."""
    if row.behaviour is None:
        return row.dataset
    alike = [one for one in shown.rows if one.behaviour == row.behaviour]
    return row.behaviour if len(alike) == 1 else f"{row.behaviour}: {row.dataset}"


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


def _panel(early: pl.DataFrame, title: str, chosen: Sequence[str], moments: _Moments) -> CurvePanel:
    curves = []
    for index, signal in enumerate(chosen):
        part = early.filter((pl.col("signal") == signal) & pl.col("auc").is_not_null())
        part = part.unique(moments.column, keep="first", maintain_order=True).sort(moments.column)
        if not part.is_empty():
            curves.append(_curve(part, shown_signal(signal), moments, tone=index, marker=index))
    known = early.filter((pl.col("signal") == BASELINE) & pl.col("auc").is_not_null())
    if not known.is_empty():
        best = known.sort("auc", descending=True, maintain_order=True).unique(moments.column, keep="first")
        curves.append(
            _curve(best.sort(moments.column), "best baseline", moments, tone=_BASELINE_TONE, dash=1, named=True)
        )
    if not curves:
        return CurvePanel(title, (), note=reasons(early.to_dicts()))
    counts = early.unique(moments.column).sort(moments.column)
    return CurvePanel(title, tuple(curves), ticks=_ticks(counts, moments), greyed=_greyed(counts, moments))


def _curve(
    part: pl.DataFrame,
    label: str,
    moments: _Moments,
    *,
    tone: int,
    dash: int = 0,
    marker: int | None = None,
    named: bool = False,
) -> Curve:
    at = part[moments.column].to_list()
    names = [moments.name(one) for one in at]
    if named:
        names = [f"{name}, {detector}" for name, detector in zip(names, part["detector"].to_list(), strict=True)]
    x = np.array([moments.place(one) for one in at])
    lower, upper = column(part, "auc_lower"), column(part, "auc_upper")
    return Curve(label, x, column(part, "auc"), tone, dash, marker, lower, upper, tuple(names))


def _ticks(counts: pl.DataFrame, moments: _Moments) -> tuple[tuple[float, str], ...]:
    """Return the moments as ticks, without those that leave no room for the next; the last is always there."""
    kept: list[float] = []
    for one in reversed(counts[moments.column].to_list()):
        if not kept or moments.place(kept[-1]) - moments.place(one) >= _NEAREST_TICKS:
            kept.append(one)
    return tuple((moments.place(one), moments.tick(one)) for one in reversed(kept))


def _greyed(counts: pl.DataFrame, moments: _Moments) -> tuple[tuple[float, float], ...]:
    """Return the ranges around moments that do not count, up to half the way to their neighbours."""
    places = [moments.place(one) for one in counts[moments.column].to_list()]
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


def shared_range(panels: Sequence[CurvePanel]) -> tuple[float, float]:
    """Return limits of the y axis that all panels share."""
    values = [y for panel in panels for curve in panel.curves for y in (curve.y, curve.lower) if y is not None]
    values += [np.array([level.value]) for panel in panels for level in panel.levels]
    lowest = min((float(np.nanmin(y)) for y in values if np.isfinite(y).any()), default=0.5)
    return max(0.0, min(_LOWEST, math.floor(20 * lowest) / 20)), 1.02
