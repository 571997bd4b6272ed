"""Colours, dashes and markers, named once and used by both ways of drawing.

Every pair of lines that must be told apart differs in more than its hue, so that a page printed in grey still reads.
A colour scale is a tuple of (position from 0 to 1, colour), which matplotlib and plotly both understand.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

__all__ = [
    "COLOUR_SCALES",
    "DASHES",
    "DIVERGING",
    "INTERVAL",
    "MARKERS",
    "NEUTRAL",
    "NULL_BAND",
    "SEGMENT_COLOURS",
    "TONES",
    "UNDEFINED_COLOUR",
    "ColourScale",
    "Stops",
    "dash",
    "ink_on",
    "marker",
    "mixed",
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

UNDEFINED_COLOUR = "#e5e7eb"
"""Cells and words without a number."""

INTERVAL = "#6b7280"
"""Sheets of an interval."""

NULL_BAND = "#1f4fd8"
"""Sheets of random directions: a blue that no scale of the surfaces has."""

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


def mixed(stops: Stops, place: float) -> str:
    """Return the colour of a scale at a place from 0 to 1, mixed from its neighbours; beyond the ends, the end's.

    Example:
        >>> mixed(((0.0, "#000000"), (1.0, "#ffffff")), 0.5), mixed(DIVERGING, 7.0)
        ('#808080', '#b2182b')
    """
    place = min(max(place, 0.0), 1.0)
    for (low, first), (high, second) in pairwise(stops):
        if place <= high:
            share = (place - low) / (high - low)
            channels = zip(_channels(first), _channels(second), strict=True)
            return "#" + "".join(f"{round(one + share * (other - one)):02x}" for one, other in channels)
    return stops[-1][1]


def ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour (relative luminance of WCAG 2).

    Example:
        >>> ink_on("#ffe45e"), ink_on("#00682f")
        ('#000000', '#ffffff')
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
