"""The panels of a figure as one plotly figure, for notebooks, where a page does not arrange them.

one_figure(study_figures(data)[0]).show()
"""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from foretell.errors import InputError
from foretell.showing.draw_plotly.frame import lines
from foretell.showing.draw_plotly.to_plotly import draw, template
from foretell.showing.figures.figure import BarFigure, CurveFigure, DotFigure, Figure, MapFigure

__all__ = ["one_figure"]

_WIDEST = 3
_BETWEEN = 120
"""Pixels between two rows: an axis with its title, and the title of the next panel."""
_SPATIAL = {"surface", "scatter3d", "mesh3d"}
_OWN = ("xaxis", "yaxis", "scene", "title", "shapes", "annotations", "margin", "legend", "height", "template")
"""Parts of a panel's layout that are its own."""


def one_figure(figure: Figure) -> go.Figure:
    """Return a figure with all panels side by side, dark ink on white, so that it can be read in any notebook.

    Args:
        figure: Anything but coloured text.

    Raises:
        InputError: It is coloured text, which plotly does not draw.
    """
    pictures = draw(figure)
    if not pictures:
        name = figure.words.name
        raise InputError(f'"{name}" is coloured text, which plotly does not draw: use library="matplotlib"')
    n_columns = min(len(pictures), _widest(figure))
    n_rows = math.ceil(len(pictures) / n_columns)
    height = n_rows * max(picture.layout.height or 460 for picture in pictures) + 90
    places = [(index // n_columns + 1, index % n_columns + 1) for index in range(len(pictures))]
    specs: list[list[dict[str, Any] | None]] = [[None] * n_columns for _ in range(n_rows)]
    for picture, (row, column) in zip(pictures, places, strict=True):
        specs[row - 1][column - 1] = {"type": "scene" if _is_spatial(picture) else "xy"}
    made = make_subplots(
        n_rows,
        n_columns,
        specs=specs,
        subplot_titles=[lines(panel.title, 60 // n_columns + 12) for panel in figure.panels],
        vertical_spacing=min(_BETWEEN / height, 0.9 / max(n_rows - 1, 1)),
        horizontal_spacing=0.24 if isinstance(figure, DotFigure) else 0.2 / n_columns,
    )
    apart = isinstance(figure, CurveFigure) and not figure.one_legend and len(pictures) > 1
    named: set[str] = set()
    for index, (picture, place) in enumerate(zip(pictures, places, strict=True)):
        last = index == len(pictures) - 1
        _set_legend(picture, named, lines(figure.panels[index].title, 40) if apart else None, has_scale=last)
        for trace in picture.data:
            made.add_trace(trace, *place)
        _add_layout(made, picture, place)
    shared = {name: value for name, value in pictures[0].layout.to_plotly_json().items() if name not in _OWN}
    made.update_layout(**{**shared, "dragmode": None, "showlegend": None})
    ink = template("light")["layout"] | {"paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
    heading = {"text": lines(figure.words.title, 90), "x": 0.01, "xanchor": "left"}
    made.update_layout(template={"layout": ink}, title=heading, height=height)
    return made


def _widest(figure: Figure) -> int:
    if isinstance(figure, BarFigure | MapFigure):
        return figure.n_columns
    return 2 if isinstance(figure, DotFigure) else _WIDEST  # labels of dots need room


def _is_spatial(picture: go.Figure) -> bool:
    return any(trace.type in _SPATIAL for trace in picture.data)


def _set_legend(picture: go.Figure, named: set[str], panel: str | None, *, has_scale: bool) -> None:
    """Name what is drawn once for all panels, or, where curves of each panel have names of their own, by panel."""
    for index, trace in enumerate(picture.data):
        if trace.type in {"heatmap", "surface"}:
            trace.showscale = has_scale and index == 0  # one colour bar: all panels have one scale
        if trace.name is None or trace.type == "heatmap":
            continue
        if panel is not None:
            trace.legendgroup, trace.legendgrouptitle = panel, {"text": panel}
            continue
        trace.legendgroup = trace.name
        trace.showlegend = trace.showlegend is not False and trace.name not in named
        named.add(trace.name)


def _add_layout(made: go.Figure, picture: go.Figure, place: tuple[int, int]) -> None:
    """Add a panel's axes, shapes and notes at its place."""
    layout = picture.layout.to_plotly_json()
    if _is_spatial(picture):
        made.update_scenes(layout.get("scene", {}), row=place[0], col=place[1])
        return
    cell = made.get_subplot(*place)
    for name, axis in (("xaxis", cell.xaxis), ("yaxis", cell.yaxis)):
        axis.update(layout.get(name, {}))
    if not picture.data:
        # nothing can refer to axes on which nothing is drawn
        middle = {"x": sum(cell.xaxis.domain) / 2, "y": sum(cell.yaxis.domain) / 2}
        for one in layout.get("annotations", ()):
            made.add_annotation({**one, **middle, "xref": "paper", "yref": "paper"})
        return
    x, y = (axis.plotly_name.replace("axis", "") for axis in (cell.xaxis, cell.yaxis))
    for kind, add in (("shapes", made.add_shape), ("annotations", made.add_annotation)):
        for one in layout.get(kind, ()):
            add({**one, "xref": _reference(one.get("xref"), x), "yref": _reference(one.get("yref"), y)})


def _reference(given: str | None, axis: str) -> str:
    return f"{axis} domain" if given == "paper" else axis
