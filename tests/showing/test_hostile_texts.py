"""Three hundred texts that try to act, in every field of every kind of figure, and on a terminal: all of it is text."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from foretell.showing import terminal
from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.figure import (
    BarFigure,
    BarPanel,
    BarSeries,
    Curve,
    CurveFigure,
    CurvePanel,
    Dot,
    DotFigure,
    DotPanel,
    Figure,
    Level,
    MapFigure,
    MapPanel,
    SurfaceFigure,
    SurfacePanel,
    TokenFigure,
    TokenPanel,
    Words,
)
from foretell.showing.page.figure_views import figure_view
from foretell.showing.untrusted import visible
from tests.showing.hostile import HOSTILE
from tests.showing.notebook.test_plots import strings

TWO = np.arange(2.0)
SOME = HOSTILE[::60]
"""Of panels, which take long to draw."""


def words(text: str) -> Words:
    return Words("figure", text, text, text, how=text)


def curves() -> CurveFigure:
    every = tuple(Curve(text, TWO, TWO, at, marker=0, names=(text, text)) for at, text in enumerate(HOSTILE[::20]))
    whole = CurvePanel(SOME[0], every, tuple(Level(text, 0.5) for text in SOME), ticks=((0.0, SOME[1]), (1.0, SOME[2])))
    empty = (CurvePanel(text, (), note=text) for text in SOME)
    return CurveFigure(words(SOME[3]), (whole, *empty), SOME[4], SOME[1])


def dots() -> DotFigure:
    every = tuple(Dot(text, 0.5, 0.4, 0.6, 0, second=0.5) for text in HOSTILE)
    panels = (DotPanel(text, every if text == SOME[0] else (), tuple(zip(SOME, SOME, strict=True))) for text in SOME)
    return DotFigure(words(SOME[4]), tuple(panels), SOME[0], "first", "second", 0.5, "reference")


def bars() -> BarFigure:
    names = HOSTILE[::10]
    n = len(names)
    series = tuple(BarSeries(text, (0.5,) * n, (0.4,) * n, (0.6,) * n, at) for at, text in enumerate(SOME[:3]))
    panels = (
        BarPanel(SOME[0], names, series, SOME[1], 0.5, SOME[2]),
        BarPanel(SOME[3], (), (), SOME[4], 0.5, SOME[0], note=SOME[1]),
    )
    return BarFigure(words(SOME[2]), panels, 1)


def maps() -> MapFigure:
    values, marked = np.eye(2), np.eye(2) > 0
    panels = tuple(MapPanel(text, values, marked, (0, 1), (0, 1), note=None) for text in SOME)
    empty = MapPanel(SOME[1], np.full((2, 2), np.nan), ~marked, (0, 1), (0, 1), note=SOME[2])
    return MapFigure(words(SOME[3]), (*panels, empty), 3, 0.0, 1.0, SOME[4])


def surfaces(*, flat: bool) -> SurfaceFigure:
    values = np.linspace(-1, 1, 2 * len(HOSTILE)).reshape(2, -1)
    band = {"null_lower": values - 1, "null_upper": values + 1}
    panels = tuple(SurfacePanel(text, text, HOSTILE, values, **band) for text in SOME[:2])
    kind = {"z_limit": 2.0, "z_label": SOME[2], "shape": "flat" if flat else "surface", "band_label": SOME[3]}
    return SurfaceFigure(words(SOME[4]), SOME[0], panels, (0, 1), **kind)  # type: ignore[arg-type]


def tokens() -> TokenFigure:
    values = np.linspace(-1, 1, len(HOSTILE))
    panel = TokenPanel(SOME[0], HOSTILE, values, values + 1, values + 2)
    return TokenFigure(words(SOME[1]), SOME[2], (panel,), 2.0, SOME[3])


EVERY: dict[str, Figure] = {
    "curves": curves(),
    "dots": dots(),
    "bars": bars(),
    "maps": maps(),
    "surfaces": surfaces(flat=False),
    "flat": surfaces(flat=True),
    "tokens": tokens(),
}


@pytest.mark.parametrize("kind", EVERY)
def test_plotly_gets_no_markup_and_no_control_character(kind: str) -> None:
    for picture in to_plotly.draw(EVERY[kind]):
        for text in strings(json.loads(json.dumps(to_plotly.payload(picture)))):
            assert not re.search(r"<(?!br>|/?extra>)", text), text[:80]
            assert visible(text) == text
            text.encode("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_matplotlib_draws_nothing_but_text(kind: str) -> None:
    svg = to_matplotlib.render(to_matplotlib.draw(EVERY[kind]), "svg").decode()
    elements = list(ET.fromstring(svg).iter())  # noqa: S314 - made by this test
    assert not {element.tag.rpartition("}")[2] for element in elements} & {"script", "a", "foreignObject"}
    attributes = [(name.rpartition("}")[2], value) for element in elements for name, value in element.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    assert all(value.startswith(("#", "data:image/png")) for name, value in attributes if name == "href")


@pytest.mark.parametrize("kind", EVERY)
def test_the_page_gets_what_it_escapes(kind: str) -> None:
    view, _ = figure_view(EVERY[kind], b"still")
    for panel in view.panels:
        for token in panel.tokens:
            assert visible(token.text + token.tooltip, keep="\n") == token.text + token.tooltip


def test_a_terminal_gets_one_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    for text in HOSTILE:
        terminal.say(text)
        printed = capsys.readouterr().out
        assert printed == f"{visible(text)}\n"
        assert visible(printed, keep="\n") == printed
    short = [text[:60] for text in HOSTILE]
    terminal.show_table(short[0], short[:3], [(text, 0.5, None) for text in short])
    terminal.show_spans(short[0], [(text, text) for text in short])
    terminal.say_skipped(short, shown=len(short))
    printed = capsys.readouterr().out
    assert visible(printed, keep="\n") == printed
    printed.encode("utf-8")
