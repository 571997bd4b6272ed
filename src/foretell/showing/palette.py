"""Colours, dashes and markers, named once and used by both ways of drawing.

Every pair of lines that must be told apart differs in more than its hue, so that a page printed in grey still reads.
A colour scale is a tuple of (position from 0 to 1, colour), which matplotlib and plotly both understand.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "COLOUR_SCALES",
    "DASHES",
    "DIVERGING",
    "MARKERS",
    "NEUTRAL",
    "SEGMENT_COLOURS",
    "TONES",
    "ColourScale",
    "Stops",
    "dash",
    "marker",
    "tone",
]

Stops = tuple[tuple[float, str], ...]

ColourScale = Literal["green-red", "colour-blind-safe"]
"""How an activity surface is coloured: the classic scale, or one that every eye can read."""

TONES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
"""Line colours after Okabe and Ito, of different lightness, readable on white and on near-black."""

DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
"""Line styles in plotly's words."""

MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""Marker shapes in plotly's words."""

NEUTRAL = "#8a8f98"
"""Reference lines: a grey that shows on light and on dark paper."""

DIVERGING: Stops = ((0.0, "#2166ac"), (0.25, "#92c5de"), (0.5, "#f7f7f7"), (0.75, "#f4a582"), (1.0, "#b2182b"))
"""Below the centre blue, above it red; told apart under every common colour blindness."""

COLOUR_SCALES: dict[str, Stops] = {
    "green-red": (
        (0.0, "#00682f"),
        (0.25, "#5db85b"),
        (0.5, "#ffe45e"),
        (0.75, "#f3703a"),
        (1.0, "#a50026"),
    ),
    "colour-blind-safe": (
        (0.0, "#2c5c9e"),
        (0.25, "#8fc1dd"),
        (0.5, "#ffffbf"),
        (0.75, "#fca85b"),
        (1.0, "#c2171c"),
    ),
}
"""Scales of the activity surface, low to high."""

SEGMENT_COLOURS = {
    "system": "#8C6BB1",
    "prompt": "#0072B2",
    "query": "#E69F00",
    "template": "#8a8f98",
    "generated": "#009E73",
}
"""Colour of each segment."""


def tone(index: int) -> str:
    """Return the line colour of the `index`-th thing, starting over after the last.

    Example:
        >>> tone(0)
        '#0072B2'
    """
    return TONES[index % len(TONES)]


def dash(index: int) -> str:
    """Return the line style of the `index`-th thing, starting over after the last.

    Example:
        >>> dash(1)
        'dot'
    """
    return DASHES[index % len(DASHES)]


def marker(index: int) -> str:
    """Return the marker of the `index`-th thing, starting over after the last.

    Example:
        >>> marker(2)
        'diamond'
    """
    return MARKERS[index % len(MARKERS)]
