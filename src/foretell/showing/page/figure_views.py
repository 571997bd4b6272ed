"""Figures for the templates of the page: names, captions, pictures, legends."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.figure import BarFigure, CurveFigure, DotFigure, Figure, SurfaceFigure, TokenFigure
from foretell.showing.figures.palette import COLOUR_SCALES, NEUTRAL, dash, marker, tone
from foretell.showing.page.coloured_text import ColouredToken, coloured_tokens

__all__ = ["Bar", "FigureView", "KeyEntry", "Panel", "figure_view"]


@dataclass(frozen=True)
class Panel:
    """One picture of a figure, or coloured text."""

    picture: str
    title: str = ""
    text: str = ""
    tokens: tuple[ColouredToken, ...] = ()
    """Coloured text instead of a picture."""


@dataclass(frozen=True)
class Bar:
    """A colour bar and its ends."""

    low: str
    high: str
    label: str
    gradient: str


@dataclass(frozen=True)
class KeyEntry:
    """One line of a legend."""

    label: str
    colour: str
    dashes: str
    symbol: str


@dataclass(frozen=True)
class FigureView:
    """One figure, as passed to the template."""

    name: str
    title: str
    caption: str
    alt: str
    still: str
    panels: tuple[Panel, ...]
    n_columns: int
    css: str = ""
    how: str = ""
    sources: tuple[str, ...] = ()
    """Names of the tables with the figure's numbers."""
    surface: bool = False
    answers: bool = False
    """Panels side by side with a heading each, whose pictures are aligned at the top."""
    bar: Bar | None = None
    key: tuple[KeyEntry, ...] = ()
    """Legend that all panels share."""
    section: str = "figures"
    folded: bool = False


def figure_view(figure: Figure, still: bytes) -> tuple[FigureView, dict[str, Any]]:
    """Return a figure for the template, and its pictures by name.

    Args:
        figure: The figure.
        still: A WebP picture of it, for print and pages without scripts.
    """
    words = figure.words
    pictures = {
        f"{words.name}-{index}": to_plotly.payload(picture) for index, picture in enumerate(to_plotly.draw(figure))
    }
    panels = tuple(Panel(name) for name in pictures)
    n_columns, css, bar, title = min(len(panels), 3), "", None, words.title
    if isinstance(figure, SurfaceFigure):
        panels = tuple(
            Panel(name, panel.title, panel.answer) for name, panel in zip(pictures, figure.panels, strict=True)
        )
        n_columns, bar = min(len(panels), 2), _bar(figure)
        title = f"{figure.question} {words.title}"
    elif isinstance(figure, TokenFigure):
        panels = tuple(Panel("", panel.title, tokens=coloured_tokens(figure, panel)) for panel in figure.panels)
        n_columns, bar, title = 1, _bar(figure), f"{figure.question} {words.title}"
    elif isinstance(figure, BarFigure):
        n_columns = figure.n_columns
    elif isinstance(figure, CurveFigure) and len(panels) == 1:
        css = "roc1"
    elif isinstance(figure, CurveFigure) and figure.one_legend and len(panels) % 3:
        n_columns = 2 if len(panels) in {2, 4} else 3
    elif not isinstance(figure, CurveFigure) and hasattr(figure, "x_label"):
        n_columns = min(len(panels), 3 if words.section in {"signals", "leak"} else 2)
    elif hasattr(figure, "n_columns"):
        n_columns = min(figure.n_columns, 3)
    source = f"data:image/webp;base64,{base64.b64encode(still).decode()}"
    view = FigureView(
        name=words.name,
        title=title,
        caption=words.caption,
        alt=words.alt,
        still=source,
        panels=panels,
        n_columns=n_columns,
        css=css,
        how=words.how,
        sources=tuple(name for name, frame in words.sources.items() if not frame.is_empty()),
        surface=isinstance(figure, SurfaceFigure) and figure.shape == "surface",
        answers=isinstance(figure, SurfaceFigure),
        bar=bar,
        key=_key(figure),
        section=words.section,
        folded=words.folded,
    )
    return view, pictures


def _bar(figure: SurfaceFigure | TokenFigure) -> Bar:
    stops = ",".join(f"{colour} {100 * place:g}%" for place, colour in COLOUR_SCALES[figure.scale])
    low = "≤ " if figure.extend in {"min", "both"} else ""
    high = "≥ " if figure.extend in {"max", "both"} else ""
    limit = f"{figure.z_limit:g}"
    return Bar(f"{low}−{limit}", f"{high}{limit}", figure.z_label, stops)


_DASHES = {"solid": "", "dot": "2 4", "dash": "8 4", "dashdot": "8 4 2 4", "longdash": "12 5"}
_SYMBOLS = {"circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "x": "✖", "star": "★"}


def _key(figure: Figure) -> tuple[KeyEntry, ...]:
    """Return the legend that all panels share; empty where each has its own."""
    if isinstance(figure, DotFigure):
        return _dot_key(figure)
    return _curve_key(figure) if isinstance(figure, CurveFigure) and figure.one_legend else ()


def _dot_key(figure: DotFigure) -> tuple[KeyEntry, ...]:
    made = [
        KeyEntry(label, tone(index), "", "■" if index == 1 else "●") for index, label in enumerate(figure.tone_labels)
    ]
    if not figure.tone_labels:
        made.append(KeyEntry(figure.first_label, tone(0), "", "●"))
    if figure.second_label:
        made.append(KeyEntry(figure.second_label, NEUTRAL, "0 99", "◇"))
    if figure.reference is not None:
        made.append(KeyEntry(figure.reference_label, NEUTRAL, "5 3", ""))
    return tuple(made)


def _curve_key(figure: CurveFigure) -> tuple[KeyEntry, ...]:
    found: dict[str, KeyEntry] = {}
    for panel in figure.panels:
        for curve in panel.curves:
            symbol = "" if curve.marker is None else _SYMBOLS[marker(curve.marker)]
            found.setdefault(curve.label, KeyEntry(curve.label, tone(curve.tone), _DASHES[dash(curve.dash)], symbol))
        for level in panel.levels:
            found.setdefault(level.label, KeyEntry(level.label, NEUTRAL, _DASHES[dash(level.dash)], ""))
    if any(panel.greyed for panel in figure.panels):
        found["words tell"] = KeyEntry("the words so far tell the label", NEUTRAL, "", "▮")
    return tuple(found.values())
