"""Course and steering figures repeat their numbers, and the words follow their rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb

from foretell.schema.tables import DIRECTION_NULL, DIRECTIONS, conform
from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.course_figures import comparison_text, course_figure, steering_figure
from foretell.showing.figures.curve_figures import direction_figure
from foretell.showing.figures.figure import SurfaceFigure
from foretell.showing.figures.palette import NULL_BAND
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.report import save_surface, save_table
from foretell.showing.report_data import ReportData
from foretell.stats.directions.dose_response import dose_response
from foretell.stats.directions.surface_means import mean_surface
from foretell.storage.surfaces import AnswerActivity, AnswerRank, Course, HeldOutComparison, Surface, difference

HELD_OUT = HeldOutComparison((1, 2), 40, 41, 0.8, "mean_logprob", 0.9, (AnswerRank("false <b>", 1.25, 0.75, 0.95),))


@pytest.fixture
def surface(generator: np.random.Generator) -> Surface:
    answers = tuple(
        AnswerActivity(title, "x", tuple("t" * n), generator.normal(size=(3, n)), -1.0)
        for title, n in (("false <b>", 6), ("true", 4))
    )
    mean = tuple(tuple(answer.activity[1:].mean(axis=0).tolist()) for answer in answers)
    lower, upper = (tuple(tuple([end] * len(line)) for line in mean) for end in (-1.5, 1.5))
    return Surface("Who?", "lying", "z", "tiny", (0, 1, 2), answers, Course((1, 2), mean, lower, upper, 77), HELD_OUT)


def test_a_course_shows_its_numbers_and_the_band(surface: Surface) -> None:
    figure = course_figure(surface)
    assert figure is not None
    assert surface.course is not None
    for panel, line in zip(figure.panels, surface.course.mean, strict=True):
        own, null = panel.curves
        np.testing.assert_allclose(own.y, line)
        assert null.lower is not None
        assert set(null.lower) == {-1.5}
        assert panel.levels[0].value == pytest.approx(np.mean(line))
    assert "77 random directions" in figure.words.caption
    assert "layers 1, 2" in figure.words.caption
    assert "not evidence" in figure.words.caption
    to_matplotlib.draw(figure)
    assert len(to_plotly.draw(figure)) == 2


def test_a_course_without_a_band_or_none_at_all(surface: Surface) -> None:
    assert surface.course is not None
    bare = course_figure(replace(surface, course=Course((0,), surface.course.mean, (), (), 0)))
    assert bare is not None
    assert all(len(panel.curves) == 1 for panel in bare.panels)
    assert "random directions" not in bare.words.caption
    assert course_figure(replace(surface, course=None)) is None


def test_the_comparison_names_the_better_score_and_that_one_example_is_no_evidence() -> None:
    text = comparison_text(HELD_OUT, "lying")
    for phrase in (
        "40 + 41 held-out answers",
        "1.25",
        "75%",
        "95%",
        "AUC 0.80",
        "separation with overlap",
        "0.90",
        "as good as the direction or better",
    ):
        assert phrase in text
    better = comparison_text(replace(HELD_OUT, baseline_auc=0.7), "lying")
    assert "as good as" not in better
    assert "poor separation" in comparison_text(replace(HELD_OUT, auc=0.55), "lying")
    assert "not evidence" in comparison_text(None, "lying")


@pytest.fixture
def steering(generator: np.random.Generator) -> pl.DataFrame:
    base = generator.normal(size=12)
    doses = (-2.0, 2.0)
    shifted = base + np.array([[-1.0], [1.0]]) + 0.1 * generator.normal(size=(2, 12))
    random = base + 0.2 * generator.normal(size=(4, 2, 12))
    return dose_response(base, shifted, random, doses, concept="lying")


def test_steering_shows_the_table(steering: pl.DataFrame, tmp_path: Path) -> None:
    figure = steering_figure(steering)
    own, control = figure.panels[0].curves
    assert own.x.tolist() == control.x.tolist() == [-2.0, 0.0, 2.0]
    np.testing.assert_allclose(own.y, steering.filter(pl.col("kind") == "direction").sort("dose")["shift"])
    assert control.lower is not None
    np.testing.assert_allclose(control.lower, steering.filter(pl.col("kind") == "random").sort("dose")["draw_lower"])
    assert "12 pairs" in figure.words.caption
    directed, chance = figure.panels[1].curves
    assert directed.x.tolist() == chance.x.tolist() == [2.0]
    row = steering.filter((pl.col("kind") == "direction") & (pl.col("dose") == 2.0)).row(0, named=True)
    assert directed.y[0] == row["directed"]
    assert f"p = {row['directed_p']:.2f}" in figure.words.caption
    alone = steering_figure(steering.filter(pl.col("dose") >= 0).with_columns(directed=pl.lit(None, pl.Float64)))
    assert len(alone.panels) == 1
    assert "cannot be computed" in alone.words.caption
    page = save_table(steering, tmp_path / "out", model="tiny", progress=False, kind="steering")
    assert page.exists()
    assert pl.read_parquet(tmp_path / "out" / "steering.parquet").equals(steering)
    assert (tmp_path / "out" / "figures" / "steering.png").stat().st_size > 5000


def test_a_surface_page_shows_the_comparison(surface: Surface, tmp_path: Path) -> None:
    page = save_surface(surface, tmp_path, beside={"difference": difference(surface)}, progress=False)
    text = page.read_text(encoding="utf-8")
    for name in ("activity", "activity-flat", "tokens", "course", "difference", "difference-flat"):
        assert f'id="figure-{name}"' in text
        assert (tmp_path / "figures" / f"{name}.png").exists()
    assert Surface.read(tmp_path / "difference").answers[0].title == "false <b> − true"
    assert "false <b>" not in text


def test_other_scales_are_drawn_whole(surface: Surface) -> None:
    raw = replace(surface, scale="raw", answers=(replace(surface.answers[0], activity=np.full((3, 6), -173.2)),))
    drawn, _ = surface_figures(raw)
    assert drawn.z_limit == 180.0
    assert drawn.extend == "neither"
    flat = replace(raw, answers=(replace(raw.answers[0], activity=np.zeros((3, 6))),))
    assert surface_figures(flat)[0].z_limit == 1.0
    assert surface_figures(surface)[0].z_limit == 2.0


def test_random_directions_are_drawn_beside_the_direction() -> None:
    area = {"auc": 0.8, "auc_lower": 0.7, "auc_upper": 0.9, "n": 10, "n_pairs": 5}
    rows = [{"concept": "lying", "measure": "score", "layer": layer, **area} for layer in (0, 1)]
    judged = conform(pl.DataFrame(rows), DIRECTIONS)
    band = {"auc_mean": 0.5, "auc_lower": 0.45, "auc_upper": 0.55, "n_draws": 99, "method": "m", "concept": "lying"}
    null = pl.DataFrame(
        [{"kind": kind, "layer": layer, **band} for kind in ("random", "shuffled") for layer in (0, 1, None)]
    )
    tables = {"direction_null": conform(null, DIRECTION_NULL)}
    figure = direction_figure(ReportData(tables=tables, direction=judged))
    assert figure is not None
    (drawn,) = [curve for curve in figure.panels[0].curves if "random" in curve.label]
    assert drawn.label == "99 random directions"
    assert drawn.x.tolist() == [0, 1]
    assert drawn.upper is not None
    assert set(drawn.upper) == {0.55}
    assert "Random directions" in figure.words.caption
    without = direction_figure(ReportData(tables={}, direction=judged))
    assert without is not None
    assert not [curve for curve in without.panels[0].curves if "random" in curve.label]


def test_the_interval_of_a_mean_is_drawn_as_sheets(surface: Surface) -> None:
    mean = mean_surface(surface)
    drawn, flat = surface_figures(mean)
    assert drawn.panels[0].lower is not None
    assert "Grey sheets" in drawn.words.caption
    assert "Grey sheets" not in flat.words.caption
    (picture,) = to_plotly.draw(drawn)
    assert [trace.name for trace in picture.data] == [None, "95 % interval of the mean", "95 % interval of the mean"]
    assert [bool(trace.showlegend) for trace in picture.data] == [False, True, False]
    (alone, _) = to_plotly.draw(surface_figures(surface)[0])
    assert len(alone.data) == 1
    assert _n_tiles(drawn) == 3 * 2 * 3
    assert _n_tiles(surface_figures(surface)[0]) == 2 * (5 + 3)


def _n_tiles(figure: SurfaceFigure) -> int:
    axes = [one for one in to_matplotlib.draw(figure).axes if one.name == "3d"]
    return sum(len(np.asarray(heap.get_facecolor())) for one in axes for heap in one.collections)


@pytest.fixture
def banded(surface: Surface) -> Surface:
    answers = []
    for answer in surface.answers:
        lower, upper = np.full_like(answer.activity, -1.0), np.full_like(answer.activity, 0.5)
        answers.append(replace(answer, null_lower=lower, null_upper=upper))
    return replace(surface, answers=tuple(answers))


def test_the_band_of_random_directions_is_drawn_into_the_surface(banded: Surface) -> None:
    drawn, flat = surface_figures(banded)
    assert drawn.band_label == "77 random directions, 5th to 95th percentile"
    outside = np.concatenate([((a.activity < -1.0) | (a.activity > 0.5)).ravel() for a in banded.answers])
    assert f"{outside.mean():.0%} of the scores are outside" in drawn.words.caption
    assert "Blue sheets" not in flat.words.caption
    assert flat.band_label == ""
    for picture in to_plotly.draw(drawn):
        _, low, high = picture.data
        assert {low.name, high.name} == {drawn.band_label}
        assert (low.showlegend, high.showlegend) == (True, False)
        assert low.legendgroup == high.legendgroup
        assert set(np.ravel(low.z)) == {-1.0}
        assert set(np.ravel(high.z)) == {0.5}
    canvas = to_matplotlib.draw(drawn)
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == [drawn.band_label]
    assert _n_tiles(drawn) == 3 * 2 * (5 + 3)
    blue = np.array(to_rgb(NULL_BAND))
    heaps = [heap for one in canvas.axes if one.name == "3d" for heap in one.collections]
    in_blue = sum(
        int((np.abs(np.asarray(heap.get_facecolor())[:, :3] - blue).max(axis=1) < 1e-6).sum()) for heap in heaps
    )
    assert in_blue == 2 * 2 * (5 + 3)


def test_the_band_can_be_switched_off(banded: Surface, tmp_path: Path) -> None:
    drawn, _ = surface_figures(banded, null_band=False)
    assert drawn.band_label == ""
    assert "random" not in drawn.words.caption
    assert all(len(picture.data) == 1 for picture in to_plotly.draw(drawn))
    assert not to_matplotlib.draw(drawn).legends
    page = save_surface(banded, tmp_path / "off", null_band=False, progress=False).read_text(encoding="utf-8")
    assert "Blue sheets" not in page


def test_a_gap_is_left_open_and_a_lone_layer_is_drawn_as_points(surface: Surface) -> None:
    activity = np.zeros((5, 4))
    activity[[1, 3]] = np.nan
    answer = replace(surface.answers[1], activity=activity)
    alone = replace(surface, layers=(0, 1, 2, 3, 4), answers=(answer,), course=None)
    (drawn, _) = surface_figures(alone)
    (axes,) = [one for one in to_matplotlib.draw(drawn).axes if one.name == "3d"]
    assert [type(kept).__name__ for kept in axes.collections] == ["Path3DCollection"]
    assert np.shape(axes.collections[0].get_offsets())[0] == 3 * 4
