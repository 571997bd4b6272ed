"""Figures for papers: as wide as a column, with embedded fonts, from the numbers of the page's figures."""

from __future__ import annotations

import numpy as np
import pytest

from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.draw_matplotlib.paper_width import PAPER_WIDTHS, Style
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.curve_figures import direction_figure, forest_figure
from foretell.showing.figures.interval_figures import importance_figure, leak_figure
from foretell.showing.figures.map_figures import map_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.figures.token_figures import token_figure
from foretell.showing.report_data import ReportData
from tests.showing.conftest import make_surface

STYLES: tuple[Style, ...] = ("column", "two-column")


@pytest.mark.parametrize("style", STYLES)
def test_every_kind_of_figure_is_as_wide_as_its_column_with_letters_that_can_be_read(
    data: ReportData, style: Style
) -> None:
    surface = make_surface()
    for figure in (
        *(forest_figure(data), leak_figure(data), importance_figure(data), map_figures(data)[0]),
        *(surface_figures(surface)[0], token_figure(surface)),
    ):
        assert figure is not None
        canvas = to_matplotlib.draw(figure, style=style)
        assert canvas.get_figwidth() == pytest.approx(PAPER_WIDTHS[style])
        sizes = [text.get_fontsize() for axes in canvas.axes for text in axes.texts + axes.get_xticklabels()]
        assert min(sizes, default=5) >= 5
        assert not canvas.texts or figure.words.title not in [text.get_text() for text in canvas.texts]


def test_fonts_are_embedded_as_outlines_that_can_be_edited(data: ReportData) -> None:
    figure = direction_figure(data)
    assert figure is not None
    pdf = to_matplotlib.render(to_matplotlib.draw(figure, style="column"), "pdf")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("style", STYLES)
def test_a_paper_and_the_page_draw_the_same_numbers(data: ReportData, style: Style) -> None:
    figure = direction_figure(data)
    assert figure is not None
    (axes,) = to_matplotlib.draw(figure, style=style).axes
    shown = [trace for trace in to_plotly.draw(figure)[0].data if trace.hoverinfo != "skip"]
    for line, trace in zip(axes.get_lines(), shown, strict=False):
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), np.array(trace.y, float), rtol=1e-6)
