"""Activity surfaces, drawn with plotly: as 3-D surfaces, as flat maps, and as bars where they are small."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from foretell.showing.draw_plotly.frame import empty_picture, numbers, picture
from foretell.showing.figures.figure import SurfaceFigure, SurfacePanel
from foretell.showing.figures.palette import COLOUR_SCALES, INTERVAL, NULL_BAND, mixed
from foretell.showing.figures.surfaces.surface_bars import bars_of, is_small
from foretell.showing.rounding import number_text
from foretell.showing.untrusted import plotly_text, scene_text, token_label

__all__ = ["surface_pictures"]

_EYE_DISTANCE = 2.45
_HOVER = "%{customdata}<extra></extra>"
_PATTERNS = ("", "/")


def surface_pictures(figure: SurfaceFigure) -> tuple[go.Figure, ...]:
    """Return a picture per answer; the page draws the common colour bar.

    Sheets around a surface have no hover text of their own: the page gives them that of the first trace.
    """
    if figure.shape == "flat":
        return tuple(_flat(figure, panel) for panel in figure.panels)
    return tuple(_bars(figure, panel) if is_small(panel) else _surface(figure, panel) for panel in figure.panels)


def _hover_texts(figure: SurfaceFigure, panel: SurfacePanel) -> list[list[str]]:
    """Return what is shown at the pointer for each layer and token: numbers of the table, not those of the drawing."""
    return [
        [_hover_text(figure, panel, row, column) for column in range(len(panel.tokens))]
        for row in range(len(figure.layers))
    ]


def _hover_text(figure: SurfaceFigure, panel: SurfacePanel, row: int, column: int) -> str:
    place = f"layer {figure.layers[row]}, token {column}: “{plotly_text(panel.tokens[column])}”"
    text = f"{place}<br>activity {number_text(float(panel.values[row, column]))}"
    for name, lower, upper in (
        ("95 % interval", panel.lower, panel.upper),
        ("random directions", panel.null_lower, panel.null_upper),
    ):
        if lower is not None and upper is not None:
            low, high = (number_text(float(end[row, column])) for end in (lower, upper))
            text += f"<br>{name} {low} to {high}"
    return text


def _transposed(texts: list[list[str]]) -> list[list[str]]:
    return [list(column) for column in zip(*texts, strict=True)]


def _axes(figure: SurfaceFigure, panel: SurfacePanel) -> dict[str, Any]:
    return {"x": list(figure.layers), "y": list(range(len(panel.tokens)))}


def _colours(figure: SurfaceFigure) -> list[list[Any]]:
    return [list(stop) for stop in COLOUR_SCALES[figure.scale]]


def _ticks(labels: list[str], most: int) -> dict[str, Any]:
    step = max(1, math.ceil(len(labels) / most))
    places = list(range(0, len(labels), step))
    return {"tickvals": places, "ticktext": [labels[place] for place in places]}


def _token_ticks(panel: SurfacePanel, most: int, write: Callable[[str], str]) -> dict[str, Any]:
    return _ticks([write(token_label(token, length=14)) for token in panel.tokens], most)


def _clipped(values: Float[np.ndarray, "..."], limit: float) -> Any:
    return numbers(np.clip(values, -limit, limit))


def _surface(figure: SurfaceFigure, panel: SurfacePanel) -> go.Figure:
    limit = figure.z_limit
    trace = go.Surface(
        z=_clipped(panel.values.T, limit),
        cmin=-limit,
        cmax=limit,
        colorscale=_colours(figure),
        showscale=False,
        lighting={"ambient": 0.75, "diffuse": 0.5, "specular": 0.05, "roughness": 0.9},
        contours={"z": {"highlight": False}},
        # plotly looks up a surface's own data at [x][y], while z is [y][x]
        customdata=_hover_texts(figure, panel),
        hovertemplate=_HOVER,
        **_axes(figure, panel),
    )
    elevation, azimuth = (math.radians(angle) for angle in figure.camera)
    eye = {
        "x": _EYE_DISTANCE * math.cos(elevation) * math.cos(azimuth),
        "y": _EYE_DISTANCE * math.cos(elevation) * math.sin(azimuth),
        "z": _EYE_DISTANCE * math.sin(elevation),
    }
    small = {"tickfont": {"size": 11}, "showspikes": False}
    heights = np.linspace(-limit, limit, 5)[1:].tolist()  # the lowest tick would overlap the first layer's label
    scene = {
        "xaxis": {"title": {"text": "Layer"}, "nticks": 6, **small},
        "yaxis": {"title": {"text": "Token"}, **_token_ticks(panel, 10, scene_text), **small},
        "zaxis": {"title": {"text": "Activity"}, "range": [-limit, limit], "tickvals": heights, **small},
        "aspectmode": "manual",
        "aspectratio": {"x": 1.05, "y": 1.2, "z": 0.65},
        "camera": {"eye": eye, "center": {"x": 0, "y": 0, "z": -0.12}},
        "dragmode": "turntable",
    }
    sheets = [sheet for ends in _bands(figure, panel) for sheet in _sheets(figure, panel, *ends)]
    legend = {  # in the upper corner, which a turned surface leaves free; the axes' titles are below
        "x": 0.0,
        "y": 1.0,
        "xanchor": "left",
        "yanchor": "top",
        "font": {"size": 11},
        "bgcolor": "rgba(0,0,0,0)",
    }
    return picture(
        [trace, *sheets], title="", height=None, scene=scene, legend=legend, margin={"l": 0, "r": 0, "t": 0, "b": 0}
    )


def _bands(figure: SurfaceFigure, panel: SurfacePanel) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Return name, colour and both ends of the bands that an answer has."""
    every = (
        ("95 % interval of the mean", INTERVAL, panel.lower, panel.upper),
        (figure.band_label, NULL_BAND, panel.null_lower, panel.null_upper),
    )
    return [(name, colour, low, high) for name, colour, low, high in every if low is not None and high is not None]


