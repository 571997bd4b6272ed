"""Colours, dashes and markers of both plotting libraries.

Lines differ in more than hue, so that figures can be read in greyscale. A colour scale is a tuple of (position from 0
to 1, colour), the format of both matplotlib and plotly.
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
"""Colour scale of activity surfaces: green to red, or one for colour-blind readers."""

TONES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
"""Line colours (Okabe and Ito), with different lightness, for light and dark backgrounds."""

DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
"""Line styles, by plotly's names."""

MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""Marker shapes, by plotly's names."""

NEUTRAL = "#8a8f98"
"""Reference lines: a grey for light and dark backgrounds."""

UNDEFINED_COLOUR = "#e5e7eb"
"""Cells and tokens without a value."""

INTERVAL = "#6b7280"
"""Sheets of an interval."""

NULL_BAND = "#5f7fbf"
"""Sheets of random directions: a blue that is in no colour scale of the surfaces."""

DIVERGING: Stops = ((0.0, "#2166ac"), (0.25, "#92c5de"), (0.5, "#f7f7f7"), (0.75, "#f4a582"), (1.0, "#b2182b"))
"""Blue below the centre, red above; distinguishable with all common forms of colour blindness."""

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
"""Colour scales of the activity surface, low to high."""


def tone(index: int) -> str:
    """Return the line colour of an index, cyclically.

    Example:
        >>> tone(0)
        '#0072B2'
    """
    return TONES[index % len(TONES)]


def dash(index: int) -> str:
    """Return the line style of an index, cyclically.

    Example:
        >>> dash(1)
        'dot'
    """
    return DASHES[index % len(DASHES)]


def marker(index: int) -> str:
    """Return the marker of an index, cyclically.

    Example:
        >>> marker(2)
        'diamond'
    """
    return MARKERS[index % len(MARKERS)]


def mixed(stops: Stops, place: float) -> str:
    """Return the interpolated colour of a scale at a position, clipped to 0 and 1.

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
    """Return black or white, whichever has more contrast to a colour (relative luminance of WCAG 2).

    Example:
        >>> ink_on("#ffe45e"), ink_on("#00682f")
        ('#000000', '#ffffff')
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
