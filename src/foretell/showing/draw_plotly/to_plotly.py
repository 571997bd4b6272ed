"""Draw figures with plotly: one plotly figure per panel, so that panels can be stacked on narrow screens.

Background, text and grid colours are not set in the figures but in `template`, one for light and one for dark, and the
page switches between them.

    from foretell.showing.draw_plotly import to_plotly
    pictures = to_plotly.draw(figure)
"""

from __future__ import annotations

import json
from typing import Any, Literal

import plotly.graph_objects as go

from foretell.showing.draw_plotly.charts import bar_pictures, curve_pictures, dot_pictures
from foretell.showing.draw_plotly.map_pictures import map_pictures
from foretell.showing.draw_plotly.surface_pictures import surface_pictures
from foretell.showing.figures.figure import BarFigure, CurveFigure, DotFigure, Figure, MapFigure, SurfaceFigure

__all__ = ["draw", "payload", "template"]

Theme = Literal["light", "dark"]

_INKS: dict[Theme, tuple[str, str, str]] = {
    "light": ("#20242b", "#e3e6eb", "#ffffff"),
    "dark": ("#e6e8ec", "#343a44", "#1b1f26"),
}


def draw(figure: Figure) -> tuple[go.Figure, ...]:
    """Return one plotly figure per panel, in order; none for coloured text, which is HTML."""
    if isinstance(figure, CurveFigure):
        return curve_pictures(figure)
    if isinstance(figure, DotFigure):
        return dot_pictures(figure)
    if isinstance(figure, BarFigure):
        return bar_pictures(figure)
    if isinstance(figure, MapFigure):
        return map_pictures(figure)
    return surface_pictures(figure) if isinstance(figure, SurfaceFigure) else ()


def payload(picture: go.Figure) -> dict[str, Any]:
    """Return data and layout of a plotly figure as plain JSON values."""
    plain = json.loads(picture.to_json())
    return {"data": plain["data"], "layout": plain["layout"]}


def template(theme: Theme) -> dict[str, Any]:
    """Return the background, text and grid colours for light or dark pages."""
    ink, line, paper = _INKS[theme]
    axis = {"gridcolor": line, "linecolor": ink, "zerolinecolor": line, "tickcolor": line, "automargin": True}
    spatial = {"gridcolor": line, "linecolor": line, "zerolinecolor": line, "color": ink, "backgroundcolor": paper}
    return {
        "layout": {
            "font": {"color": ink, "family": "system-ui, sans-serif", "size": 12},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": paper, "bordercolor": line, "font": {"color": ink}, "namelength": 60},
            "scene": {"xaxis": spatial, "yaxis": spatial, "zaxis": spatial},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": line, "activecolor": ink},
        }
    }
