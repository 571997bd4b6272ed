"""One reading of the pairs gives directions, their evidence, and the rank of given answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foretell.conversations.pairs import ContrastPair, instructed_from
from foretell.directions.activations.paired import read_activations
from foretell.directions.contrasts import found_vectors
from foretell.directions.controls import scored, transfer_scores
from foretell.directions.cross_validation import topic_folds
from foretell.directions.fit import fit_direction, heldout_scores
from foretell.directions.fit_and_judge import (
    Controls,
    JudgedDirections,
    companion_surfaces,
    fit_and_judge,
    judge_directions,
    split_topics,
    transfer_between,
    with_held_out_comparison,
)
from foretell.directions.surface import surface
from foretell.errors import InputError
from foretell.reading.models.load import Model
from foretell.schema.tables import TABLES
from foretell.stats.directions.estimators import METHODS
from foretell.stats.directions.null_band import layer_aucs
from tests.reading.tiny import tiny_model

PAIRS = [
    ContrastPair(f"{topic}-{index}", topic, f"Question {index * 37} about {topic}?", f"{word} so+", f"{word} so-")
    for topic in ("one", "two", "three")
    for index, word in enumerate(("It", "We say", "Maybe", "They"))
]
CONTROLS = Controls(n_random=9, n_shuffled=3)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def judged(model: Model) -> JudgedDirections:
    return judge_directions(model, PAIRS, methods=tuple(METHODS), controls=CONTROLS, progress=False)


def test_every_table_has_its_columns_and_every_method_its_rows(judged: JudgedDirections, model: Model) -> None:
    tables = judged.tables
    assert set(tables) == {
        "directions",
        "direction_null",
        "direction_choice",
        "direction_transfer",
        "direction_agreement",
    }
    for name, table in tables.items():
        assert set(TABLES[name].dtypes) <= set(table.columns)
        assert set(table["method"]) <= set(METHODS)
    n_methods = len(METHODS)
    assert tables["directions"].height == n_methods * (model.n_layers + 2)
    assert tables["direction_null"].height == n_methods * 2 * (model.n_layers + 1)
    assert tables["direction_choice"].height == n_methods * 4
    assert tables["direction_transfer"].height == n_methods * 9
    assert tables["direction_agreement"].height == n_methods * (n_methods - 1) // 2 * model.n_layers


def test_one_reading_gives_what_single_calls_give(judged: JudgedDirections, model: Model) -> None:
    for method in METHODS:
        alone = fit_direction(model, PAIRS, method=method, progress=False)
        together = judged.directions[method]
        np.testing.assert_allclose(np.abs((alone.vectors * together.vectors).sum(axis=1)), 1.0, atol=1e-4)
        assert together.source.method == method
    scores = judged.evidence["mean-difference"].scores
    assert scores.equals(heldout_scores(model, PAIRS, progress=False))
    _, table = fit_and_judge(model, PAIRS, progress=False)
    assert judged.evidence["mean-difference"].tables["directions"].equals(table)


@pytest.mark.parametrize("method", METHODS)
def test_the_sign_is_the_same_for_every_seed_and_every_order(model: Model, method: str) -> None:
    first = fit_direction(model, PAIRS, method=method, seed=0, progress=False)
    for seed, pairs in ((1, PAIRS), (2, PAIRS[::-1]), (0, PAIRS)):
        again = fit_direction(model, pairs, method=method, seed=seed, progress=False)
        assert ((first.vectors * again.vectors).sum(axis=1) > 0.999).all()


def test_the_same_seed_gives_the_same_tables(judged: JudgedDirections, model: Model) -> None:
    again = judge_directions(model, PAIRS, controls=CONTROLS, progress=False)
    for name, table in again.evidence["mean-difference"].tables.items():
        assert table.equals(judged.evidence["mean-difference"].tables[name])


def test_answers_are_placed_on_the_layers_that_were_chosen(judged: JudgedDirections, model: Model) -> None:
    evidence = judged.evidence["mean-difference"]
    layers = evidence.chosen_layers
    assert layers
    shown = surface(model, judged.directions["mean-difference"], "Who?", ["It so+", "It so-"], layers=layers)
    known = with_held_out_comparison(shown, evidence).held_out
    assert known is not None
    assert known.layers == layers
    assert known.n_positive == known.n_negative == len(PAIRS)
    raw = surface(model, judged.directions["mean-difference"], "Who?", ["It so+"], scale="raw")
    assert with_held_out_comparison(raw, evidence).held_out is None
    assert set(companion_surfaces(shown)) == {"difference"}
    assert companion_surfaces(raw) == {}


def test_two_topics_choose_no_layer_and_say_so(model: Model) -> None:
    pairs = [pair for pair in PAIRS if pair.topic != "two"]
    found = judge_directions(model, pairs, controls=Controls(n_random=0, n_shuffled=0), progress=False)
    evidence = found.evidence["mean-difference"]
    assert evidence.chosen_layers == ()
    assert evidence.tables["direction_choice"]["reason"].null_count() == 0
    assert "direction_null" not in evidence.tables
    with pytest.raises(InputError, match="two topics"):
        judge_directions(model, PAIRS[:4], progress=False)


def test_halves_share_no_topic() -> None:
    first, second = split_topics(PAIRS)
    assert len(first) + len(second) == len(PAIRS)
    assert not {pair.topic for pair in first} & {pair.topic for pair in second}
    assert pl.Series([pair.topic for pair in second]).n_unique() == 1


def test_transfer_between_sets_judges_each_on_topics_it_was_not_fitted_on(model: Model) -> None:
    distinct = [
        replace(pair, positive=f"{pair.positive} {pair.id}", negative=f"{pair.negative} {pair.id}") for pair in PAIRS
    ]
    instructed = instructed_from(distinct, positive_system="Lie.", negative_system="Be honest.")
    sets = {"stated": PAIRS, "instructed": instructed}
    found = transfer_between(model, sets, progress=False)
    assert found.columns == list(TABLES["direction_transfer"].dtypes)
    assert found.select("train", "judged").rows() == [(a, b) for a in sets for b in sets]
    assert found["auc"].null_count() == 0
    assert set(found["n"]) == {2 * len(PAIRS)}
    activations = read_activations(model, [*PAIRS, *instructed], tokens="mean", progress=False)
    named = ("mean-difference", METHODS["mean-difference"])
    for train, own in (("stated", slice(0, 12)), ("instructed", slice(12, 24))):
        layer, area = found.filter((pl.col("train") == train) & (pl.col("judged") != train)).row(0)[4:6]
        other = slice(12, 24) if train == "stated" else slice(0, 12)
        states = activations.hidden
        scores = scored(states[other], found_vectors(*named, states[own])[0], states[own])
        assert layer_aucs(scores)[layer] == pytest.approx(area)
    # Own pairs are scored by fits without their topic: exchanging a topic's answers turns its scores over.
    topic = np.array([pair.topic for pair in PAIRS]) == "two"
    hidden = activations.hidden[:12].copy()
    one = transfer_scores(read_activations(model, PAIRS, tokens="mean", progress=False), np.zeros(12, int), named,
                          folds=topic_folds(PAIRS))  # fmt: skip
    hidden[topic] = hidden[topic][:, ::-1]
    read = read_activations(model, PAIRS, tokens="mean", progress=False)
    turned = transfer_scores(replace(read, hidden=hidden), np.zeros(12, int), named,
                             folds=topic_folds(PAIRS))  # fmt: skip
    np.testing.assert_allclose(turned[0, topic][:, ::-1], one[0, topic], atol=1e-3)
    for few in ({"stated": PAIRS}, {"stated": PAIRS, "nothing": []}):
        with pytest.raises(InputError, match="two sets"):
            transfer_between(model, few, progress=False)
