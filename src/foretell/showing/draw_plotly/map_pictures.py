"""Layer x head maps, drawn with plotly."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from foretell.showing.draw_plotly.frame import empty_picture, numbers, picture
from foretell.showing.figures.figure import MapFigure
from foretell.showing.figures.palette import DIVERGING
from foretell.showing.rounding import number_text

__all__ = ["map_pictures"]


def map_pictures(figure: MapFigure) -> tuple[go.Figure, ...]:
    """Return one map per panel, all with the same scale."""
    made = []
    for panel in figure.panels:
        if panel.note is not None:
            made.append(empty_picture(panel.title, panel.note))
            continue
        heat = go.Heatmap(
            z=numbers(panel.values.T),
            x=list(panel.layers),
            y=list(panel.heads),
            colorscale=[list(stop) for stop in DIVERGING],
            zmin=figure.centre - figure.limit,
            zmax=figure.centre + figure.limit,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 10}, "nticks": 5},
            customdata=[[number_text(float(value)) for value in row] for row in panel.values.T],
            hovertemplate="layer %{x}, head %{y}<br>%{customdata}<extra></extra>",
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
