"""Control scores: what was held out stays unseen, random directions know only their sign, shuffled ones nothing."""

from __future__ import annotations

import numpy as np
import pytest

from foretell.directions.activations.paired import Activations, AnswerFacts, answer_states
from foretell.directions.contrasts import found_vectors
from foretell.directions.controls import (
    nested_scores,
    random_scores,
    shuffled_scores,
    transfer_scores,
)
from foretell.stats.directions.estimators import METHODS, mean_difference
from foretell.stats.directions.null_band import layer_aucs

NAMED = ("mean-difference", mean_difference)


def activations(generator: np.random.Generator, *, n: int = 60, signal: float = 0.0, width: int = 12) -> Activations:
    """Two layers of pairs that share a common part; both sides differ along the first axis by the signal."""
    hidden = generator.normal(size=(n, 1, 2, width)) + 0.5 * generator.normal(size=(n, 2, 2, width))
    hidden[:, 0, :, 0] += signal
    hidden = hidden.astype(np.float32)
    facts = AnswerFacts(
        np.zeros((n, 2)), np.ones((n, 2), dtype=np.int64), hidden.reshape(2 * n, 2, width), np.repeat(np.arange(n), 2)
    )
    return Activations(hidden, np.arange(n), "mean", facts)


@pytest.mark.parametrize("kind", ["random", "shuffled", "outer", "inner", "transfer"])
def test_a_folds_own_labels_do_not_touch_its_scores(generator: np.random.Generator, kind: str) -> None:
    read = activations(generator, signal=1.0)
    folds = np.arange(60) % 3
    hidden = read.hidden.copy()
    hidden[folds == 1] = hidden[folds == 1][:, ::-1]
    exchanged = Activations(hidden, read.row_pair, "mean", read.facts)

    def scores(of: Activations) -> np.ndarray:
        if kind == "random":
            return random_scores(of, folds, n_draws=3, seed=1)[:, folds == 1]
        if kind == "shuffled":
            return shuffled_scores(of, folds, NAMED, n_draws=3, seed=1)[:, folds == 1]
        if kind == "transfer":
            return transfer_scores(of, folds, NAMED)[[0, 2]][:, folds == 1]
        inner, outer = nested_scores(of, folds, NAMED)
        return outer[None, folds == 1] if kind == "outer" else inner[[0, 2]][:, folds == 1]

    before, after = scores(read), scores(exchanged)
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(after[..., ::-1, :], before)


def test_choosing_without_a_fold_never_reads_it(generator: np.random.Generator) -> None:
    read = activations(generator, signal=1.0)
    folds = np.arange(60) % 3
    inner, _ = nested_scores(read, folds, NAMED)
    assert np.isnan(inner[1, folds == 1]).all()
    changed = read.hidden.copy()
    changed[folds == 1] = generator.normal(size=changed[folds == 1].shape)
    again, _ = nested_scores(Activations(changed, read.row_pair, "mean", read.facts), folds, NAMED)
    np.testing.assert_array_equal(again[1], inner[1])
    assert not np.array_equal(again[0], inner[0], equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_labels_say_nothing_on_held_out_topics(generator: np.random.Generator, method: str) -> None:
    read = activations(generator, n=80, signal=1.0, width=6)
    folds = np.arange(80) % 4
    _, outer = nested_scores(read, folds, (method, METHODS[method]))
    assert (layer_aucs(outer) > 0.65).all()
    drawn = shuffled_scores(read, folds, (method, METHODS[method]), n_draws=30, seed=0)
    assert np.abs(layer_aucs(drawn).mean() - 0.5) < 0.1


def test_random_directions_are_even_where_there_is_nothing(generator: np.random.Generator) -> None:
    read = activations(generator, n=200)
    area = layer_aucs(random_scores(read, np.arange(200) % 5, n_draws=200, seed=0))
    assert np.abs(area.mean() - 0.5) < 0.02
    same = random_scores(read, np.arange(200) % 5, n_draws=200, seed=0)
    np.testing.assert_array_equal(layer_aucs(same), area)


def test_transfer_is_the_direction_of_one_part(generator: np.random.Generator) -> None:
    read = activations(generator, signal=1.0)
    parts = np.repeat([0, 1], 30)
    scores = transfer_scores(read, parts, NAMED)
    vectors = found_vectors(*NAMED, read.hidden[parts == 0])[0]
    projection = np.einsum("pslw,lw->psl", read.hidden, vectors)
    reference = projection[parts == 0]
    expected = (projection - reference.mean(axis=(0, 1))) / reference.std(axis=(0, 1))
    np.testing.assert_allclose(scores[0, parts == 1], expected[parts == 1], atol=1e-4)
    # Its own pairs are scored by fits without them.
    assert not np.allclose(scores[0, parts == 0], expected[parts == 0], atol=1e-4)


def test_answers_of_several_rows_are_their_mean(generator: np.random.Generator) -> None:
    read = activations(generator, n=6)
    many = Activations(read.hidden, np.array([0, 0, 1, 2, 2, 2]), "every", read.facts)
    states = answer_states(many)
    np.testing.assert_allclose(states[0], read.hidden[:2].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(states[2], read.hidden[3:].mean(axis=0), atol=1e-6)
    assert answer_states(read) is read.hidden
