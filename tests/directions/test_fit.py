"""Fitted directions: planted ones are found, sign and scale follow their rules, held-out topics stay unseen."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

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
from foretell.directions.evidence import Controls
from foretell.directions.fit import direction_of, fit_direction, heldout_scores
from foretell.directions.fit_and_judge import judge_directions
from foretell.errors import InputError
from foretell.reading.models.load import Model
from foretell.stats.directions.estimators import METHODS, mean_difference, rows_needed
from tests.directions.overflow import overflowing_model
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


def spoiling(
    positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
) -> Float[np.ndarray, "layer width"]:
    """A method that does what it likes with what it is given."""
    positive -= negative
    negative[:] = np.nan
    return np.asarray(positive.mean(axis=0))


def test_a_method_may_change_what_it_is_given(model: Model) -> None:
    methods = (spoiling, "mean-difference", functools.partial(spoiling))
    judged = judge_directions(
        model, PAIRS, methods=methods, controls=Controls(n_random=2, n_shuffled=2), progress=False
    )
    alone = fit_direction(model, PAIRS, progress=False)
    assert list(judged.directions) == ["spoiling", "mean-difference", "spoiling()"]
    for direction in judged.directions.values():
        np.testing.assert_allclose(direction.vectors, alone.vectors, atol=1e-5)
    auc = judged.tables["directions"].pivot("method", index=["measure", "layer"], values="auc")
    assert auc["spoiling"].to_list() == auc["mean-difference"].to_list() == auc["spoiling()"].to_list()


def test_a_method_that_fails_has_a_reason_and_one_that_returns_no_numbers_is_refused(model: Model) -> None:
    def singular(
        positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
    ) -> Float[np.ndarray, "layer width"]:
        return np.asarray(np.linalg.inv(np.zeros((3, 3))))

    direction = fit_direction(model, PAIRS, method=singular, progress=False)
    assert set(direction.reasons) == {'the method "singular" found no direction here: Singular matrix'}
    hidden = read_activations(model, PAIRS, tokens="mean", progress=False).hidden
    with pytest.raises(InputError, match=r'method "words" returned vectors .* of <U1; .* real numbers are required'):
        fit_rows("words", lambda positive, _: np.full(positive.shape[1:], "a"), hidden, hidden[:, 0])


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_length_of_what_a_method_returns_does_not_matter(generator: np.random.Generator, size: float) -> None:
    hidden = generator.normal(size=(20, 2, 1, 6)).astype(np.float32)
    tokens = hidden.reshape(-1, 1, 6)
    plain = fit_rows("m", mean_difference, hidden, tokens)
    scaled = fit_rows("m", lambda positive, negative: size * mean_difference(positive, negative), hidden, tokens)
    np.testing.assert_allclose(scaled.vectors, plain.vectors, atol=1e-12)


@pytest.mark.parametrize("n_pairs", [1, 2])
def test_too_few_pairs_for_a_method_are_a_reason(model: Model, n_pairs: int, tmp_path: Path) -> None:
    for method in METHODS:
        direction = fit_direction(model, PAIRS[:n_pairs], method=method, progress=False)
        if n_pairs < (needed := rows_needed(METHODS[method])):
            said = f'the method "{method}" needs {needed} pairs of hidden states or more, and here are {n_pairs}'
            assert set(direction.reasons) == {said}
        else:
            assert direction.reasons == (None,) * model.n_layers
        direction.save(tmp_path / "x.safetensors", overwrite=True)
        assert Direction.load(tmp_path / "x.safetensors").reasons == direction.reasons


def test_folds_with_too_few_pairs_have_no_numbers_and_a_reason(model: Model) -> None:
    pairs = [pair for pair in PAIRS if not pair.id.endswith(("-2", "-3"))]
    controls = Controls(n_random=2, n_shuffled=2)
    judged = judge_directions(model, pairs, methods="linear-discriminant", controls=controls, progress=False)
    transfer = judged.tables["direction_transfer"]
    assert transfer["reason"].to_list() == [f"{name} gives no direction" for name in transfer["train"]]
    choice = judged.tables["direction_choice"]
    assert choice.filter(pl.col("heldout") != "all")["reason"].str.contains("no layer can be chosen").all()
    for name, table in judged.tables.items():
        for column in table.select(pl.selectors.float()):
            assert column.is_nan().sum() == 0, (name, column.name)


@pytest.mark.parametrize("method", METHODS)
def test_a_text_that_passes_the_precision_is_named(method: str) -> None:
    tiny = overflowing_model()
    pairs = [*PAIRS[:5], replace(PAIRS[5], negative="so~"), *PAIRS[6:]]
    said = 'the negative answer of pair "two-1": hidden states or log-probabilities are not finite in float16; load'
    with pytest.raises(InputError, match=said):
        fit_direction(tiny, pairs, method=method, progress=False)
    with pytest.raises(InputError, match=said):
        judge_directions(tiny, pairs, methods=method, progress=False)


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


def test_heldout_scores_keep_the_order_of_pairs(model: Model) -> None:
    turned = PAIRS[::-1]
    scores = heldout_scores(model, turned, progress=False).filter((pl.col("layer") == 0) & pl.col("is_positive"))
    assert scores["id"].to_list() == [pair.id for pair in turned]
    assert scores["topic"].to_list() == [pair.topic for pair in turned]


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
