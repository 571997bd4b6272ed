"""Answers as coloured text, drawn with matplotlib: each token on the colour of its score."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from foretell.showing.draw_matplotlib.canvas import CELL_FONT, colour_map, drawable
from foretell.showing.draw_matplotlib.paper_width import paper_width
from foretell.showing.figures.figure import TokenFigure, TokenPanel
from foretell.showing.figures.palette import COLOUR_SCALES, UNDEFINED_COLOUR, ink_on, mixed
from foretell.showing.untrusted import visible, wrapped

__all__ = ["draw_tokens"]

_WIDTH = 7.4
_MARGIN = 0.3
_CELL = 0.07
"""Width in inches; a whole number of dots at 100 and 200 per inch, so that characters stay in their cells."""
_LINE = 0.215
_SIZE = _CELL * 72 / 0.602
"""Font size in points; a character of the font is 0.602 times as wide as its size."""
_MAX_LINES = 40
_BRACKETS = str.maketrans("⟨⟩", "[]")  # angle brackets do not have the width of a cell


@dataclass(frozen=True)
class _Run:
    """A token, or the characters of it that fit on one line."""

    text: str
    line: int
    column: int
    width: int
    token: int


def draw_tokens(figure: TokenFigure) -> Canvas:
    """Draw all answers below each other, with one colour bar at the bottom."""
    width = paper_width() or _WIDTH
    n_cells = int((width - 2 * _MARGIN) / _CELL)  # per line
    laid_out = [_layout(panel.tokens, n_cells) for panel in figure.panels]
    blocks = [0.34 + _LINE * (runs[-1].line + 1 if runs else 1) for runs in laid_out]
    height = 0.78 + sum(blocks) + 0.62
    canvas = Canvas(figsize=(width, height))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    _words(
        axes,
        figure.question,
        (0.3, height - 0.12),
        fontsize=13 if width > 4 else 9,
        fontweight="bold",
        columns=int(9.4 * width),
    )
    _words(axes, figure.words.title, (0.3, height - 0.42), fontsize=9.5, color="#4b5563", columns=int(13.5 * width))
    top = height - 0.78
    for panel, runs, block in zip(figure.panels, laid_out, blocks, strict=True):
        _words(
            axes,
            panel.title,
            (0.3, top),
            fontsize=9.5 if width > 4 else 7.5,
            fontweight="bold",
            columns=int(12 * width),
        )
        for run in runs:
            _draw_run(axes, figure, panel, run, top=top - 0.22)
        top -= block
    limits = Normalize(-figure.z_limit, figure.z_limit)
    colours = colour_map(figure.scale, COLOUR_SCALES[figure.scale])
    bar_axes = canvas.add_axes((0.3 / width, 0.42 / height, 0.42, 0.13 / height))
    bar = canvas.colorbar(
        ScalarMappable(limits, colours), cax=bar_axes, orientation="horizontal", extend=figure.extend, extendfrac=0.03
    )
    bar.set_label(drawable(figure.z_label), parse_math=False, fontsize=8)
    bar.set_ticks(np.linspace(-figure.z_limit, figure.z_limit, 5).tolist())
    bar.ax.tick_params(labelsize=7.5)
    return canvas


def _words(axes: Axes, text: str, at: tuple[float, float], *, columns: int, **font: object) -> None:
    lines = wrapped(drawable(text), width=columns, lines=1)
    axes.text(*at, "".join(lines), va="top", parse_math=False, **font)  # type: ignore[arg-type]


def _layout(tokens: tuple[str, ...], n_cells: int) -> list[_Run]:
    """Return the tokens in lines of so many cells; a token that is longer than a line is broken."""
    runs: list[_Run] = []
    line = column = 0
    for token, text in enumerate(tokens):
        rest = drawable(visible(text), in_cells=True).translate(_BRACKETS) or "∅"
        while rest:
            available = n_cells - column
            if _cells(rest) > available and column and _cells(rest) <= n_cells:
                line, column, available = line + 1, 0, n_cells
            taken, width = _prefix(rest, available)
            if not taken:
                line, column = line + 1, 0
                continue
            if line == _MAX_LINES:
                return [*runs, _Run("…", line - 1, n_cells + 1, 1, token)]
            runs.append(_Run(taken, line, column, width, token))
            rest, column = rest[len(taken) :], column + width
    return runs


def _prefix(text: str, available: int) -> tuple[str, int]:
    """Return the longest prefix that fits into the available cells, and its width."""
    width = 0
    for index, character in enumerate(text):
        more = _cells(character)
        if width + more > available:
            return text[:index], width
        width += more
    return text, width


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _draw_run(axes: Axes, figure: TokenFigure, panel: TokenPanel, run: _Run, *, top: float) -> None:
    value = float(panel.values[run.token])
    defined = np.isfinite(value)
    place = 0.5 + value / (2 * figure.z_limit)
    colour = mixed(COLOUR_SCALES[figure.scale], place) if defined else UNDEFINED_COLOUR
    left, low = 0.3 + run.column * _CELL, top - (run.line + 1) * _LINE
    width = run.width * _CELL
    axes.add_patch(Rectangle((left, low + 0.025), width, _LINE - 0.05, facecolor=colour, linewidth=0))
    axes.text(
        left,
        low + _LINE / 2 - 0.005,
        run.text,
        va="center_baseline",
        family=[CELL_FONT, *rcParams["font.family"]],
        fontsize=_SIZE,
        color=ink_on(colour),
        parse_math=False,
    )
    if panel.outside[run.token]:
        axes.plot([left + 0.01, left + width - 0.01], [low + 0.012] * 2, color="#111827", linewidth=1.1)
