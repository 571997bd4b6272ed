"""Course and steering figures repeat their numbers, and the words follow their rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretell.schema import DIRECTION_NULL, DIRECTIONS, conform
from foretell.showing import draw_matplotlib, draw_plotly
from foretell.showing.course_figures import course_figure, standing_text, steering_figure
from foretell.showing.curve_figures import direction_figure
from foretell.showing.report import save_steering, save_surface
from foretell.showing.report_data import ReportData
from foretell.showing.surface_figures import surface_figures
from foretell.stats.steering import dose_response
from foretell.stats.surface_means import mean_surface
from foretell.surfaces import AnswerActivity, Course, Placed, Standing, Surface, difference

STANDING = Standing((1, 2), 40, 41, 0.8, "mean_logprob", 0.9, (Placed("false <b>", 1.25, 0.75, 0.95),))


@pytest.fixture
def surface(generator: np.random.Generator) -> Surface:
    answers = tuple(
        AnswerActivity(title, "x", tuple("t" * n), generator.normal(size=(3, n)), -1.0)
        for title, n in (("false <b>", 6), ("true", 4))
    )
    mean = tuple(tuple(answer.activity[1:].mean(axis=0).tolist()) for answer in answers)
    lower, upper = (tuple(tuple([end] * len(line)) for line in mean) for end in (-1.5, 1.5))
    return Surface("Who?", "lying", "z", "tiny", (0, 1, 2), answers, Course((1, 2), mean, lower, upper, 77), STANDING)


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
    assert "77 directions drawn at random" in figure.words.caption
    assert "layers 1, 2" in figure.words.caption
    assert "One example proves nothing by itself" in figure.words.caption
    draw_matplotlib.draw(figure)
    assert len(draw_plotly.draw(figure)) == 2


def test_a_course_without_a_band_or_none_at_all(surface: Surface) -> None:
    assert surface.course is not None
    bare = course_figure(replace(surface, course=Course((0,), surface.course.mean, (), (), 0)))
    assert bare is not None
    assert all(len(panel.curves) == 1 for panel in bare.panels)
    assert "at random" not in bare.words.caption
    assert course_figure(replace(surface, course=None)) is None


def test_the_words_say_who_does_better_and_that_one_example_is_none() -> None:
    text = standing_text(STANDING, "lying")
    for piece in (
        "40 + 41 held-out answers",
        "1.25",
        "75%",
        "95%",
        "AUC 0.80",
        "they overlap",
        "0.90",
        "tells nothing",
    ):
        assert piece in text
    better = standing_text(replace(STANDING, baseline_auc=0.7), "lying")
    assert "tells nothing" not in better
    assert "hardly tell them apart" in standing_text(replace(STANDING, auc=0.55), "lying")
    assert "proves nothing by itself" in standing_text(None, "lying")


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
    page = save_steering(steering, tmp_path / "out", model="tiny", progress=False)
    assert page.exists()
    assert pl.read_parquet(tmp_path / "out" / "steering.parquet").equals(steering)
    assert (tmp_path / "out" / "figures" / "steering.png").stat().st_size > 5000


def test_a_surface_page_shows_what_stands_beside(surface: Surface, tmp_path: Path) -> None:
    page = save_surface(surface, tmp_path, beside={"difference": difference(surface)}, progress=False)
    text = page.read_text(encoding="utf-8")
    for name in ("activity", "activity-flat", "course", "difference", "difference-flat"):
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
    (picture,) = draw_plotly.draw(drawn)
    assert len(picture.data) == 3
    axes = draw_matplotlib.draw(drawn).axes
    assert sum(len(one.collections) for one in axes if one.name == "3d") == 3
    (alone, _) = draw_plotly.draw(surface_figures(surface)[0])
    assert len(alone.data) == 1
