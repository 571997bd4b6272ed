"""What stays together when a direction is judged: ids, topics and texts are what they say."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from foretell.conversations.pairs import ContrastPair, instructed_pairs
from foretell.directions.controls import transfer_scores
from foretell.directions.cross_validation import topic_folds
from foretell.directions.fit import heldout_scores
from foretell.directions.fit_and_judge import (
    Controls,
    fit_and_judge,
    judge_directions,
    split_topics,
    steer,
    transfer_between,
)
from foretell.directions.topics import distinct_topics, text_codes
from foretell.errors import InputError, SharedTextWarning
from foretell.reading.models.load import Model
from foretell.stats.directions.estimators import mean_difference
from tests.directions.test_controls import activations
from tests.reading.tiny import tiny_model

WORDS = ("It", "We say", "Maybe", "They", "All", "Some")
PAIRS = [
    ContrastPair(f"{topic}-{index}", topic, f"Question {index * 37} about {topic}?", f"{word} so+", f"{word} so-")
    for topic in ("one", "two", "three")
    for index, word in enumerate(WORDS)
]
FEW = Controls(n_random=3, n_shuffled=2)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


def under(topic: str, pairs: list[ContrastPair]) -> list[ContrastPair]:
    """The same texts under another topic and other ids."""
    return [replace(pair, id=f"{topic}/{pair.id}", topic=topic) for pair in pairs]


def test_pairs_of_two_calls_can_be_joined(model: Model) -> None:
    pairs = instructed_pairs(WORDS, topics="x") + instructed_pairs([f"{word}!" for word in WORDS], topics="y")
    _, table = fit_and_judge(model, pairs, progress=False)
    baseline = table.filter(table["measure"] == "mean_logprob")
    assert (baseline["n"][0], baseline["n_pairs"][0]) == (2 * len(pairs), len(pairs))


@pytest.mark.parametrize("judge", [heldout_scores, judge_directions, fit_and_judge])
def test_an_id_of_two_pairs_is_refused_by_name(model: Model, judge: object) -> None:
    pairs = [*PAIRS, replace(PAIRS[3], question="Another?", topic="two")]
    with pytest.raises(InputError, match=r'the id "one-3" stands for two pairs, number 4 and 19'):
        judge(model, pairs, progress=False)  # type: ignore[operator]


def test_sets_may_use_the_same_ids_and_one_set_may_not(model: Model) -> None:
    others = [replace(pair, question=f"{pair.question} Really?") for pair in PAIRS]
    assert transfer_between(model, {"a": PAIRS, "b": others}, progress=False)["auc"].null_count() == 0
    with pytest.raises(InputError, match='the id "a/one-0" stands for two pairs'):
        transfer_between(model, {"a": [*PAIRS, replace(PAIRS[0], question="?")], "b": others}, progress=False)


@pytest.mark.parametrize(
    "changed",
    [
        lambda pair: pair,
        lambda pair: replace(pair, positive=pair.negative, negative=pair.positive),
        lambda pair: replace(pair, negative="another answer"),
        lambda pair: replace(pair, positive=f" {pair.positive.upper()}\n"),
    ],
    ids=["same", "exchanged", "one side", "other blanks and case"],
)
def test_topics_that_share_a_text_are_one(changed: object) -> None:
    copies = [changed(pair) for pair in under("four", PAIRS[:2])]  # type: ignore[operator]
    said = 'the pairs "one-0" of topic "one" and "four/one-0" of topic "four" have a text in common.*(one, four)'
    with pytest.warns(SharedTextWarning, match=said):
        found = distinct_topics([*PAIRS, *copies])
    assert {pair.topic for pair in found} == {"one, four", "two", "three"}
    folds = topic_folds(found)
    assert folds[0] == folds[-1]
    assert len(set(folds)) == 3


def test_what_says_something_else_stays_a_topic_of_its_own() -> None:
    copies = under("four", PAIRS[:6])
    others = [
        *(replace(pair, question=f"{pair.question} Now?") for pair in copies[:3]),
        *(replace(pair, positive_system="Lie.", negative_system="Do not.") for pair in copies[3:]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert distinct_topics([*PAIRS, *others]) == [*PAIRS, *others]


def test_topics_are_joined_by_way_of_others() -> None:
    chain = [
        ContrastPair("a", "a", "?", "1", "2"),
        ContrastPair("b", "b", "?", "2", "3"),
        ContrastPair("c", "c", "?", "4", "3"),
        ContrastPair("d", "d", "?", "5", "6"),
    ]
    assert text_codes(chain).tolist() == [0, 0, 0, 1]
    with pytest.warns(SharedTextWarning):
        assert [pair.topic for pair in distinct_topics(chain)] == ["a, b, c", "a, b, c", "a, b, c", "d"]
    with pytest.raises(InputError, match="all topics, so none can be held out"):
        distinct_topics(chain[:3])


def test_the_same_texts_under_two_topics_are_never_on_both_sides(model: Model) -> None:
    """The sides of these pairs differ in nothing that holds for new pairs, so whoever knows a pair's copy cheats."""
    generator = np.random.default_rng(3)
    letters = [list(map(str, generator.permutation(list("abcdefgh")))) for _ in range(48)]
    noise = [
        ContrastPair(str(index), f"t{index % 4}", f"Question {index}?", "".join(word[:5]), "".join(word[3:]))
        for index, word in enumerate(letters)
    ]
    copies = under("copies", noise)
    leaky = [*noise, *(replace(pair, topic=f"c{int(pair.id.split('/')[1]) % 4}") for pair in copies)]
    method = "linear-discriminant"
    with pytest.warns(SharedTextWarning):
        joined = heldout_scores(model, leaky, method=method, progress=False)
    alone = heldout_scores(model, noise, method=method, progress=False)
    for layer in range(model.n_layers):
        assert auc_at(joined, layer) < auc_at(alone, layer) + 0.1


