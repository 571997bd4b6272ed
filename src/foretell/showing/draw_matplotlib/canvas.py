"""Style, fonts and text of all matplotlib drawings."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from foretell.showing.draw_matplotlib.paper_width import paper_width
from foretell.showing.figures.palette import NEUTRAL, Stops
from foretell.showing.untrusted import visible, wrapped

__all__ = [
    "CELL_FONT",
    "HEADING",
    "LINE_STYLES",
    "MARKER_SHAPES",
    "colour_map",
    "drawable",
    "drawn_lines",
    "empty_panel",
    "grid",
    "legend",
    "outer_labels",
    "paper_style",
    "set_labels",
    "thinned",
    "write",
]

LINE_STYLES: dict[str, Any] = {
    "solid": "-",
    "dot": (0, (1.2, 1.6)),
    "dash": (0, (5, 2.2)),
    "dashdot": (0, (6, 2, 1.2, 2)),
    "longdash": (0, (9, 3)),
}
"""Matplotlib's line styles by plotly's names."""

MARKER_SHAPES = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "x": "X", "star": "*"}
"""Matplotlib's markers by plotly's names."""

HEADING = "heading"
"""Name of what is written above all panels, which a page has in letters of its own."""

CELL_FONT = "DejaVu Sans Mono"
"""The monospaced font; it is part of matplotlib."""

_FIRST_FONT = "DejaVu Sans"
_OTHER_FONTS = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Symbols",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "Arial Unicode MS",
)
_INK = "#20242b"
_NARROW = 4.0
"""Inches below which panels stand below each other."""
_SELECTORS = dict.fromkeys((0xFE0E, 0xFE0F))  # variation selectors; fonts here have one variant at most


@cache
def _fonts() -> tuple[tuple[str, ...], frozenset[int]]:
    """Return the font families to use and the set of their characters."""
    paths: dict[str, str] = {}
    bold: set[str] = set()  # matplotlib warns about every bold title if a family has no bold face
    for entry in font_manager.fontManager.ttflist:
        if entry.name in (_FIRST_FONT, *_OTHER_FONTS) and entry.style == "normal":
            if entry.weight in (400, "normal"):
                paths.setdefault(entry.name, entry.fname)
            elif entry.weight in (700, "bold"):
                bold.add(entry.name)
    families = tuple(name for name in (_FIRST_FONT, *_OTHER_FONTS) if name in paths and name in bold)
    known: set[int] = set()
    for name in families:
        known.update(font_manager.get_font(paths[name]).get_charmap())
    return families, frozenset(known)


@contextmanager
def paper_style() -> Iterator[None]:
    """Use the project's style inside this block, independent of the caller's matplotlib settings."""
    settings: dict[Any, Any] = {
        "font.family": list(_fonts()[0]),
        "font.size": 9.0,
        "text.usetex": False,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": "#6b7280",
        "axes.facecolor": "white",
        "axes.linewidth": 0.8,
        "axes.titlesize": 10.0,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.grid": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "savefig.bbox": None,
        "legend.frameon": False,
        "legend.fontsize": 8.0,
        "grid.color": "#e5e7eb",
        "grid.linewidth": 0.7,
        "hatch.linewidth": 0.8,
        "svg.fonttype": "path",
        "svg.hashsalt": "foretell",
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
    }
    if paper_width() is not None:
        small = {"font.size": 7.0, "axes.titlesize": 7.5, "xtick.labelsize": 6.5, "ytick.labelsize": 6.5}
        thin = {"axes.linewidth": 0.6, "lines.linewidth": 1.1, "xtick.major.width": 0.6, "ytick.major.width": 0.6}
        settings |= small | thin | {"axes.labelsize": 7.0, "legend.fontsize": 6.5, "xtick.major.size": 2.5}
    with mpl.rc_context(settings):
        yield


def drawable(text: str, *, in_cells: bool = False) -> str:
    r"""Return visible `text` with characters that no installed font has replaced by their code points in brackets.

    Args:
        text: Untrusted text.
        in_cells: For monospaced text (`CELL_FONT`): only characters of that font and wide ones are kept.

    Example:
        >>> drawable("a\ue000b")
        'a⟨U+E000⟩b'
    """
    known = _fonts()[1]
    shown = visible(text, keep="\n").translate(_SELECTORS)

    def held(character: str) -> bool:
        # Control pictures have the width of one cell in the other fonts too.
        other = unicodedata.east_asian_width(character) in "WF" or "\u2400" <= character <= "\u243f"
        return ord(character) in (known if other or not in_cells else _cell_characters())

    runs = groupby(shown, key=lambda character: character == "\n" or held(character))
    return "".join("".join(run) if kept else f"⟨{' '.join(f'U+{ord(c):04X}' for c in run)}⟩" for kept, run in runs)


def drawn_lines(text: str, *, width: int, lines: int) -> str:
    """Return `text` as at most `lines` lines of at most `width` characters, counted as they are drawn.

    A character that no font has becomes the eight of its code point, so it is replaced before the text is cut.
    """
    return "\n".join(wrapped(drawable(text), width=width, lines=lines))


@cache
def _cell_characters() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(CELL_FONT)).get_charmap())


def write(axes: Axes, *, title: str = "", x_label: str = "", y_label: str = "", width: int = 44) -> None:
    """Set title and labels of an axes, wrapped and without mathematical markup."""
    if (whole := paper_width()) is not None:
        width = min(width, int(whole / _columns_of(axes) * 15))
    if title:
        axes.set_title(drawn_lines(title, width=width, lines=2), parse_math=False)
    if x_label:
        axes.set_xlabel(drawable(x_label), parse_math=False)
    if y_label:
        axes.set_ylabel(drawable(y_label), parse_math=False)


def _columns_of(axes: Axes) -> int:
    spec = axes.get_subplotspec()
    return 1 if spec is None else int(spec.get_gridspec().ncols)


def legend(axes: Axes, **options: Any) -> None:
    """Add a legend below the axes, without mathematical markup."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    place: dict[str, Any] = {
        "loc": "upper center",
        "bbox_to_anchor": (0.5, 0.0),
        "borderaxespad": 3.7,  # room for tick labels and the name of the axis, in sizes of the font
        "ncols": 1,
        "handlelength": 3.2,
    }
    made = axes.legend(
        handles,
        [drawn_lines(label, width=60 if paper_width() is None else 44, lines=2) for label in labels],
        **(place | options),
    )
    for text in made.get_texts():
        text.set_parse_math(False)


