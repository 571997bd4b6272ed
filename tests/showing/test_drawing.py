"""Each figure is drawn by both libraries, without warnings, with the same numbers and the same bytes."""

from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from PIL import Image

from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.draw_matplotlib.canvas import drawable, thinned
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.figure import BarFigure, BarPanel, BarSeries, CurveFigure, Figure, Words
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.report_data import ReportData
from tests.showing.conftest import make_surface

NAMES = (
    "activity",
    "activity-flat",
    "early",
    "early-relative",
    "hidden-layers",
    "families-increments",
    "roc-single-metrics",
    "leak",
    "roc-forest",
    "importances",
    "map-auc",
    "map-pearson",
    "map-spearman",
    "detectors",
    "increments",
    "transfer",
    "reliability",
    "thresholds",
    "direction-by-layer",
)


def _figures(data: ReportData) -> dict[str, Figure]:
    every: list[Figure] = [*surface_figures(data.surfaces[0]), *study_figures(data)]
    return {figure.words.name: figure for figure in every}


def test_every_figure_is_made(signal_data: ReportData) -> None:
    assert tuple(_figures(signal_data)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_well_formed_and_keeps_no_date(signal_data: ReportData, name: str) -> None:
    svg = to_matplotlib.render(to_matplotlib.draw(_figures(signal_data)[name]), "svg")
    root = ET.fromstring(svg)  # noqa: S314 - made by this test
    assert root.tag.endswith("svg")
    assert b"<dc:date>" not in svg
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", ["activity", "roc-forest"])
def test_the_same_numbers_give_the_same_bytes(data: ReportData, name: str) -> None:
    figure = _figures(data)[name]
    first, second = to_matplotlib.draw(figure), to_matplotlib.draw(figure)
    for kind in ("png", "svg"):
        assert to_matplotlib.render(first, kind) == to_matplotlib.render(second, kind)


@pytest.mark.parametrize("name", NAMES)
def test_plotly_draws_a_picture_per_panel_from_plain_json(signal_data: ReportData, name: str) -> None:
    figure = _figures(signal_data)[name]
    pictures = to_plotly.draw(figure)
    assert len(pictures) == len(figure.panels)
    for picture in pictures:
        plain = to_plotly.payload(picture)
        assert plain["data"] or plain["layout"]["annotations"]  # the reason why there is none
        assert "NaN" not in json.dumps(plain, allow_nan=False)


def test_curves_with_one_legend_are_the_same_in_both_libraries(signal_data: ReportData) -> None:
    figure = _figures(signal_data)["early"]
    assert isinstance(figure, CurveFigure)
    canvas, pictures = to_matplotlib.draw(figure), to_plotly.draw(figure)
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == [
        curve.label for curve in figure.panels[0].curves
    ]
    for axes, panel, picture in zip(canvas.axes, figure.panels, pictures, strict=True):
        shown = [trace for trace in picture.data if trace.hoverinfo != "skip"]
        assert not picture.layout.showlegend
        assert len(shown) == len(panel.curves)
        for curve, line, trace in zip(panel.curves, axes.get_lines(), shown, strict=False):
            np.testing.assert_array_equal(line.get_ydata(), curve.y)
            assert list(trace.y) == pytest.approx(curve.y.tolist())
            assert list(trace.text) == list(curve.names)
        greyed = [shape for shape in picture.layout.shapes if shape.type == "rect"]
        assert [(shape.x0, shape.x1) for shape in greyed] == list(panel.greyed)
        if panel.curves:
            assert [label.get_text() for label in axes.get_xticklabels()] == [text for _, text in panel.ticks]
            assert list(picture.layout.xaxis.ticktext) == [text for _, text in panel.ticks]


def test_plotly_maps_hold_the_tables_numbers(data: ReportData) -> None:
    figure = _figures(data)["map-auc"]
    picture = to_plotly.draw(figure)[0]
    expected = data.table("association")[0, "auc"]
    assert picture.data[0].z[0][0] == pytest.approx(expected, abs=1e-5)
    assert picture.data[0].zmin + picture.data[0].zmax == pytest.approx(1.0)


def test_plotly_surfaces_are_clipped_but_show_the_score_on_hover() -> None:
    figure = surface_figures(make_surface(), z_limit=1.0)[0]
    trace = to_plotly.draw(figure)[0].data[0]
    z = np.array(trace.z, dtype=float)
    layer, token = np.unravel_index(np.nanargmax(figure.panels[0].values), figure.panels[0].values.shape)
    assert np.nanmax(z) == z[token, layer] == 1.0
    shown = trace.customdata[layer][token]  # the other way round than z, as the page's library looks it up
    assert shown.startswith(f"layer {layer}, token {token}: “{figure.panels[0].tokens[token]}”<br>activity 2.")
    assert z.shape == (len(figure.panels[0].tokens), 31)
    assert (trace.cmin, trace.cmax, trace.showscale) == (-1.0, 1.0, False)


@pytest.mark.parametrize("name", ["early", "activity"])
def test_a_still_has_half_the_pixels_each_way_and_the_same_colours(signal_data: ReportData, name: str) -> None:
    png = to_matplotlib.render(to_matplotlib.draw(_figures(signal_data)[name]), "png", dots_per_inch=60)
    still = to_matplotlib.still(png)
    with Image.open(io.BytesIO(png)) as whole, Image.open(io.BytesIO(still)) as half:
        assert half.format == "WEBP"
        assert half.size == tuple(round(size / 2) for size in whole.size)
        pixels = [
            np.asarray(one.convert("RGB"), dtype=float) for one in (whole.resize(half.size, Image.Resampling.BOX), half)
        ]
    assert np.abs(pixels[0] - pixels[1]).mean() < 4
    assert len(still) < len(png)


@pytest.mark.parametrize("name", ["early", "activity"])
def test_a_still_below_the_heading_lacks_the_heading_and_nothing_else(signal_data: ReportData, name: str) -> None:
    canvas = to_matplotlib.draw(_figures(signal_data)[name])
    share, n_pixels = to_matplotlib.heading_share(canvas), round(canvas.get_figheight() * 60)
    png = to_matplotlib.render(canvas, "png", dots_per_inch=60)
    for text in canvas.texts:
        text.set_visible(text.get_gid() != "heading")
    without = to_matplotlib.render(canvas, "png", dots_per_inch=60)
    assert png != without
    cut = math.ceil(share * n_pixels)
    with Image.open(io.BytesIO(png)) as whole, Image.open(io.BytesIO(without)) as bare:
        pixels, rest = np.asarray(whole), np.asarray(bare)
    assert np.array_equal(pixels[cut:], rest[cut:])
    assert (rest[:cut] == 255).all()
    with Image.open(io.BytesIO(to_matplotlib.still(png, scale=1.0, below=share))) as still:
        assert still.size == (pixels.shape[1], n_pixels - cut)
    for text in canvas.texts:
        text.set_text("" if text.get_gid() == "heading" else text.get_text())
    assert to_matplotlib.heading_share(canvas) == 0.0


def test_many_tokens_and_answers_stay_drawable() -> None:
    long = " ".join(f"word{index}" for index in range(150))
    surface = make_surface(n_layers=32, answers=tuple((f"answer {index}", long) for index in range(4)))
    for figure in surface_figures(surface, scale="colour-blind-safe"):
        assert to_matplotlib.render(to_matplotlib.draw(figure), "png", dots_per_inch=40)
        assert len(to_plotly.draw(figure)) == 4
    assert len(thinned(150, 24)) <= 24


@pytest.mark.parametrize(
    ("n_layers", "answer", "drawn"),
    [
        (31, "Yes", 30),  # the first layer has no activity
        (31, "No way", 60),
        (2, "Yes", 1),
        (3, "This is a long answer", 10),
        (2, "This is a long answer", 5),
        (31, "No way out", None),
        (4, "This is long", None),
        (1, "Yes", 0),
    ],
)
def test_a_surface_too_small_for_a_sheet_is_drawn_as_bars(n_layers: int, answer: str, drawn: int | None) -> None:
    surface = make_surface(n_layers=n_layers, answers=(("short", answer), ("other", "This is a longer answer")))
    figure, flat = surface_figures(surface)
    picture = to_plotly.draw(figure)[0]
    canvas = to_matplotlib.draw(figure)
    axes = next(axes for axes in canvas.axes if axes.get_label() != "<colorbar>")
    bars = [bar for trace in picture.data if trace.type == "bar" for bar in trace.y if bar is not None]
    if drawn is None:
        assert picture.data[0].type == "surface"
        assert axes.name == "3d"
    else:
        assert len(bars) == len(axes.patches) == drawn
        known = np.clip(figure.panels[0].values[np.isfinite(figure.panels[0].values)], -2, 2)
        assert sorted(bars) == pytest.approx(sorted(known), rel=1e-5)
        heights = [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]
        assert sorted(heights) == pytest.approx(sorted(known))
        assert "drawn as bars" in figure.words.caption
    assert to_plotly.draw(flat)[0].data[0].type == "heatmap"
    for each in (figure, flat):
        assert to_matplotlib.render(to_matplotlib.draw(each), "png", dots_per_inch=40)


def test_bars_of_names_that_begin_alike_stay_apart() -> None:
    names = ("attention_to_the_prompt", "attention_to_the_prefix")
    series = BarSeries("rows", (0.25, None), (0.125, None), (0.5, None), 0)
    words = Words("bars", "Bars", "", "")
    figure = BarFigure(words, (BarPanel("", names, (series,), "y", 0.0, "0"),), 1)
    trace = to_plotly.draw(figure)[0].data[0]
    assert len(set(trace.x)) == 2
    assert list(trace.customdata) == [f"{names[0]}: 0.250 [0.125, 0.500]", f"{names[1]}: undefined"]


def test_hostile_text_is_drawn_as_text(hostile_data: ReportData) -> None:
    for name in ("activity", "activity-flat", "early", "families-increments", "roc-single-metrics", "detectors"):
        figure = _figures(hostile_data)[name]
        svg = to_matplotlib.render(to_matplotlib.draw(figure), "svg").decode()
        elements = list(ET.fromstring(svg).iter())  # noqa: S314 - made by this test
        assert not {element.tag.rpartition("}")[2] for element in elements} & {"script", "a", "foreignObject"}
        attributes = [(name.rpartition("}")[2], value) for element in elements for name, value in element.items()]
        assert not [name for name, _ in attributes if name.startswith("on")]
        assert all(value.startswith(("#", "data:image/png")) for name, value in attributes if name == "href")
        for picture in to_plotly.draw(figure):
            text = json.dumps(to_plotly.payload(picture))
            assert "<script" not in text
            assert "<img" not in text
            assert "\\u001b" not in text
            assert "\\u202e" not in text


def test_characters_without_a_glyph_become_code_points() -> None:
    assert drawable("a\U0001f9ff\ufe0fb\ue000") in {"a⟨U+1F9FF⟩b⟨U+E000⟩", "a\U0001f9ff\ufe0fb⟨U+E000⟩"}
    assert drawable("one\ntwo") == "one\ntwo"