def auc_at(scores: object, layer: int) -> float:
    import polars as pl

    assert isinstance(scores, pl.DataFrame)
    rows = scores.filter(pl.col("layer") == layer)
    positive, negative = (rows.filter(pl.col("is_positive") == side)["score"].to_numpy() for side in (True, False))
    return float((positive[:, None] > negative).mean())


def test_topics_have_one_spelling(model: Model) -> None:
    spelled = [replace(pair, topic=name) for pair, name in zip(PAIRS, ["Geo", "geo", " GEO ", "ge\u006f"] * 5)]  # noqa: B905
    with pytest.raises(InputError, match=r'all 18 pairs have the topic "Geo"'):
        heldout_scores(model, spelled, progress=False)
    pairs = [*spelled[:9], *PAIRS[9:]]
    judged = judge_directions(model, pairs, controls=FEW, progress=False)
    assert judged.directions["mean-difference"].source.topics == ("Geo", "three", "two")
    assert judged.tables["direction_transfer"]["train"].unique().sort().to_list() == ["Geo", "three", "two"]
    with pytest.raises(InputError, match='fitted on the topic "gEO"'):
        steer(model, judged.directions["mean-difference"], [replace(PAIRS[0], topic="gEO")], layers=[1])


def test_halves_share_no_text() -> None:
    with pytest.warns(SharedTextWarning):
        first, second = split_topics([*PAIRS, *under("four", PAIRS[:2])])
    halves = [{pair.topic for pair in half} for half in (first, second)]
    assert any({"one", "four"} <= half for half in halves)
    assert not halves[0] & halves[1]
    with pytest.raises(InputError, match=r'a direction is fitted on half of the topics.*all 6 have the topic "one"'):
        split_topics(PAIRS[:6])


def test_a_text_of_two_sets_is_scored_without_itself() -> None:
    """Exchanging the answers of a copied pair in the training set must not move the scores of its copy elsewhere."""
    read = activations(np.random.default_rng(1), n=12, signal=1.0)
    parts, folds = np.repeat([0, 1], 6), np.tile([0, 0, 1, 1, 2, 2], 2)
    texts = np.array([0, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11])
    hidden = read.hidden.copy()
    hidden[0] = hidden[0, ::-1]
    named = ("mean-difference", mean_difference)
    before, after = (
        transfer_scores(replace(read, hidden=one), parts, named, folds=folds, texts=texts)[0]
        for one in (read.hidden, hidden)
    )
    np.testing.assert_array_equal(before[6], after[6])
    assert not np.array_equal(before[7], after[7])


def test_own_pairs_of_one_text_are_in_one_fold() -> None:
    read = activations(np.random.default_rng(1), n=12, signal=1.0)
    texts = np.arange(12) // 2
    hidden = read.hidden.copy()
    hidden[0] = hidden[0, ::-1]
    named = ("mean-difference", mean_difference)
    before, after = (
        transfer_scores(replace(read, hidden=one), np.zeros(12, dtype=int), named, texts=texts)[0]
        for one in (read.hidden, hidden)
    )
    np.testing.assert_array_equal(before[1], after[1])
    assert not np.array_equal(before[2], after[2])
