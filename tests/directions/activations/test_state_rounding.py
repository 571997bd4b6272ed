"""No direction out of rounding: sides that do not differ have none, whatever the method, batch and precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from foretell.conversations.builtin import builtin_facts
from foretell.conversations.pairs import ContrastPair, pairs_from_facts
from foretell.directions.activations.state_rounding import FLOAT32, rounding_unit
from foretell.directions.contrasts import fit_rows
from foretell.directions.direction import Direction
from foretell.directions.fit import fit_direction, heldout_scores
from foretell.directions.fit_and_judge import Controls, judge_directions
from foretell.directions.random_directions import random_scale
from foretell.stats.directions.estimators import METHODS
from tests.reading.tiny import tiny_model

WORDS = ("It", "We say", "Maybe", "They", "All of us", "Some")
PAIRS = [
    ContrastPair(f"{topic}-{index}", topic, f"Question {index * 37} about {topic}?", f"{word} so+", f"{word} so, no-")
    for topic in ("one", "two", "three")
    for index, word in enumerate(WORDS)
]
NO_DIFFERENCE = "the sides do not differ on average"


def exchanged(pairs: list[ContrastPair]) -> list[ContrastPair]:
    turned = [replace(pair, id=f"{pair.id}/turned", positive=pair.negative, negative=pair.positive) for pair in pairs]
    return [*pairs, *turned]


def moved_on(pairs: list[ContrastPair]) -> list[ContrastPair]:
    """Each answer is positive once and negative once, with another partner."""
    question = "What is so?"
    answers = [f"{word} so!" for word in (*WORDS, "None", "Few")]
    return [
        ContrastPair(str(index), pairs[0].topic, question, answer, answers[index - 1])
        for index, answer in enumerate(answers)
    ]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pairs", [exchanged(PAIRS), moved_on(PAIRS)], ids=["exchanged", "moved on"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sides_that_say_the_same_have_no_direction(method: str, pairs: list[ContrastPair], dtype: torch.dtype) -> None:
    model = tiny_model("llama", dtype=dtype)
    for batch_tokens in (300, 4096):
        direction = fit_direction(model, pairs, method=method, batch_tokens=batch_tokens, progress=False)
        assert all(reason is not None and NO_DIFFERENCE in reason for reason in direction.reasons)
        assert np.isnan(direction.vectors).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
def test_sides_that_differ_have_one_in_every_precision(method: str, dtype: torch.dtype) -> None:
    direction = fit_direction(tiny_model("llama", dtype=dtype), PAIRS, method=method, progress=False)
    assert direction.reasons == (None,) * 3
    one = fit_direction(tiny_model("llama", dtype=dtype), PAIRS[:3], method=method, progress=False)
    assert one.reasons == (None,) * 3


def test_held_out_scores_are_null_where_the_training_sides_do_not_differ() -> None:
    scores = heldout_scores(tiny_model("llama"), exchanged(PAIRS), progress=False)
    assert scores["score"].null_count() == scores.height
    assert scores["reason"].str.contains(NO_DIFFERENCE).all()


def test_evidence_is_null_with_reasons_where_the_sides_do_not_differ() -> None:
    controls = Controls(n_random=3, n_shuffled=2)
    judged = judge_directions(tiny_model("llama"), exchanged(PAIRS), controls=controls, progress=False)
    tables = judged.evidence["mean-difference"].tables
    for name, column in (
        ("direction_null", "auc_observed"),
        ("direction_choice", "auc"),
        ("direction_transfer", "auc"),
    ):
        assert tables[name][column].null_count() == tables[name].height, name
        assert tables[name]["reason"].null_count() == 0, name
    scores = tables["directions"].filter(pl.col("measure") == "score")
    assert scores["auc"].null_count() == scores["reason"].len() == 3
    for table in tables.values():
        for numbers in table.select(pl.selectors.float()):
            assert not numbers.is_nan().any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_rounding_is_judged_against_the_spread_of_the_states(
    generator: np.random.Generator, method: str, noise: float
) -> None:
    hidden = generator.normal(size=(40, 2, 1, 12))
    both = np.concatenate([hidden, hidden[:, ::-1]])
    both = both + noise * generator.normal(size=both.shape)
    tokens = both.reshape(-1, 1, 12).astype(np.float32)
    fitted = fit_rows(method, METHODS[method], both.astype(np.float32), tokens)
    assert NO_DIFFERENCE in (fitted.reasons[0] or "")
    # A shift that is small beside the states, and no rounding, is a direction.
    shifted = both.copy()
    shifted[:, 0, 0, 3] += 0.01
    assert fit_rows(method, METHODS[method], shifted.astype(np.float32), tokens).reasons == (None,)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_a_huge_constant_dimension_hides_nothing(generator: np.random.Generator, method: str, size: float) -> None:
    hidden = generator.normal(size=(40, 2, 1, 12)).astype(np.float32)
    hidden[:, 0, 0, 3] += 1.0
    plain = fit_rows(method, METHODS[method], hidden, hidden.reshape(-1, 1, 12))
    hidden[..., 7] = size
    tokens = hidden.reshape(-1, 1, 12)
    fitted = fit_rows(method, METHODS[method], hidden, tokens)
    assert fitted.reasons == plain.reasons == (None,)
    assert fitted.standard_deviation[0] > 0.1
    assert (random_scale(tokens, n_draws=20).standard_deviation > 0.0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_dimension_that_varies_by_rounding_alone_takes_no_part(generator: np.random.Generator, method: str) -> None:
    hidden = generator.normal(size=(40, 2, 2, 12))
    hidden[:, 0, :, 3] += 1.0
    hidden[:, :, 0, 7] = 7.0 + 1e-6 * generator.normal(size=(40, 2))
    rows = hidden.astype(np.float32)
    fitted = fit_rows(method, METHODS[method], rows, rows.reshape(-1, 2, 12))
    assert fitted.reasons == (None, None)
    assert abs(fitted.vectors[0, 7]) < 1e-5
    assert abs(fitted.vectors[1, 7]) > 1e-5


def test_dimensions_are_rounded_as_the_median_one_at_least() -> None:
    unit = rounding_unit(np.array([0.0, 1.0, 4.0, 9.0, 1e12]), FLOAT32)
    np.testing.assert_allclose(unit, FLOAT32 * np.array([2.0, 2.0, 2.0, 3.0, 1e6]))


@pytest.mark.model
def test_real_states_in_half_precision_have_a_direction_and_exchanged_ones_none() -> None:
    import foretell

    model = foretell.load_model("smollm2", dtype="bfloat16")
    pairs = pairs_from_facts(builtin_facts())[::12]
    found: list[Direction] = [fit_direction(model, some, progress=False) for some in (pairs, exchanged(pairs))]
    assert found[0].reasons == (None,) * 30
    assert all(NO_DIFFERENCE in (reason or "") for reason in found[1].reasons)
