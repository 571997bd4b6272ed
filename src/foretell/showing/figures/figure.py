"""Figures as plain data, independent of matplotlib and plotly.

A figure is a frozen dataclass of panels with the values to draw and the text around them. Values are taken from tables;
nothing is estimated here.

    figures = study_figures(data)           # in foretell.showing.figures.study_figures
    to_matplotlib.draw(figures[0])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from foretell.showing.figures.palette import ColourScale

__all__ = [
    "BarFigure",
    "BarPanel",
    "BarSeries",
    "Curve",
    "CurveFigure",
    "CurvePanel",
    "Dot",
    "DotFigure",
    "DotPanel",
    "Figure",
    "Level",
    "MapFigure",
    "MapPanel",
    "SurfaceFigure",
    "SurfacePanel",
    "TokenFigure",
    "TokenPanel",
    "Words",
    "folded",
]


@dataclass(frozen=True)
class Words:
    """Name, title, caption and alternative text of a figure, and the tables that it shows."""

    name: str
    """File name without extension."""
    title: str
    """A sentence: what the figure shows."""
    caption: str
    alt: str
    """Alternative text for screen readers."""
    how: str = ""
    """One line on how to read it."""
    sources: Mapping[str, pl.DataFrame] = field(default_factory=dict, compare=False, repr=False)
    """The tables with its numbers, by name."""
    section: Literal["signals", "heads", "leak", "figures", "surfaces"] = "figures"
    """Part of the page."""
    folded: bool = False
    """Whether the page shows the figure only when it is asked for."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One line, with a band if `lower` and `upper` are given."""

    label: str
    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    tone: int
    dash: int = 0
    marker: int | None = None
    """Marker shape, or None for a line without markers."""
    lower: Float[np.ndarray, " point"] | None = None
    upper: Float[np.ndarray, " point"] | None = None
    names: tuple[str, ...] = ()
    """Name of each point at the pointer, in place of its x."""


@dataclass(frozen=True)
class Level:
    """A horizontal reference line, such as a baseline."""

    label: str
    value: float
    dash: int = 1


@dataclass(frozen=True, eq=False)
class CurvePanel:
    """Axes with lines; `note` is the reason if there are none."""

    title: str
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    note: str | None = None
    ticks: tuple[tuple[float, str], ...] = ()
    """Places and labels of the x axis; none: a library finds them."""
    greyed: tuple[tuple[float, float], ...] = ()
    """Ranges of x in which the curves are no evidence."""

    @property
    def x_range(self) -> tuple[float, float] | None:
        """Limits of the x axis around points that are all at one place; None where a library finds them itself."""
        places = np.unique(np.concatenate([curve.x for curve in self.curves])) if self.curves else np.empty(0)
        return (float(places[0]) - 0.6, float(places[0]) + 0.6) if places.size == 1 else None


@dataclass(frozen=True, eq=False)
class CurveFigure:
    """Lines over a continuous axis: ROC curves, or a value per layer."""

    words: Words
    panels: tuple[CurvePanel, ...]
    x_label: str
    y_label: str
    roc: bool = False
    """Whether to draw a unit square with the diagonal."""
    y_range: tuple[float, float] | None = None
    reference: float | None = None
    """A thin horizontal line in every panel, such as chance."""
    one_legend: bool = False
    """Whether curves of one label look alike in all panels, so that one legend is enough."""


@dataclass(frozen=True)
class Dot:
    """One estimate with its interval."""

    label: str
    estimate: float
    lower: float | None
    upper: float | None
    tone: int
    second: float | None = None
    """A second value, drawn as an open diamond."""


@dataclass(frozen=True)
class DotPanel:
    """Estimates one below the other; `undefined` lists those without a value."""

    title: str
    dots: tuple[Dot, ...]
    undefined: tuple[tuple[str, str], ...] = ()
    """Label and reason."""


@dataclass(frozen=True)
class DotFigure:
    """Estimates with intervals and a reference line."""

    words: Words
    panels: tuple[DotPanel, ...]
    x_label: str
    first_label: str
    """Name of the estimates, with the level of their intervals."""
    second_label: str | None = None
    reference: float | None = None
    reference_label: str = ""
    tone_labels: tuple[str, ...] = ()
    """Legend labels of the tones, if any."""

    @property
    def x_range(self) -> tuple[float, float] | None:
        """Common limits of the x axis of all panels."""
        dots = [dot for panel in self.panels for dot in panel.dots]
        if not dots:
            return None
        every = [self.reference, *(n for dot in dots for n in (dot.estimate, dot.lower, dot.upper, dot.second))]
        numbers = [number for number in every if number is not None]
        margin = 0.04 * (max(numbers) - min(numbers)) or 0.05
        return min(numbers) - margin, max(numbers) + margin


