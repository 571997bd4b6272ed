"""Directions planted into synthetic hidden states: found, of the right sign, and their intervals cover."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from foretell.conversations.pairs import ContrastPair
from foretell.directions.activations.paired import Activations, AnswerFacts
from foretell.directions.contrasts import fit_rows
from foretell.directions.cross_validation import topic_folds
from foretell.directions.evidence import Controls, judge
from foretell.stats.directions.estimators import METHODS
from foretell.stats.directions.null_band import layer_aucs

N_TOPICS, PER_TOPIC, WIDTH = 5, 12, 8
NOTHING = Controls(n_random=0, n_shuffled=0, transfer=False)
PAIRS = [
    ContrastPair(f"{topic}-{index}", f"topic {topic}", "?", "a", "b")
    for topic in range(N_TOPICS)
    for index in range(PER_TOPIC)
]


def planted(generator: np.random.Generator, n_layers: int = 1) -> np.ndarray:
    vectors = generator.normal(size=(n_layers, WIDTH))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def read(
    generator: np.random.Generator, vectors: np.ndarray, *, signal: float | np.ndarray, topics: np.ndarray
) -> Activations:
    """Pairs of fixed topics: what topic and pair share, and a step along the planted vector, under noise."""
    n = len(PAIRS)
    hidden = np.repeat(topics, PER_TOPIC, axis=0)[:, None] + 0.7 * generator.normal(size=(n, 1, len(vectors), WIDTH))
    hidden = hidden + generator.normal(size=(n, 2, len(vectors), WIDTH))
    step = np.broadcast_to(signal, len(vectors))[:, None] * vectors
    hidden[:, 0] += step
    hidden[:, 1] -= step
    tokens = hidden.reshape(2 * n, len(vectors), WIDTH).astype(np.float32)
    facts = AnswerFacts(generator.normal(size=(n, 2)), np.ones((n, 2), dtype=np.int64), tokens, np.arange(n).repeat(2))
    return Activations(hidden.astype(np.float32), np.arange(n), "mean", facts)


def reached(
    generator: np.random.Generator, name: str, *, n: int, signal: tuple[float, ...]
) -> Iterator[dict[str, tuple[float, float, float, float]]]:
    """Draw the pairs of the same topics anew and judge them; what comes last is what these directions truly reach.

    The truth is the AUC of the very directions and layers, each on its own topic, over many pairs that took no part.
    """
    vectors = planted(generator, len(signal))
    topics = 0.5 * generator.normal(size=(N_TOPICS, len(signal), WIDTH))
    folds = topic_folds(PAIRS)
    for _ in range(n):
        activations = read(generator, vectors, signal=np.array(signal), topics=topics)
        tables = judge(PAIRS, activations, (name, METHODS[name]), concept="c", controls=NOTHING, progress=False).tables
        rows = {"first": tables["directions"].row(0, named=True)}
        rows["chosen"] = tables["direction_choice"].row(-1, named=True)
        taken = {"first": [0] * N_TOPICS, "chosen": tables["direction_choice"]["layer"].to_list()[:-1]}
        fresh = [read(generator, vectors, signal=np.array(signal), topics=topics).hidden for _ in range(10)]
        fits = [
            fit_rows(name, METHODS[name], activations.hidden[folds != fold], activations.facts.calibration,
                     chosen=np.flatnonzero(folds[activations.facts.calibration_pair] != fold))
            for fold in range(N_TOPICS)
        ]  # fmt: skip
        truths = {}
        for key, layers in taken.items():
            scores = np.empty((len(fresh), len(PAIRS), 2))
            for fold, (fit, layer) in enumerate(zip(fits, layers, strict=True)):
                projection = np.stack(fresh)[:, folds == fold][..., layer, :] @ fit.vectors[layer]
                scores[:, folds == fold] = (projection - fit.mean[layer]) / fit.standard_deviation[layer]
            truths[key] = float(layer_aucs(scores.reshape(-1, 2, 1))[0])
        yield {key: (row["auc"], row["auc_lower"], row["auc_upper"], truths[key]) for key, row in rows.items()}


@pytest.mark.calibration
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n", "signal"), [("mean-difference", 200, (0.45, 0.3)), ("linear-discriminant", 160, (0.6, 0.5))]
)
def test_intervals_of_held_out_topics_cover(
    generator: np.random.Generator, name: str, n: int, signal: tuple[float, ...]
) -> None:
    found = list(reached(generator, name, n=n, signal=signal))
    for key in ("first", "chosen"):
        area, lower, upper, truth = np.array([draw[key] for draw in found]).T
        assert 0.58 < truth.mean() < 0.85
        assert abs(area.mean() - truth.mean()) < 0.015
        assert np.mean((lower <= truth) & (truth <= upper)) >= 0.91
        assert max(np.mean(truth < lower), np.mean(truth > upper)) < 0.06
        assert np.mean(upper - lower) < 0.35


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"logistic"}))
def test_a_strong_planted_direction_is_found(generator: np.random.Generator, name: str) -> None:
    # Logistic scales its columns by all they hold, the shift among it: test_methods has it at a moderate shift.
    vectors = planted(generator)
    hidden = generator.normal(size=(1500, 2, 1, WIDTH))
    hidden[:, 0] += 10.0 * vectors
    hidden[:, 1] -= 10.0 * vectors
    found = fit_rows(name, METHODS[name], hidden.astype(np.float32), hidden.reshape(-1, 1, WIDTH).astype(np.float32))
    assert float(found.vectors[0] @ vectors[0]) > 0.99


@pytest.mark.parametrize("name", METHODS)
def test_the_sign_is_the_same_for_every_draw_of_pairs(generator: np.random.Generator, name: str) -> None:
    vectors = planted(generator)
    topics = 0.5 * generator.normal(size=(N_TOPICS, 1, WIDTH))
    for _ in range(25):
        activations = read(generator, vectors, signal=0.8, topics=topics)
        fitted = fit_rows(name, METHODS[name], activations.hidden, activations.facts.calibration)
        assert float(fitted.vectors[0] @ vectors[0]) > 0.0
        gap = activations.hidden[:, 0, 0].mean(axis=0) - activations.hidden[:, 1, 0].mean(axis=0)
        assert float(fitted.vectors[0] @ gap) > 0.0
