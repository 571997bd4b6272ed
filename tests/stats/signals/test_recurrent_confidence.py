"""RAUQ against a loop that follows the paper's equations, on answers of several lengths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest

from foretell.stats.signals.answer_tokens_so_far import AnswerTokens
from foretell.stats.signals.moment import after_tokens
from foretell.stats.signals.recurrent_confidence import layer_uncertainty, rauq_family

LENGTHS = (7, 1, 4, 5)
N_LAYERS, N_HEADS = 6, 3


def by_loop(probability: list[float], previous: np.ndarray, alpha: float) -> float:
    n = len(probability)
    means = [sum(head[1:n]) / max(n - 1, 1) for head in previous]
    head = means.index(max(means))
    confidence = [probability[0]]
    for token in range(1, n):
        confidence.append(alpha * probability[token] + (1 - alpha) * previous[head][token] * confidence[-1])
    return -sum(map(math.log, confidence)) / n


@pytest.fixture
def numbers(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(sample, token)` and weights `(sample, layer, head, token)`; nan after the end."""
    probability = generator.uniform(0.01, 1, (len(LENGTHS), max(LENGTHS)))
    previous = generator.uniform(0, 1, (len(LENGTHS), N_LAYERS, N_HEADS, max(LENGTHS)))
    for sample, length in enumerate(LENGTHS):
        probability[sample, length:] = np.nan
        previous[sample, :, :, length:] = np.nan
    return probability, previous


@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_it_is_the_paper_s_recursion(numbers: tuple[np.ndarray, np.ndarray], alpha: float) -> None:
    probability, previous = numbers
    found = layer_uncertainty(probability, previous[:, 0], alpha=alpha)
    expected = [
        by_loop(probability[sample, :n].tolist(), previous[sample, 0], alpha) for sample, n in enumerate(LENGTHS)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_without_attention_it_is_the_logarithm_of_perplexity(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    probability, previous = numbers
    found = layer_uncertainty(probability, previous[:, 1], alpha=1.0)
    np.testing.assert_allclose(found, -np.nanmean(np.log(probability), axis=1), rtol=1e-12)


def test_an_impossible_token_stays_finite_and_no_token_is_undefined() -> None:
    previous = np.zeros((2, 1, 2))
    found = layer_uncertainty(np.array([[0.0, 1.0], [np.nan, np.nan]]), previous)
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


@pytest.mark.parametrize("after", [1, 3, 7])
def test_the_family_is_the_largest_of_the_middle_layers_so_far(
    numbers: tuple[np.ndarray, np.ndarray], after: int
) -> None:
    probability, previous = numbers
    rows = pl.DataFrame(
        [
            {"id": f"s{sample}", "layer": layer, "head": head, "answer_position": token}
            | {"previous_token": previous[sample, layer, head, token]}
            for sample, layer, head in itertools.product(range(len(LENGTHS)), range(N_LAYERS), range(N_HEADS))
            for token in range(LENGTHS[sample])
        ]
    )
    tokens = AnswerTokens((), {"logprob": np.log(probability)})
    moment = after_tokens(tuple(f"s{sample}" for sample in range(len(LENGTHS))), np.array(LENGTHS), after)
    family = rauq_family(moment, rows.sample(fraction=1, shuffle=True, seed=3), tokens)
    assert family.columns is not None
    middle = range(2, 5)  # one third to two thirds of six layers, both included
    for sample, length in enumerate(LENGTHS):
        n = min(length, after)
        each = [by_loop(probability[sample, :n].tolist(), previous[sample, layer], 0.2) for layer in middle]
        assert family.columns[sample, 0] == pytest.approx(max(each))


def test_it_is_undefined_before_the_answer_and_without_weights() -> None:
    tokens = AnswerTokens((), {"logprob": np.zeros((1, 2))})
    rows = pl.DataFrame({"id": ["s"], "layer": [0], "head": [0], "answer_position": [0], "PAM": [0.5]})
    before = rauq_family(after_tokens(("s",), np.array([2]), 0), rows, tokens)
    without = rauq_family(after_tokens(("s",), np.array([2]), 1), rows, tokens)
    assert (before.columns, before.reason) == (None, "no token of the answer is written yet")
    assert (without.columns, without.reason) == (
        None,
        "weights on the token before were not read (rows=True reads them)",
    )
