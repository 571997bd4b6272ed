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
from foretell.showing.figures.figure import BarFigure, Figure, MapFigure

__all__ = ["one_figure"]

_WIDEST = 3
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
    widest = figure.n_columns if isinstance(figure, BarFigure | MapFigure) else _WIDEST
    n_columns = min(len(pictures), widest)
    n_rows = math.ceil(len(pictures) / n_columns)
    places = [(index // n_columns + 1, index % n_columns + 1) for index in range(len(pictures))]
    specs: list[list[dict[str, Any] | None]] = [[None] * n_columns for _ in range(n_rows)]
    for picture, (row, column) in zip(pictures, places, strict=True):
        specs[row - 1][column - 1] = {"type": "scene" if _is_spatial(picture) else "xy"}
    titles = [lines(panel.title, 60 // n_columns + 12) for panel in figure.panels]
    made = make_subplots(n_rows, n_columns, specs=specs, subplot_titles=titles, vertical_spacing=0.3 / n_rows)
    named: set[str] = set()
    for index, (picture, place) in enumerate(zip(pictures, places, strict=True)):
        _add(made, picture, place, named, is_last=index == len(pictures) - 1)
    shared = {name: value for name, value in pictures[0].layout.to_plotly_json().items() if name not in _OWN}
    made.update_layout(**{**shared, "dragmode": None, "showlegend": None})
    height = max(picture.layout.height or 460 for picture in pictures)
    ink = template("light")["layout"] | {"paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
    heading = {"text": lines(figure.words.title, 90), "x": 0.01, "xanchor": "left"}
    made.update_layout(template={"layout": ink}, title=heading, height=n_rows * height + 90)
    return made


def _is_spatial(picture: go.Figure) -> bool:
    return any(trace.type in _SPATIAL for trace in picture.data)


def _add(made: go.Figure, picture: go.Figure, place: tuple[int, int], named: set[str], *, is_last: bool) -> None:
    """Add a panel's traces, axes, shapes and notes at its place."""
    for index, trace in enumerate(picture.data):
        if trace.type in {"heatmap", "surface"}:
            trace.showscale = is_last and index == 0  # one colour bar: all panels have one scale
        if trace.name is not None and trace.type not in {"heatmap"}:
            trace.legendgroup = trace.name
            trace.showlegend = trace.showlegend is not False and trace.name not in named
            named.add(trace.name)
        made.add_trace(trace, *place)
    layout = picture.layout.to_plotly_json()
    cell = made.get_subplot(*place)
    if _is_spatial(picture):
        made.update_scenes(layout.get("scene", {}), row=place[0], col=place[1])
        return
    for name, axis in (("xaxis", cell.xaxis), ("yaxis", cell.yaxis)):
        axis.update(layout.get(name, {}))
    x, y = (axis.plotly_name.replace("axis", "") for axis in (cell.xaxis, cell.yaxis))
    for kind, add in (("shapes", made.add_shape), ("annotations", made.add_annotation)):
        for one in layout.get(kind, ()):
            ends = {"xref": _reference(one.get("xref"), x), "yref": _reference(one.get("yref"), y)}
            add({**one, **ends})


def _reference(given: str | None, axis: str) -> str:
    return f"{axis} domain" if given == "paper" else axis