def grid(
    n_panels: int, *, n_columns: int, width: float, height: float, title: str, narrow: int = 1
) -> tuple[Canvas, list[Axes]]:
    """Return a canvas and one axes per panel.

    Args:
        n_panels: Number of axes.
        n_columns: Maximal number of columns.
        width: Width of one panel, in inches.
        height: Height of one panel, in inches.
        title: Title of the canvas.
        narrow: Maximal number of columns in one column of a paper.
    """
    n_columns = max(1, min(n_columns, n_panels))
    if (whole := paper_width()) is not None:
        n_columns = min(n_columns, narrow if whole < _NARROW else 3)
        height = max(0.8 if narrow > 1 else 1.5, height * min(1.0, (whole / n_columns) / width))
        width, title = whole / n_columns, ""
    n_rows = math.ceil(n_panels / n_columns)
    lines = drawn_lines(title, width=int(9 * width * n_columns), lines=2)
    head = 0.4 + 0.2 * lines.count("\n") if title else 0.02
    total = height * n_rows + head
    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, hspace=0.05, wspace=0.04, rect=(0, 0, 1, 1 - head / total))
    canvas = Canvas(figsize=(width * n_columns, total), layout=engine)
    font: dict[str, Any] = {"fontsize": 12, "fontweight": "bold", "va": "top", "parse_math": False, "gid": HEADING}
    canvas.text(0.01, 1 - 0.1 / total, lines, **font).set_in_layout(False)
    axes = [canvas.add_subplot(n_rows, n_columns, index + 1) for index in range(n_panels)]
    return canvas, axes


def outer_labels(every: Sequence[Axes], filled: Sequence[bool]) -> None:
    """Keep tick labels and names of axes only at the left and at the bottom of a grid of axes with common limits.

    Args:
        every: All axes, row by row.
        filled: Whether each has something drawn; one above an empty one keeps its labels.
    """
    places = [one.get_subplotspec() for one in every]
    kept = {
        (spec.rowspan.start, spec.colspan.start) for spec, drawn in zip(places, filled, strict=True) if spec and drawn
    }
    for axes, spec, drawn in zip(every, places, filled, strict=True):
        if spec is None or not drawn:
            continue
        row, column = spec.rowspan.start, spec.colspan.start
        if (row + 1, column) in kept:
            axes.tick_params(labelbottom=False)
            axes.set_xlabel("")
        if (row, column - 1) in kept:
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")


def empty_panel(axes: Axes, note: str) -> None:
    """Write the reason why an axes is empty."""
    axes.text(
        0.5,
        0.5,
        f"undefined\n{drawn_lines(note, width=34, lines=6)}",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color="#6b7280",
        parse_math=False,
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(NEUTRAL)


def colour_map(name: str, stops: Stops) -> LinearSegmentedColormap:
    """Return a colour scale of the palette as a matplotlib colour map."""
    return LinearSegmentedColormap.from_list(name, list(stops), N=256)


def thinned(n_labels: int, most: int) -> list[int]:
    """Return the indices of at most `most` evenly spaced labels out of `n_labels`, including the first.

    Example:
        >>> thinned(7, 3)
        [0, 3, 6]
    """
    step = max(1, math.ceil(n_labels / most))
    return list(range(0, n_labels, step))


def set_labels(axes: Axes, axis: str, places: Sequence[float], labels: Sequence[str], **options: Any) -> None:
    """Set tick labels on one axis, without mathematical markup."""
    target = getattr(axes, f"{axis}axis")
    target.set_ticks(list(places), labels=[drawable(label) for label in labels], parse_math=False, **options)
