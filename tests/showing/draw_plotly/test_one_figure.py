"""All panels in one plotly figure: the same traces, each on axes of its own, with one legend and one colour bar."""

from __future__ import annotations

import pytest

from foretell.errors import InputError
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.draw_plotly.one_figure import one_figure
from foretell.showing.figures.figure import Figure, MapFigure, TokenFigure
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.figures.token_figures import token_figure
from tests.showing.conftest import make_signal_data, make_surface

FIGURES = {figure.words.name: figure for figure in study_figures(make_signal_data())}
FIGURES |= {figure.words.name: figure for figure in surface_figures(make_surface())}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_nothing_of_a_panel_is_lost(figure: Figure) -> None:
    pictures, whole = to_plotly.draw(figure), one_figure(figure)
    traces = [trace for picture in pictures for trace in picture.data]
    assert [trace.type for trace in whole.data] == [trace.type for trace in traces]
    for made, trace in zip(whole.data, traces, strict=True):
        assert str(made.y) == str(trace.y)
    assert len(whole.layout.shapes) == sum(len(picture.layout.shapes) for picture in pictures)
    shown = [(trace.legendgroup, trace.name) for trace in whole.data if trace.showlegend and trace.legendgroup]
    assert len(shown) == len(set(shown))
    whole.to_json()


def test_each_panel_has_its_own_axes() -> None:
    figure = next(one for one in FIGURES.values() if isinstance(one, MapFigure))
    whole = one_figure(figure)
    heats = [trace for trace in whole.data if trace.type == "heatmap"]
    assert len({trace.xaxis for trace in heats}) == len(figure.panels) == len(heats)
    assert sum(bool(trace.showscale) for trace in heats) == 1
    assert len({(trace.zmin, trace.zmax) for trace in heats}) == 1
    assert whole.layout.yaxis.autorange == "reversed"


def test_shapes_stay_in_their_panel() -> None:
    whole = one_figure(FIGURES["increments"])
    assert {shape.xref for shape in whole.layout.shapes} == {"x", "x2", "x3"}
    assert {shape.yref for shape in whole.layout.shapes} == {"y domain", "y2 domain", "y3 domain"}


def test_surfaces_have_a_scene_each_and_one_scale() -> None:
    whole = one_figure(FIGURES["activity"])
    assert {trace.scene for trace in whole.data} == {"scene", "scene2"}
    assert sum(bool(trace.showscale) for trace in whole.data) == 1
    assert whole.layout.scene2.zaxis.range == whole.layout.scene.zaxis.range


def test_coloured_text_is_refused() -> None:
    figure = token_figure(make_surface())
    assert isinstance(figure, TokenFigure)
    with pytest.raises(InputError, match="coloured text"):
        one_figure(figure)


def test_an_empty_panel_says_why_in_its_place() -> None:
    whole = one_figure(FIGURES["early"])
    (note,) = (one for one in whole.layout.annotations if one.text.startswith("undefined"))
    axes = whole.get_subplot(2, 3)
    assert (note.xref, note.yref) == ("paper", "paper")
    assert axes.xaxis.domain[0] < note.x < axes.xaxis.domain[1]
    assert axes.yaxis.domain[0] < note.y < axes.yaxis.domain[1]


def test_curves_with_names_of_their_own_are_listed_by_panel() -> None:
    whole = one_figure(FIGURES["roc-single-metrics"])
    titles = {trace.legendgrouptitle.text for trace in whole.data if trace.name is not None}
    assert titles == {panel.title for panel in FIGURES["roc-single-metrics"].panels}
