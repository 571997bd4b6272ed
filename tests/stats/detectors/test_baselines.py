"""Baselines are made of every column that a table has, and are as flexible as what is held against them."""

from __future__ import annotations

import numpy as np
import pytest

from foretell.stats.detectors.baselines import baselines, one_hot, smooth
from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import CrossValidation

LENGTHS = ("n_tokens_system", "n_tokens_prompt", "n_tokens_query", "n_tokens_template", "n_tokens_generated")


def lengths(generator: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {name: generator.integers(1, 400, n).astype(float) for name in LENGTHS}


def test_a_table_with_every_column_has_every_baseline(generator: np.random.Generator) -> None:
    columns = {**lengths(generator, 40), "mean_logprob": -generator.random(40)}
    answers = [f"some words {index % 5}0" for index in range(40)]
    found, notes = baselines(np.arange(40) % 3, columns, answers, [f"words {index % 7}0" for index in range(40)])
    assert [one.name for one in found] == [
        "kind of task",
        "segment lengths",
        "uniform attention",
        "answer length",
        "log-probability",
        "repeats of the prompt",
        "words of the prompt",
        "words of the answer",
    ]
    assert {one.role for one in found} == {"baseline"}
    assert [one.matrix.shape for one in found][:5] == [(40, 3), (40, 28), (40, 21), (40, 7), (40, 7)]
    assert notes == []


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({}, []),
        ({"n_tokens_prompt": np.arange(10.0)}, ["segment lengths"]),
        ({"n_tokens_prompt": np.arange(10.0), "n_tokens_query": np.ones(10)}, ["segment lengths", "uniform attention"]),
        ({"n_tokens_template": np.arange(10.0)}, ["segment lengths"]),
        ({"n_tokens_generated": np.arange(10.0)}, ["answer length"]),
        ({"n_tokens_prompt": np.ones(10), "mean_logprob": np.full(10, np.nan)}, []),
        ({"mean_logprob": np.r_[np.full(9, np.nan), -1.0]}, []),
        ({"mean_logprob": np.r_[np.full(8, np.nan), -1.0, -2.0]}, ["log-probability"]),
    ],
)
def test_a_baseline_that_a_table_lacks_is_noted(columns: dict[str, np.ndarray], names: list[str]) -> None:
    found, notes = baselines(None, columns)
    assert [one.name for one in found] == names
    assert len(found) + len(notes) == 8
    for note in notes:
        assert note.startswith("baseline ")
        assert "no column" in note
        assert not any(note.startswith(f"baseline {name}:") for name in names)


@pytest.mark.parametrize("answer", [None, ["same"] * 10, [None] * 10, [f"word{index}" for index in range(10)]])
def test_answers_without_a_shared_word_are_no_baseline(answer: list[str | None] | None) -> None:
    found, notes = baselines(np.repeat("one", 10), {}, answer)
    assert found == []
    assert any("words of the answer" in note for note in notes)


def test_words_are_columns_of_those_that_two_answers_use() -> None:
    found, _ = baselines(None, {}, ["rain rain", "rain wind", "wind snow", None])
    words = found[0].matrix
    assert words.shape == (4, 2)
    assert (words > 0).sum(axis=0).tolist() == [2, 2]
    assert (words[3] == 0).all()


def test_uniform_attention_gives_shares_of_what_is_asked() -> None:
    columns = {name: np.array([1.0, 2.0, 0.0, np.nan]) * factor for factor, name in enumerate(LENGTHS[:3], start=1)}
    columns["n_tokens_query"] = np.array([5.0, 1.0, 0.0, np.nan])
    found, _ = baselines(None, columns)
    shares = next(one for one in found if one.name == "uniform attention").matrix[:, [0]]
    assert shares[:2, 0] == pytest.approx([1 / 8, 2 / 7])
    assert np.isnan(shares[2:]).all()


def test_one_column_per_kind() -> None:
    assert one_hot(np.array(["b", "a", "c", "a"])).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_a_smooth_column_keeps_its_place_and_its_gaps(generator: np.random.Generator) -> None:
    column = generator.normal(size=30)
    column[[3, 17]] = np.nan
    basis = smooth(column)
    np.testing.assert_array_equal(basis[:, 0], column)
    assert (np.isnan(basis).any(axis=1) == np.isnan(column)).all()
    order = generator.permutation(30)
    np.testing.assert_allclose(smooth(column[order]), basis[order])


@pytest.mark.parametrize("values", [[5.0], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
def test_a_column_of_few_values_has_no_curve(values: list[float]) -> None:
    assert smooth(np.repeat(values, 4)).shape[1] == 1


@pytest.mark.parametrize("shape", ["straight", "u", "step"])
def test_a_smooth_baseline_finds_what_no_straight_line_does(shape: str, generator: np.random.Generator) -> None:
    column = generator.normal(size=300)
    hidden = {"straight": column, "u": column**2 - 0.6, "step": np.sign(column - 0.5)}[shape]
    label = (hidden + 0.5 * generator.normal(size=300) > 0).astype(np.int64)
    found, _ = baselines(None, {"mean_logprob": column})
    folds = CrossValidation(label, n_repeats=1)
    score = folds.scores(found[0]).score[0]
    line = folds.scores(Features("x", "baseline", (column[:, None],))).score[0]
    correct, straight = (np.mean((one > 0) == label) for one in (score, line))
    assert correct > 0.75
    assert correct >= straight - 0.03
    if shape == "u":
        assert straight < 0.65
