from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from foretell.errors import InputError
from foretell.stats.directions.surface_means import compared_with_held_out, mean_surface
from foretell.storage.surfaces import AnswerActivity, Surface


def made(generator: np.random.Generator, lengths: tuple[int, ...] = (5, 3, 4, 5), *, scale: str = "z") -> Surface:
    answers = tuple(
        AnswerActivity(f"a{index}", "x", tuple("t" * length), generator.normal(size=(2, length)), -1.0)
        for index, length in enumerate(lengths)
    )
    return Surface("?", "lying", scale, "tiny", (4, 5), answers)


def test_the_mean_and_its_interval_are_students(generator: np.random.Generator) -> None:
    surface = made(generator)
    (mean,) = mean_surface(surface).answers
    assert mean.activity.shape == (2, 5)
    assert mean.lower is not None
    assert mean.upper is not None
    for position in range(5):
        values = np.array([a.activity[1, position] for a in surface.answers if len(a.tokens) > position])
        expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert mean.activity[1, position] == pytest.approx(values.mean())
        assert (mean.lower[1, position], mean.upper[1, position]) == pytest.approx(expected)


def test_positions_that_few_answers_reach_are_left_out(generator: np.random.Generator) -> None:
    assert len(mean_surface(made(generator, (9, 3, 3, 3))).answers[0].tokens) == 3
    with pytest.raises(InputError, match="two answers"):
        mean_surface(made(generator, (4,)))


def test_an_undefined_layer_stays_undefined(generator: np.random.Generator) -> None:
    surface = made(generator)
    for answer in surface.answers:
        answer.activity[0] = np.nan
    (mean,) = mean_surface(surface).answers
    assert np.isnan(mean.activity[0]).all()
    assert np.isfinite(mean.activity[1]).all()


def scores(generator: np.random.Generator, n: int = 50) -> pl.DataFrame:
    index, side, layer = (axis.ravel() for axis in np.indices((n, 2, 3)))
    likely = generator.normal(size=(n, 2)) + np.array([0.0, 1.0])
    return pl.DataFrame(
        {
            "id": [f"p{value}" for value in index],
            "topic": "t",
            "side": np.where(side == 0, "positive", "negative"),
            "is_positive": side == 0,
            "layer": layer + 3,
            "score": generator.normal(size=index.size) + (side == 0),
            "mean_logprob": likely[index, side],
            "n_tokens": 7,
        }
    )


def test_answers_are_placed_among_held_out_ones_on_the_same_layers(generator: np.random.Generator) -> None:
    surface, table = made(generator), scores(generator)
    found = compared_with_held_out(surface, table, layers=(4, 5))
    assert found is not None
    known = table.filter(pl.col("layer") > 3).group_by("id", "is_positive").agg(pl.col("score").mean())
    assert found.auc == pytest.approx(roc_auc_score(known["is_positive"], known["score"]))
    assert (found.n_positive, found.n_negative, found.baseline) == (50, 50, "mean_logprob")
    assert found.baseline_auc > 0.5
    for answer, place in zip(surface.answers, found.answers, strict=True):
        assert place.value == pytest.approx(answer.activity.mean())
        below = known.filter(pl.col("is_positive"))["score"].to_numpy() < place.value
        assert place.above_positive == pytest.approx(below.mean())


def test_what_cannot_be_placed_is_said(generator: np.random.Generator) -> None:
    table = scores(generator)
    with pytest.raises(InputError, match='scale "z" only'):
        compared_with_held_out(made(generator, scale="raw"), table, layers=(4,))
    with pytest.raises(InputError, match="layers 4 to 5"):
        compared_with_held_out(made(generator), table, layers=(9,))
    assert compared_with_held_out(made(generator), table.filter(pl.col("is_positive")), layers=(4,)) is None
