"""Curves drawn with matplotlib: ROC curves, and values per layer with bands and baselines."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from foretell.showing.draw_matplotlib.canvas import (
    LINE_STYLES,
    MARKER_SHAPES,
    drawn_lines,
    empty_panel,
    grid,
    legend,
    outer_labels,
    set_labels,
    write,
)
from foretell.showing.draw_matplotlib.paper_width import paper_width
from foretell.showing.figures.figure import Curve, CurveFigure, CurvePanel
from foretell.showing.figures.palette import NEUTRAL, dash, marker, tone

__all__ = ["draw_curves"]


def draw_curves(figure: CurveFigure) -> Canvas:
    """Draw the curves, at most three panels side by side."""
    single = len(figure.panels) == 1
    n_lines = max((len(panel.curves) + len(panel.levels) for panel in figure.panels), default=0)
    width, height = (6.4, 4.6) if single else (4.0, 3.6)
    if figure.one_legend:
        height, n_lines = height - 0.9, 0
    canvas, every = grid(
        len(figure.panels), n_columns=3, width=width, height=height + 0.17 * n_lines, title=figure.words.title
    )
    for axes, panel in zip(every, figure.panels, strict=True):
        write(axes, title=panel.title, width=int(9 * width))
        if panel.note is not None:
            empty_panel(axes, panel.note)
            continue
        _limits(axes, figure, panel)
        for curve in panel.curves:
            _line(axes, curve, thin=figure.roc, shade=0.1 if figure.one_legend else 0.18)
        _references(axes, figure, panel)
        write(axes, x_label=figure.x_label, y_label=figure.y_label)
        if not figure.one_legend:
            legend(axes)
    if figure.roc:
        outer_labels(every, [panel.note is None for panel in figure.panels])
    if figure.one_legend:
        _one_legend(canvas, every)
    return canvas


def _limits(axes: Axes, figure: CurveFigure, panel: CurvePanel) -> None:
    if figure.roc:
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1.0, zorder=1)
        axes.set_aspect("equal")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    elif figure.y_range is not None:
        axes.set_ylim(*figure.y_range)
    if panel.x_range is not None:
        axes.set_xlim(*panel.x_range)
    axes.grid(visible=True)
    if panel.ticks:
        set_labels(axes, "x", *zip(*panel.ticks, strict=True))
    elif not figure.roc and all(bool((curve.x == np.round(curve.x)).all()) for curve in panel.curves):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _references(axes: Axes, figure: CurveFigure, panel: CurvePanel) -> None:
    for start, end in panel.greyed:
        axes.axvspan(start, end, color=NEUTRAL, alpha=0.22, linewidth=0, zorder=0)
    if figure.reference is not None:
        axes.axhline(figure.reference, color=NEUTRAL, linewidth=0.8, zorder=1)
    for level in panel.levels:
        axes.axhline(
            level.value, color="#4b5563", linestyle=LINE_STYLES[dash(level.dash)], linewidth=1.2, label=level.label
        )


def _one_legend(canvas: Canvas, every: list[Axes]) -> None:
    """Draw one legend below all panels; a label that several of them have is there once."""
    handles = {label: handle for axes in every for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        labels = [drawn_lines(label, width=60, lines=2) for label in handles]
        made = canvas.legend(
            list(handles.values()), labels, loc="outside lower center", ncols=_legend_columns(), handlelength=3.2
        )
        for text in made.get_texts():
            text.set_parse_math(False)


def _legend_columns() -> int:
    whole = paper_width()
    return 3 if whole is None or whole > 4 else 2


def _line(axes: Axes, curve: Curve, *, thin: bool, shade: float) -> None:
    shape = None if curve.marker is None else MARKER_SHAPES[marker(curve.marker)]
    axes.plot(
        curve.x,
        curve.y,
        color=tone(curve.tone),
        linestyle=LINE_STYLES[dash(curve.dash)],
        linewidth=1.5,
        marker=shape,
        markersize=4.5,
        markevery=_marker_places(curve, thin=thin),
        label=curve.label,
        zorder=3,
    )
    if curve.lower is not None and curve.upper is not None:
        if curve.x.size == 1:  # a band over one point has no area
            axes.vlines(curve.x, curve.lower, curve.upper, color=tone(curve.tone), linewidth=1.5)
        else:
            axes.fill_between(curve.x, curve.lower, curve.upper, color=tone(curve.tone), alpha=shade, linewidth=0)


def _marker_places(curve: Curve, *, thin: bool) -> list[int]:
    """Return all points of a short line, or eight points evenly spaced along x of a long one."""
    if curve.x.size <= (24 if thin else 64):
        return list(range(curve.x.size))
    start = 0.06 + 0.03 * curve.tone
    wanted = np.arange(start, 0.97, 0.125)
    return sorted({int(np.argmin(np.abs(curve.x - place))) for place in wanted}) if curve.x.size else []
