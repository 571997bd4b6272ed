"""Layer x head maps and activity surfaces, drawn with plotly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from foretell.showing.draw_plotly.frame import empty_picture, picture
from foretell.showing.figures.figure import MapFigure, SurfaceFigure, SurfacePanel
from foretell.showing.figures.palette import COLOUR_SCALES, DIVERGING, INTERVAL, NULL_BAND
from foretell.showing.untrusted import plotly_text, scene_text, token_label

__all__ = ["map_pictures", "surface_pictures"]

_EYE_DISTANCE = 2.45


def _grid(values: Float[np.ndarray, "row column"]) -> list[list[float | None]]:
    return [[round(float(value), 5) if np.isfinite(value) else None for value in row] for row in values]


def map_pictures(figure: MapFigure) -> tuple[go.Figure, ...]:
    """Return one map per panel, all with the same scale."""
    made = []
    for panel in figure.panels:
        if panel.note is not None:
            made.append(empty_picture(panel.title, panel.note))
            continue
        heat = go.Heatmap(
            z=_grid(panel.values.T),
            x=list(panel.layers),
            y=list(panel.heads),
            colorscale=[list(stop) for stop in DIVERGING],
            zmin=figure.centre - figure.limit,
            zmax=figure.centre + figure.limit,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 10}, "nticks": 5},
            hovertemplate="layer %{x}, head %{y}<br>%{z:.3f}<extra></extra>",
        )
        layer, head = np.nonzero(panel.marked)
        ring = {"symbol": "circle-open", "size": 9, "color": "#111111", "line": {"width": 2, "color": "#111111"}}
        marks = go.Scatter(
            x=[panel.layers[index] for index in layer],
            y=[panel.heads[index] for index in head],
            mode="markers",
            marker=ring,
            hoverinfo="skip",
            showlegend=False,
        )
        made.append(
            picture(
                [heat, marks],
                title=panel.title,
                height=int(np.clip(130 + 14 * len(panel.heads), 240, 560)),
                xaxis={"title": {"text": "Layer"}, "showgrid": False, "zeroline": False},
                yaxis={"title": {"text": "Head"}, "autorange": "reversed", "showgrid": False, "zeroline": False},
                plot_bgcolor="#c9cdd4",
            )
        )
    return tuple(made)


def surface_pictures(figure: SurfaceFigure) -> tuple[go.Figure, ...]:
    """Return one 3-D surface, or one flat map, per answer; the page draws the common colour bar."""
    return tuple(_surface(figure, p) if figure.shape == "surface" else _flat(figure, p) for p in figure.panels)


def _hover(figure: SurfaceFigure, panel: SurfacePanel) -> dict[str, Any]:
    """Return axes, values and hover text of one answer, with tokens as rows."""
    text = [[plotly_text(token)] * len(figure.layers) for token in panel.tokens]
    return {
        "x": list(figure.layers),
        "y": list(range(len(panel.tokens))),
        "text": text,
        "customdata": _grid(panel.values.T),
        "colorscale": [list(stop) for stop in COLOUR_SCALES[figure.scale]],
        "showscale": False,
        "hovertemplate": "layer %{x}, token %{y}: “%{text}”<br>activity %{customdata:.2f}<extra></extra>",
    }


def _token_ticks(panel: SurfacePanel, most: int, write: Callable[[str], str]) -> dict[str, Any]:
    step = max(1, math.ceil(len(panel.tokens) / most))
    places = list(range(0, len(panel.tokens), step))
    return {"tickvals": places, "ticktext": [write(token_label(panel.tokens[i], length=14)) for i in places]}


def _surface(figure: SurfaceFigure, panel: SurfacePanel) -> go.Figure:
    limit = figure.z_limit
    trace = go.Surface(
        z=_grid(np.clip(panel.values, -limit, limit).T),
        cmin=-limit,
        cmax=limit,
        lighting={"ambient": 0.75, "diffuse": 0.5, "specular": 0.05, "roughness": 0.9},
        contours={"z": {"highlight": False}},
        **_hover(figure, panel),
    )
    elevation, azimuth = (math.radians(angle) for angle in figure.camera)
    eye = {
        "x": _EYE_DISTANCE * math.cos(elevation) * math.cos(azimuth),
        "y": _EYE_DISTANCE * math.cos(elevation) * math.sin(azimuth),
        "z": _EYE_DISTANCE * math.sin(elevation),
    }
    small = {"tickfont": {"size": 10}, "showspikes": False}
    heights = np.linspace(-limit, limit, 5)[1:].tolist()  # the lowest tick would overlap the first layer's label
    scene = {
        "xaxis": {"title": {"text": "layer"}, **small},
        "yaxis": {"title": {"text": ""}, **_token_ticks(panel, 16, scene_text), **small},
        "zaxis": {"title": {"text": ""}, "range": [-limit, limit], "tickvals": heights, **small},
        "aspectmode": "manual",
        "aspectratio": {"x": 1.05, "y": 1.2, "z": 0.65},
        "camera": {"eye": eye, "center": {"x": 0, "y": 0, "z": -0.12}},
        "dragmode": "turntable",
    }
    sheets = [
        *_sheets(figure, panel, (panel.lower, panel.upper), ("95 % interval of the mean", INTERVAL)),
        *_sheets(figure, panel, (panel.null_lower, panel.null_upper), (figure.band_label, NULL_BAND)),
    ]
    legend = {
        "x": 0.0,
        "y": 0.0,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 11},
        "bgcolor": "rgba(0,0,0,0)",
    }
    return picture(
        [trace, *sheets], title="", height=None, scene=scene, legend=legend, margin={"l": 0, "r": 0, "t": 0, "b": 0}
    )


def _sheets(
    figure: SurfaceFigure,
    panel: SurfacePanel,
    ends: tuple[Float[np.ndarray, "layer token"] | None, Float[np.ndarray, "layer token"] | None],
    named: tuple[str, str],
) -> list[go.Surface]:
    """Return both ends of a band as thin sheets with one legend entry that toggles them."""
    name, colour = named
    return [
        go.Surface(
            z=_grid(np.clip(end, -figure.z_limit, figure.z_limit).T),
            x=list(figure.layers),
            y=list(range(len(panel.tokens))),
            colorscale=[[0.0, colour], [1.0, colour]],
            opacity=0.09,
            lighting={"ambient": 1.0, "diffuse": 0.0, "specular": 0.0},
            showscale=False,
            hoverinfo="skip",
            name=plotly_text(name),
            legendgroup=colour,
            showlegend=index == 0,
        )
        for index, end in enumerate(ends)
        if end is not None
    ]


def _flat(figure: SurfaceFigure, panel: SurfacePanel) -> go.Figure:
    trace = go.Heatmap(z=_grid(panel.values.T), zmin=-figure.z_limit, zmax=figure.z_limit, **_hover(figure, panel))
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
