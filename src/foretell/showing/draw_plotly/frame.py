"""The layout common to all plotly figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from foretell.showing.untrusted import plotly_text, wrapped

__all__ = ["empty_picture", "lines", "numbers", "picture"]


def numbers(values: np.ndarray, *, digits: int = 6) -> Any:
    """Return an array as nested lists, None where it is undefined.

    Args:
        values: The numbers.
        digits: Significant digits; six are enough to draw, but not to be rounded again and shown.

    Example:
        >>> numbers(np.array([[0.12345678, np.nan]]))
        [[0.123457, None]]
    """
    if values.ndim > 1:
        return [numbers(row, digits=digits) for row in values]
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values]


def lines(text: str, width: int) -> str:
    """Return untrusted text as plotly lines of at most `width` characters.

    Example:
        >>> lines("one two <b>", 8)
        'one two<br>&lt;b&gt;'
    """
    return "<br>".join(plotly_text(line) for line in wrapped(text, width=width, lines=4))


def picture(traces: list[Any], *, title: str, height: int | None, **layout: Any) -> go.Figure:
    """Return a plotly figure without a template, as wide as its container.

    Args:
        traces: Plotly traces.
        title: Untrusted text above the figure; empty for none.
        height: In pixels; None takes the height of the element it is drawn in.
        layout: Further layout entries.
    """
    made = go.Figure(traces)
    heading = {"text": lines(title, 42), "font": {"size": 13}, "x": 0.01, "xanchor": "left"} if title else None
    margin = layout.pop("margin", {"l": 56, "r": 12, "t": 40 if title else 14, "b": 48})
    made.update_layout(
        template={}, title=heading, height=height, margin=margin, autosize=True, dragmode=False, **layout
    )
    return made


def empty_picture(title: str, note: str, *, height: int | None = 260) -> go.Figure:
    """Return an empty figure with the reason."""
    hidden = {"visible": False}
    made = picture([], title=title, height=height, xaxis=hidden, yaxis=hidden)
    made.add_annotation(
        text=f"undefined<br>{lines(note, 40)}", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False
    )
    return made
