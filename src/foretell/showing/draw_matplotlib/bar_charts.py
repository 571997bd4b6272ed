"""Grouped bars with intervals, drawn with matplotlib."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from foretell.showing.draw_matplotlib.canvas import drawable, empty_panel, grid, legend, set_labels, write
from foretell.showing.figures.figure import BarFigure, BarPanel
from foretell.showing.figures.palette import tone
from foretell.showing.untrusted import shortened

__all__ = ["draw_bars"]

_HATCHES = ("", "///", "...", "xx", "\\\\")


def draw_bars(figure: BarFigure) -> Canvas:
    """Draw the bars, each panel with its reference line."""
    canvas, every = grid(
        len(figure.panels), n_columns=figure.n_columns, width=4.8, height=2.9, title=figure.words.title
    )
    for axes, panel in zip(every, figure.panels, strict=True):
        write(axes, title=panel.title, y_label=panel.y_label, width=50)
        if panel.note is not None:
            empty_panel(axes, panel.note)
            continue
        _panel(axes, panel)
        axes.set_ylim(*figure.y_range(panel.y_label))
    return canvas


def _panel(axes: Axes, panel: BarPanel) -> None:
    places = np.arange(len(panel.categories))
    width = 0.8 / len(panel.series)
    axes.grid(visible=True, axis="y")
    for index, series in enumerate(panel.series):
        at = places + (index - (len(panel.series) - 1) / 2) * width
        values = np.array([np.nan if value is None else value for value in series.values])
        axes.bar(
            at,
            values,
            width * 0.92,
            color=tone(series.tone),
            hatch=_HATCHES[index % len(_HATCHES)],
            edgecolor="white",
            linewidth=0,
            label=series.label,
        )
        for place, low, high in zip(at, series.lower, series.upper, strict=True):
            if low is not None and high is not None:
                axes.plot([place, place], [low, high], color="#20242b", linewidth=1.1)
    axes.axhline(
        panel.reference, color="#20242b", linestyle="--", linewidth=1.0, label=f"reference: {panel.reference_label}"
    )
    set_labels(axes, "x", places.tolist(), [shortened(drawable(name), 18) for name in panel.categories])
    legend(
        axes,
        ncols=2,
        borderaxespad=2.2,
        handlelength=1.6,
        columnspacing=1.2,
    )
