"""Estimates with intervals, drawn with matplotlib."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from foretell.showing.draw_matplotlib.canvas import drawable, grid, set_labels, write
from foretell.showing.draw_matplotlib.paper_width import paper_width
from foretell.showing.figures.figure import DotFigure, DotPanel
from foretell.showing.figures.palette import NEUTRAL, tone
from foretell.showing.untrusted import shortened

__all__ = ["draw_dots"]


def draw_dots(figure: DotFigure) -> Canvas:
    """Draw the estimates, at most two panels side by side, with one legend below."""
    most = max((len(panel.dots) + len(panel.undefined) for panel in figure.panels), default=1)
    n_columns = 1 if len(figure.panels) == 1 else 2
    width = 7.0 if n_columns == 1 else 5.6
    canvas, every = grid(
        len(figure.panels),
        n_columns=n_columns,
        width=width,
        height=1.1 + (0.3 if paper_width() is None else 0.5) * max(most, 2),
        title=figure.words.title,
    )
    for axes, panel in zip(every, figure.panels, strict=True):
        _panel(axes, figure, panel)
        if figure.x_range is not None:
            axes.set_xlim(*figure.x_range)
    whole = paper_width()
    canvas.legend(
        handles=_handles(figure),
        loc="outside lower center",
        ncols=4 if whole is None or whole > 4 else 2,
        handletextpad=0.4,
        columnspacing=1.4,
    )
    return canvas


def _panel(axes: Axes, figure: DotFigure, panel: DotPanel) -> None:
    write(axes, title=panel.title, x_label=figure.x_label, width=50)
    axes.grid(visible=True, axis="x")
    if figure.reference is not None:
        axes.axvline(figure.reference, color="#4b5563", linestyle="--", linewidth=1.0, zorder=1)
    labels = [shortened(drawable(dot.label), 40) for dot in panel.dots]
    for place, dot in enumerate(panel.dots):
        if dot.lower is not None and dot.upper is not None:
            axes.plot([dot.lower, dot.upper], [place, place], color=tone(dot.tone), linewidth=2.0, zorder=2)
        shape = "s" if dot.tone == 1 else "o"
        axes.plot([dot.estimate], [place], shape, color=tone(dot.tone), markersize=6, zorder=3)
        if dot.second is not None:
            axes.plot([dot.second], [place], "D", color=tone(dot.tone), markerfacecolor="white", markersize=5, zorder=3)
    for label, reason in panel.undefined:
        place = len(labels)
        labels.append(shortened(drawable(label), 40))
        axes.text(
            0.02,
            place,
            f"undefined: {shortened(drawable(reason), 50)}",
            transform=axes.get_yaxis_transform(),
            color="#6b7280",
            fontsize="small",
            va="center",
            parse_math=False,
        )
    set_labels(axes, "y", range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)


def _handles(figure: DotFigure) -> list[Line2D]:
    first_tone = "#20242b" if figure.tone_labels else tone(0)
    handles = [
        Line2D([], [], color=tone(index), marker="s" if index == 1 else "o", linewidth=2, label=drawable(label))
        for index, label in enumerate(figure.tone_labels)
    ]
    if figure.second_label or not figure.tone_labels:
        handles.append(Line2D([], [], color=first_tone, marker="o", linewidth=2, label=figure.first_label))
    if figure.second_label:
        handles.append(
            Line2D(
                [], [], color=first_tone, marker="D", markerfacecolor="white", linestyle="", label=figure.second_label
            )
        )
    if figure.reference is not None:
        handles.append(Line2D([], [], color=NEUTRAL, linestyle="--", label=figure.reference_label))
    return handles