@dataclass(frozen=True)
class BarSeries:
    """One bar per category, null where it is undefined."""

    label: str
    values: tuple[float | None, ...]
    lower: tuple[float | None, ...]
    upper: tuple[float | None, ...]
    tone: int


@dataclass(frozen=True)
class BarPanel:
    """Grouped bars with a reference line."""

    title: str
    categories: tuple[str, ...]
    series: tuple[BarSeries, ...]
    y_label: str
    reference: float
    reference_label: str
    note: str | None = None


@dataclass(frozen=True)
class BarFigure:
    """Bars in panels, `n_columns` side by side."""

    words: Words
    panels: tuple[BarPanel, ...]
    n_columns: int

    def y_range(self, y_label: str) -> tuple[float, float]:
        """Return common limits of all panels with the same y axis."""
        alike = [panel for panel in self.panels if panel.y_label == y_label]
        numbers = [panel.reference for panel in alike] + [
            number
            for panel in alike
            for series in panel.series
            for number in (*series.values, *series.lower, *series.upper)
            if number is not None
        ]
        low, high = min(0.0, *numbers), max(0.0, *numbers)
        margin = 0.06 * (high - low) or 0.05
        return (low - margin if low < 0 else 0.0, high + margin)


@dataclass(frozen=True, eq=False)
class MapPanel:
    """A value per layer and head."""

    title: str
    values: Float[np.ndarray, "layer head"]
    """nan where undefined or not in the table."""
    marked: Bool[np.ndarray, "layer head"]
    """Cells that are significant after correction."""
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    note: str | None = None


@dataclass(frozen=True, eq=False)
class MapFigure:
    """Maps with one colour scale, centred at no association."""

    words: Words
    panels: tuple[MapPanel, ...]
    n_columns: int
    centre: float
    limit: float
    """The scale runs from centre - limit to centre + limit."""
    value_label: str


@dataclass(frozen=True, eq=False)
class SurfacePanel:
    """Activity along one answer."""

    title: str
    answer: str
    tokens: tuple[str, ...]
    """Text of each token."""
    values: Float[np.ndarray, "layer token"]
    """Scores, not clipped."""
    lower: Float[np.ndarray, "layer token"] | None = None
    """Lower end of an interval around the scores, drawn as a sheet."""
    upper: Float[np.ndarray, "layer token"] | None = None
    null_lower: Float[np.ndarray, "layer token"] | None = None
    """Lower end of the band of random directions, drawn as a sheet in another colour."""
    null_upper: Float[np.ndarray, "layer token"] | None = None


@dataclass(frozen=True, eq=False)
class SurfaceFigure:
    """Answers side by side on one scale, as surfaces or as flat maps."""

    words: Words
    question: str
    panels: tuple[SurfacePanel, ...]
    layers: tuple[int, ...]
    z_limit: float
    z_label: str
    shape: Literal["surface", "flat"]
    camera: tuple[float, float] = (28.0, -55.0)
    """Elevation and azimuth in degrees."""
    scale: ColourScale = "green-red"
    extend: Literal["neither", "min", "max", "both"] = field(default="neither")
    """Which ends of the scale include clipped values."""
    band_label: str = ""
    """Legend label of the band of random directions."""


@dataclass(frozen=True, eq=False)
class TokenPanel:
    """The tokens of one answer, each with one score."""

    title: str
    tokens: tuple[str, ...]
    """Text of each token."""
    values: Float[np.ndarray, " token"]
    """Scores, not clipped; nan where undefined."""
    null_lower: Float[np.ndarray, " token"] | None = None
    """Lower end of the band of random directions; tokens outside are underlined."""
    null_upper: Float[np.ndarray, " token"] | None = None

    @property
    def outside(self) -> Bool[np.ndarray, " token"]:
        """Tokens whose score is outside the band of random directions."""
        if self.null_lower is None or self.null_upper is None:
            return np.zeros(len(self.tokens), dtype=bool)
        return np.asarray((self.values < self.null_lower) | (self.values > self.null_upper))


@dataclass(frozen=True, eq=False)
class TokenFigure:
    """Answers as text, every token coloured by its score, on one scale."""

    words: Words
    question: str
    panels: tuple[TokenPanel, ...]
    z_limit: float
    z_label: str
    scale: ColourScale = "green-red"
    extend: Literal["neither", "min", "max", "both"] = field(default="neither")
    """Which ends of the scale hold clipped values."""


Figure: TypeAlias = CurveFigure | DotFigure | BarFigure | MapFigure | SurfaceFigure | TokenFigure
"""Any figure."""


def folded(figure: Figure) -> Figure:
    """Return a figure that the page shows only when it is asked for."""
    return replace(figure, words=replace(figure.words, folded=True))
