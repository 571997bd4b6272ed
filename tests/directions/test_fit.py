"""Fitted directions: planted ones are found, sign and scale follow their rules, held-out topics stay unseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from jaxtyping import Float

from foretell.conversations.builtin import builtin_facts
from foretell.conversations.pairs import ContrastPair, pairs_from_facts
from foretell.directions.activations.paired import read_activations
from foretell.directions.contrasts import fit_rows
from foretell.directions.cross_validation import leave_topic_out
from foretell.directions.direction import Direction
from foretell.directions.fit import direction_of, fit_direction, heldout_scores
from foretell.errors import InputError
from foretell.reading.models.load import Model
from foretell.stats.directions.estimators import METHODS, mean_difference
from tests.reading.tiny import tiny_model

TOPICS = ("one", "two", "three")
PAIRS = [
    ContrastPair(f"{topic}-{index}", topic, f"Question {index * 37} about {topic}?", f"{word} so+", f"{word} so-")
    for topic in TOPICS
    for index, word in enumerate(("It", "We say", "Maybe", "They"))
]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def planted() -> tuple[Model, np.ndarray]:
    """A model whose embedding of "+" is far along a vector and that of "-" far against it."""
    tiny = tiny_model("llama")
    vector = np.random.default_rng(5).normal(size=tiny.width)
    vector /= np.linalg.norm(vector)
    with torch.no_grad():
        weight = next(tiny.model.parameters())
        for sign, token in ((3e4, "+"), (-3e4, "-")):
            (token_id,) = tiny.tokenizer.encode(token, add_special_tokens=False)
            weight[token_id] += torch.as_tensor(sign * vector, dtype=weight.dtype)
    return tiny, vector


def swapped(pairs: list[ContrastPair]) -> list[ContrastPair]:
    return [replace(pair, positive=pair.negative, negative=pair.positive) for pair in pairs]


@pytest.mark.parametrize("method", ["mean-difference", "paired-component"])
def test_a_planted_direction_is_found_in_every_layer(planted: tuple[Model, np.ndarray], method: str) -> None:
    tiny, vector = planted
    direction = fit_direction(tiny, PAIRS, method=method, tokens="last", progress=False)
    assert (direction.vectors @ vector > 0.99).all()
    flipped = fit_direction(tiny, swapped(PAIRS), method=method, tokens="last", progress=False)
    assert (flipped.vectors @ vector < -0.99).all()


@pytest.mark.parametrize("method", METHODS)
def test_higher_means_more_of_the_concept_on_the_training_pairs(model: Model, method: str) -> None:
    activations = read_activations(model, PAIRS, tokens="mean", progress=False)
    for pairs, first in ((PAIRS, 0), (swapped(PAIRS), 1)):
        direction = fit_direction(model, pairs, method=method, tokens="mean", progress=False)
        activity = direction.activity(activations.hidden)
        assert (activity[:, first].mean(axis=0) > activity[:, 1 - first].mean(axis=0)).all()


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_the_calibration_tokens_have_mean_zero_and_deviation_one(model: Model, method: str) -> None:
    facts = read_activations(model, PAIRS, progress=False).facts
    direction = fit_direction(model, PAIRS, method=method, progress=False)
    activity = direction.activity(facts.calibration)
    np.testing.assert_allclose(activity.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(activity.std(axis=0), 1.0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(direction.vectors, axis=1), 1.0, atol=1e-6)
    assert direction.source.n_calibration_tokens == len(facts.calibration)
    assert direction.source.n_calibration_pairs == direction.source.n_pairs == len(PAIRS)
    assert direction.source.topics == ("one", "three", "two")


def test_sums_give_the_direction_that_stored_states_give(model: Model) -> None:
    def stored(
        positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
    ) -> Float[np.ndarray, "layer width"]:
        return mean_difference(positive, negative)

    streamed = fit_direction(model, PAIRS, batch_tokens=300, progress=False)
    kept = fit_direction(model, PAIRS, method=stored, progress=False)
    np.testing.assert_allclose(streamed.vectors, kept.vectors, atol=1e-5)
    np.testing.assert_allclose(streamed.standard_deviation, kept.standard_deviation, rtol=1e-5)
    assert kept.source.method == "stored"


def test_the_same_pairs_give_the_same_direction(model: Model) -> None:
    first, second = (fit_direction(model, PAIRS, progress=False) for _ in range(2))
    assert first.vectors.tobytes() == second.vectors.tobytes()
    assert first.source == second.source


def test_a_layer_in_which_both_answers_are_alike_has_a_reason_and_no_number() -> None:
    tiny = tiny_model("llama")
    with torch.no_grad():
        # Without attention in the first block, its output at the last token depends on that token alone.
        tiny.model.model.layers[0].self_attn.o_proj.weight.zero_()
    pairs = [replace(pair, positive=pair.positive + ".", negative=pair.negative + ".") for pair in PAIRS]
    direction = fit_direction(tiny, pairs, tokens="last", progress=False)
    assert direction.reasons[0] is not None
    assert "same hidden states" in direction.reasons[0]
    assert direction.reasons[1:] == (None, None)
    assert np.isnan(direction.vectors[0]).all()
    assert np.isnan(direction.mean[0])
    assert np.isfinite(direction.vectors[1:]).all()
    scores = heldout_scores(tiny, pairs, tokens="last", progress=False)
    first = scores.filter(pl.col("layer") == 0)
    assert first["score"].null_count() == len(first)
    assert first["reason"].unique().to_list() == [direction.reasons[0]]
    assert scores.filter(pl.col("layer") > 0)["score"].null_count() == 0
    assert scores.filter(pl.col("layer") > 0)["reason"].null_count() == 2 * 2 * len(pairs)


def test_constant_projections_and_useless_methods_have_reasons(generator: np.random.Generator) -> None:
    hidden = generator.normal(size=(20, 2, 4, 6)).astype(np.float32)
    tokens = generator.normal(size=(50, 4, 6)).astype(np.float32)
    tokens[:, 0] = tokens[0, 0]

    def partly(
        positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
    ) -> Float[np.ndarray, "layer width"]:
        vectors = mean_difference(positive, negative)
        vectors[1], vectors[2] = 0.0, np.inf
        return vectors

    fitted = fit_rows("partly", partly, hidden, tokens)
    assert [reason is None for reason in fitted.reasons] == [False, False, False, True]
    assert "constant" in (fitted.reasons[0] or "")
    assert "no direction" in (fitted.reasons[1] or "")
    assert np.isnan(fitted.standard_deviation[:3]).all()
    assert fitted.standard_deviation[3] > 0
    with pytest.raises(InputError, match=r'method "flat" returned vectors \(6,\)'):
        fit_rows("flat", lambda positive, negative: mean_difference(positive, negative)[0], hidden, tokens)


@pytest.mark.parametrize("method", ["mean-difference", "logistic"])
def test_heldout_scores_are_those_of_a_direction_fitted_without_the_topic(model: Model, method: str) -> None:
    scores = heldout_scores(model, PAIRS, method=method, progress=False)
    activations = read_activations(model, PAIRS, tokens="mean", progress=False)
    assert scores.height == len(PAIRS) * 2 * model.n_layers
    for topic in TOPICS:
        rest = [pair for pair in PAIRS if pair.topic != topic]
        direction = fit_direction(model, rest, method=method, tokens="mean", progress=False)
        for index, pair in enumerate(PAIRS):
            if pair.topic != topic:
                continue
            rows = scores.filter(pl.col("id") == pair.id).sort("side", "layer")
            expected = direction.activity(activations.hidden[index])
            # Sides sort as negative, positive.
            np.testing.assert_allclose(rows["score"].to_numpy().reshape(2, -1)[::-1], expected, atol=2e-3)
            assert rows["is_positive"].to_list() == [False] * model.n_layers + [True] * model.n_layers
            facts = activations.facts
            np.testing.assert_array_equal(rows["n_tokens"].unique(), np.unique(facts.n_tokens[index]))


def test_heldout_scores_keep_the_order_of_pairs_and_bear_equal_ids(model: Model) -> None:
    same = [replace(pair, id="same") for pair in PAIRS[::-1]]
    scores = heldout_scores(model, same, progress=False).filter((pl.col("layer") == 0) & pl.col("is_positive"))
    assert scores["topic"].to_list() == [pair.topic for pair in same]


def test_what_cannot_be_fitted_is_said(model: Model) -> None:
    with pytest.raises(InputError, match="two topics"):
        heldout_scores(model, PAIRS[:4], progress=False)
    with pytest.raises(InputError, match="no contrast pairs"):
        fit_direction(model, [], progress=False)
    with pytest.raises(InputError, match="no contrast pairs"):
        heldout_scores(model, [], progress=False)
    with pytest.raises(InputError, match="no method"):
        fit_direction(model, PAIRS, method="magic", progress=False)


@pytest.fixture(scope="module")
def lying(smollm2: Model) -> tuple[Direction, pl.DataFrame]:
    pairs = pairs_from_facts(builtin_facts())
    few = [
        pair for topic in ("capitals", "languages", "history") for pair in [p for p in pairs if p.topic == topic][:10]
    ]
    read = read_activations(smollm2, few, tokens="mean", progress=False)
    named = ("mean-difference", METHODS["mean-difference"])
    return direction_of(smollm2, few, read, named), leave_topic_out(few, *named, read)


@pytest.mark.model
def test_lying_is_separated_on_topics_it_was_not_fitted_on(lying: tuple[Direction, pl.DataFrame]) -> None:
    direction, scores = lying
    assert direction.reasons == (None,) * 30
    middle = scores.filter(pl.col("layer").is_between(12, 16)).group_by("id", "side").agg(pl.col("score").mean())
    sides = middle.pivot("side", index="id", values="score")
    assert np.mean(sides["positive"].to_numpy() > sides["negative"].to_numpy()) > 0.8