def _sheets(
    figure: SurfaceFigure, panel: SurfacePanel, name: str, colour: str, *ends: Float[np.ndarray, "layer token"]
) -> list[go.Surface]:
    """Return both ends of a band as thin sheets with one legend entry that toggles them."""
    return [
        go.Surface(
            z=_clipped(end.T, figure.z_limit),
            colorscale=[[0.0, colour], [1.0, colour]],
            opacity=0.06,
            lighting={"ambient": 1.0, "diffuse": 0.0, "specular": 0.0},
            showscale=False,
            hovertemplate=_HOVER,  # a sheet is in front of the surface, so the pointer is on the sheet
            name=plotly_text(name),
            legendgroup=colour,
            showlegend=index == 0,
            **_axes(figure, panel),
        )
        for index, end in enumerate(ends)
    ]


def _bars(figure: SurfaceFigure, panel: SurfacePanel) -> go.Figure:
    """Return a small surface as bars, coloured and limited as a surface is."""
    bars, limit = bars_of(panel, figure.layers), figure.z_limit
    if not bars.sets:
        return empty_picture("", "the activity has no value at any layer and token", height=None)
    traces: list[Any] = []
    for index, each in enumerate(bars.sets):
        heights = np.clip(panel.values[each.layer, each.token], -limit, limit)
        colours = [mixed(COLOUR_SCALES[figure.scale], 0.5 + score / (2 * limit)) for score in heights.tolist()]
        traces.append(
            go.Bar(
                x=numbers(each.x),
                y=numbers(heights),
                width=bars.width,
                name=plotly_text(each.label),
                marker={"color": colours, "pattern": {"shape": _PATTERNS[index % 2]}},
                customdata=[
                    _hover_text(figure, panel, int(row), int(column))
                    for row, column in zip(each.layer, each.token, strict=True)
                ],
                hovertemplate=_HOVER,
                showlegend=len(bars.sets) > 1,
            )
        )
        for name, colour, low, high in _bands(figure, panel):
            ends = [np.clip(end[each.layer, each.token], -limit, limit) for end in (low, high)]
            half = numbers((ends[1] - ends[0]) / 2)
            traces.append(
                go.Scatter(
                    x=numbers(each.x),
                    y=numbers((ends[0] + ends[1]) / 2),
                    mode="markers",
                    marker={"size": 1, "color": colour},
                    error_y={"type": "data", "array": half, "color": colour, "thickness": 2, "width": 3},
                    name=plotly_text(name),
                    legendgroup=colour,
                    showlegend=index == 0,
                    hoverinfo="skip",
                )
            )
    return picture(
        traces,
        title="",
        height=None,
        barmode="overlay",
        hovermode="x",  # a bar near zero cannot be pointed at
        xaxis={"title": {"text": bars.x_label}} | _ticks([plotly_text(tick) for tick in bars.ticks], 16),
        yaxis={"range": [-1.04 * limit, 1.04 * limit]},
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        margin={"l": 40, "r": 12, "t": 12, "b": 90},
    )


def _flat(figure: SurfaceFigure, panel: SurfacePanel) -> go.Figure:
    trace = go.Heatmap(
        z=numbers(panel.values.T),
        zmin=-figure.z_limit,
        zmax=figure.z_limit,
        colorscale=_colours(figure),
        showscale=False,
        customdata=_transposed(_hover_texts(figure, panel)),
        hovertemplate=_HOVER,
        **_axes(figure, panel),
    )
    return picture(
        [trace],
        title="",
        height=int(np.clip(90 + 15 * len(panel.tokens), 240, 760)),
        xaxis={"title": {"text": "Layer"}, "showgrid": False, "zeroline": False},
        yaxis={"autorange": "reversed", "showgrid": False, "zeroline": False}
        | _token_ticks(panel, 46, plotly_text)
        | {"tickfont": {"size": 10}},
        plot_bgcolor="#c9cdd4",
        margin={"l": 90, "r": 12, "t": 28, "b": 44},
    )
