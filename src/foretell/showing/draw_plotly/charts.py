"""Curves, intervals and bars, drawn with plotly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go

from foretell.showing.draw_plotly.frame import empty_picture, lines, numbers, picture
from foretell.showing.figures.figure import BarFigure, Curve, CurveFigure, CurvePanel, Dot, DotFigure
from foretell.showing.figures.palette import NEUTRAL, dash, marker, tone
from foretell.showing.rounding import number_text
from foretell.showing.untrusted import plotly_text, shortened

__all__ = ["bar_pictures", "curve_pictures", "dot_pictures"]

_PATTERNS = ("", "/", ".", "x", "\\")
_LEGEND_LINE = 20
_MOST_POINTS = 120


def curve_pictures(figure: CurveFigure) -> tuple[go.Figure, ...]:
    """Return one plotly figure of curves per panel, with the legend below."""
    made = []
    for panel in figure.panels:
        if panel.note is not None:
            made.append(empty_picture(panel.title, panel.note, height=140 if figure.one_legend else 260))
            continue
        traces: list[Any] = []
        if figure.roc:
            diagonal = {"color": NEUTRAL, "width": 1}
            traces.append(
                go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, showlegend=False, hoverinfo="skip")
            )
        for index, curve in enumerate(panel.curves):
            curve = _thinned(curve) if figure.roc else curve
            traces += _curve(curve, per_point=not figure.roc, zorder=-index, shade=0.1 if figure.one_legend else 0.2)
        span = list(panel.x_range or _span(panel.curves))
        for level in panel.levels:
            style = {"color": NEUTRAL, "dash": dash(level.dash), "width": 1.6}
            name = plotly_text(level.label)
            traces.append(
                go.Scatter(x=span, y=[level.value] * 2, mode="lines", line=style, name=name, hovertemplate="%{y:.3f}")
            )
        n_entries = 0 if figure.one_legend else len(panel.curves) + len(panel.levels)
        axis: dict[str, Any] = {"title": {"text": plotly_text(figure.x_label)}}
        if panel.ticks:
            places, texts = zip(*panel.ticks, strict=True)
            axis |= {"tickvals": list(places), "ticktext": list(map(plotly_text, texts))}
        made.append(
            picture(
                traces,
                title=panel.title,
                height=_height(figure) + _LEGEND_LINE * n_entries,
                xaxis=axis
                | ({"range": [-0.01, 1.01]} if figure.roc else {"range": panel.x_range and span})
                | ({"tickvals": [sum(panel.x_range) / 2]} if panel.x_range else {}),
                yaxis={"title": {"text": plotly_text(figure.y_label)}}
                | ({"range": [-0.01, 1.01]} if figure.roc else {"range": list(figure.y_range or ()) or None}),
                shapes=_behind(figure, panel),
                showlegend=not figure.one_legend,
                legend={"orientation": "v", "x": 0, "y": -0.02, "yref": "container", "yanchor": "bottom"}
                | {"font": {"size": 11}, "y": 0.0},
                margin={
                    "l": 56,
                    "r": 12,
                    "t": 40 if panel.title else 14,
                    "b": (62 if n_entries else 44) + _LEGEND_LINE * n_entries,
                },
            )
        )
    return tuple(made)


def _thinned(curve: Curve) -> Curve:
    """Return a curve with at most as many of its points as can be told apart, the first and the last among them."""
    kept = np.unique(np.linspace(0, curve.x.size - 1, min(curve.x.size, _MOST_POINTS)).round().astype(np.int64))
    lower, upper = (None if end is None else end[kept] for end in (curve.lower, curve.upper))
    return replace(curve, x=curve.x[kept], y=curve.y[kept], lower=lower, upper=upper)


def _behind(figure: CurveFigure, panel: CurvePanel) -> list[dict[str, Any]]:
    """Return what is drawn below the curves: greyed ranges and the reference line."""
    made: list[dict[str, Any]] = [
        {"type": "rect", "yref": "paper", "x0": start, "x1": end, "y0": 0, "y1": 1, "line": {"width": 0}}
        | {"fillcolor": NEUTRAL, "opacity": 0.22, "layer": "below"}
        for start, end in panel.greyed
    ]
    if figure.reference is not None:
        line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": figure.reference, "y1": figure.reference}
        made.append(line | {"line": {"color": NEUTRAL, "width": 1}, "layer": "below"})
    return made


def _height(figure: CurveFigure) -> int:
    """Return the height without legend; a single ROC panel is wide, so it is also tall."""
    if figure.one_legend:
        return 204 if len(figure.panels) > 2 else 250
    if not figure.roc:
        return 280
    return 560 if len(figure.panels) == 1 else 400


def _span(curves: tuple[Curve, ...]) -> list[float]:
    ends = [float(end) for curve in curves if curve.x.size for end in (curve.x.min(), curve.x.max())]
    return [min(ends), max(ends)] if ends else [0.0, 1.0]


def _interval(lower: float | None, upper: float | None) -> str:
    """Return an interval as it stands behind a number at the pointer; nothing where there is none."""
    if lower is None or upper is None or not math.isfinite(lower + upper):
        return ""
    return f" [{number_text(lower)}, {number_text(upper)}]"


def _curve(curve: Curve, *, per_point: bool, zorder: int, shade: float) -> list[Any]:
    traces: list[Any] = []
    colour = tone(curve.tone)
    intervals: list[str] | None = None
    if curve.lower is not None and curve.upper is not None:
        hidden: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
        x = numbers(curve.x)
        traces.append(go.Scatter(x=x, y=numbers(curve.upper), **hidden))
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        fill = f"rgba({red},{green},{blue},{shade:g})"
        traces.append(go.Scatter(x=x, y=numbers(curve.lower), fill="tonexty", fillcolor=fill, **hidden))
        intervals = [_interval(*ends) for ends in zip(curve.lower.tolist(), curve.upper.tolist(), strict=True)]
    alone: dict[str, Any] | None = None
    if intervals is not None and curve.x.size == 1:  # a band over one point has no area
        upper, lower = (numbers(abs(end - curve.y)) for end in (curve.upper, curve.lower))
        alone = {"type": "data", "symmetric": False, "array": upper, "arrayminus": lower}
    symbols = {"symbol": marker(curve.marker or 0), "size": 6, "color": colour}
    if curve.marker is not None and not per_point and curve.x.size > 24:
        symbols["maxdisplayed"] = 9
    traces.append(
        go.Scatter(
            x=numbers(curve.x, digits=8),
            y=numbers(curve.y, digits=8),
            mode="lines" if curve.marker is None else "lines+markers",
            name=lines(curve.label, 60),
            line={"color": colour, "dash": dash(curve.dash), "width": 2},
            marker=symbols,
            error_y=alone,
            zorder=zorder,
            customdata=intervals,
            text=[plotly_text(name) for name in curve.names] or None,
            hovertemplate=("%{text}: %{y:.3f}" if curve.names else "%{x:.3~f}, %{y:.3f}")
            + ("" if intervals is None else "%{customdata}"),
        )
    )
    return traces


def dot_pictures(figure: DotFigure) -> tuple[go.Figure, ...]:
    """Return one plotly figure of estimates with intervals per panel."""
    made = []
    for panel in figure.panels:
        if not panel.dots:
            alike = {reason for _, reason in panel.undefined}
            note = "; ".join(alike if len(alike) == 1 else (f"{name}: {reason}" for name, reason in panel.undefined))
            made.append(empty_picture(panel.title, note or "no numbers"))
            continue
        names = [*(dot.label for dot in panel.dots), *(label for label, _ in panel.undefined)]
        traces: list[Any] = []
        for index in sorted({dot.tone for dot in panel.dots}):
            chosen = [(place, dot) for place, dot in enumerate(panel.dots) if dot.tone == index]
            name = figure.tone_labels[index] if figure.tone_labels else figure.first_label
            traces.append(_dots(chosen, index, name))
        second = [(place, dot) for place, dot in enumerate(panel.dots) if dot.second is not None]
        if figure.second_label and second:
            traces.append(_open_dots(second, figure.second_label))
        shapes = []
        if figure.reference is not None:
            style = {"color": NEUTRAL, "dash": "dash", "width": 1.4}
            shapes.append(
                {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": style}
                | {"x0": figure.reference, "x1": figure.reference}
            )
        labels = [plotly_text(shortened(name, 34)) for name in names]
        chart = picture(
            traces,
            title=panel.title,
            height=88 + 20 * max(len(names), 3),
            xaxis={"title": {"text": plotly_text(figure.x_label)}, "range": list(figure.x_range or ()) or None},
            yaxis={"tickvals": list(range(len(names))), "ticktext": labels, "range": [len(names) - 0.5, -0.5]},
            shapes=shapes,
            showlegend=False,  # the page has one for all panels
            margin={"l": 40, "r": 12, "t": 36, "b": 46},
        )
        for place, (_, reason) in enumerate(panel.undefined, start=len(panel.dots)):
            chart.add_annotation(
                text=f"undefined: {plotly_text(shortened(reason, 40))}",
                x=0,
                xref="paper",
                y=place,
                showarrow=False,
                xanchor="left",
                font={"size": 10},
            )
        made.append(chart)
    return tuple(made)


def _dots(chosen: list[tuple[int, Dot]], index: int, name: str) -> go.Scatter:
    upper = [0 if dot.upper is None else dot.upper - dot.estimate for _, dot in chosen]
    lower = [0 if dot.lower is None else dot.estimate - dot.lower for _, dot in chosen]
    return go.Scatter(
        x=[dot.estimate for _, dot in chosen],
        y=[place for place, _ in chosen],
        mode="markers",
        name=plotly_text(name),
        marker={"color": tone(index), "size": 9, "symbol": "square" if index == 1 else "circle"},
        error_x={"type": "data", "symmetric": False, "array": upper, "arrayminus": lower, "width": 0, "thickness": 2.5},
        text=[plotly_text(dot.label) for _, dot in chosen],
        customdata=[f"{number_text(dot.estimate)}{_interval(dot.lower, dot.upper)}" for _, dot in chosen],
        hovertemplate="%{text}<br>%{customdata}<extra></extra>",
    )


def _open_dots(chosen: list[tuple[int, Dot]], name: str) -> go.Scatter:
    return go.Scatter(
        x=[dot.second for _, dot in chosen],
        y=[place for place, _ in chosen],
        mode="markers",
        name=plotly_text(name),
        marker={
            "color": [tone(dot.tone) for _, dot in chosen],
            "size": 9,
            "symbol": "diamond-open",
            "line": {"width": 2},
        },
        text=[plotly_text(dot.label) for _, dot in chosen],
        hovertemplate="%{text}<br>%{x:.3f}<extra></extra>",
    )


def bar_pictures(figure: BarFigure) -> tuple[go.Figure, ...]:
    """Return one plotly figure of grouped bars per panel."""
    made = []
    for panel in figure.panels:
        if panel.note is not None:
            made.append(empty_picture(panel.title, panel.note))
            continue
        places = list(range(len(panel.categories)))
        traces = []
        for index, series in enumerate(panel.series):
            whiskers = [
                (0.0, 0.0) if value is None or low is None or high is None else (high - value, value - low)
                for value, low, high in zip(series.values, series.lower, series.upper, strict=True)
            ]
            traces.append(
                go.Bar(
                    x=places,
                    y=list(series.values),
                    name=plotly_text(series.label),
                    marker={"color": tone(series.tone), "pattern": {"shape": _PATTERNS[index % len(_PATTERNS)]}},
                    error_y={
                        "type": "data",
                        "symmetric": False,
                        "array": [up for up, _ in whiskers],
                        "arrayminus": [down for _, down in whiskers],
                        "thickness": 1.5,
                        "width": 3,
                        "color": NEUTRAL,
                    },
                    customdata=[
                        f"{plotly_text(name)}: {number_text(value)}{_interval(low, high)}"
                        for name, value, low, high in zip(
                            panel.categories, series.values, series.lower, series.upper, strict=True
                        )
                    ],
                    hovertemplate="%{customdata}",
                )
            )
        style = {"color": NEUTRAL, "dash": "dash", "width": 1.6}
        line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": panel.reference, "y1": panel.reference}
        made.append(
            picture(
                traces,
                title=panel.title,
                height=330,
                barmode="group",
                hovermode="x",  # a bar near zero cannot be pointed at
                xaxis={"tickvals": places}
                | {"ticktext": [plotly_text(shortened(name, 18)) for name in panel.categories]},
                yaxis={"title": {"text": plotly_text(panel.y_label)}, "range": list(figure.y_range(panel.y_label))},
                shapes=[line | {"line": style}],
                annotations=[
                    {"text": plotly_text(panel.reference_label), "x": 1, "xref": "paper", "y": panel.reference}
                    | {"showarrow": False, "xanchor": "right", "yanchor": "bottom", "font": {"size": 11}}
                ],
                legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
                margin={"l": 60, "r": 12, "t": 40, "b": 70},
            )
        )
    return tuple(made)
