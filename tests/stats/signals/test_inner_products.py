"""Few columns with the same inner products give the scores of all columns."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold

from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import CrossValidation
from foretell.stats.detectors.learners import STRENGTHS, Linear
from foretell.stats.detectors.stages import Training
from foretell.stats.signals.inner_products import MOST_COMPONENTS, gram, gram_factor


def training(label: np.ndarray) -> Training:
    return Training(label, np.arange(len(label)), np.zeros(len(label)))


@pytest.mark.parametrize("width", [3, 40, 400])
def test_a_factor_gives_the_scores_of_all_columns(width: int, generator: np.random.Generator) -> None:
    states = generator.normal(size=(60, width)) * generator.exponential(size=width) + 3.0
    label = np.arange(60) % 2
    factor = gram_factor(gram(states))
    train, others = np.arange(40), np.arange(40, 60)
    scores = []
    for columns in (states, factor):
        learner = Linear(np.zeros(columns.shape[1], dtype=np.int64), one_scale=(0,))
        scores.append(learner.learn(columns[train], training(label[train]), only=None, seed=0)(columns[others]))
    assert scores[0].shape == (len(STRENGTHS), 20)
    assert scores[0] == pytest.approx(scores[1], abs=1e-8)


def test_a_factor_of_several_layers_is_ridge_on_all_of_their_columns(generator: np.random.Generator) -> None:
    layers = [generator.normal(size=(50, width)) * size for width, size in ((30, 1.0), (70, 20.0))]
    label = generator.integers(0, 2, 50)
    scaled = [one - one.mean(axis=0) for one in layers]
    every = np.concatenate([one / np.sqrt((one**2).sum() / 50) for one in scaled], axis=1)
    factor = gram_factor(gram(layers[0]) + gram(layers[1]))
    for train, others in StratifiedKFold(5).split(every, label):
        learner = Linear(np.zeros(factor.shape[1], dtype=np.int64), one_scale=(0,))
        found = learner.learn(factor[train], training(label[train]), only=None, seed=0)(factor[others])
        # without an offset all weights are 1/4, and a block has a total variance of 1
        spread = np.sqrt(every[train].var(axis=0).sum())
        for strength, scores in zip(STRENGTHS, found, strict=True):
            ridge = Ridge(alpha=4 / strength).fit(every[train] / spread, 4 * (label[train] - 0.5))
            assert scores == pytest.approx(ridge.predict(every[others] / spread), abs=1e-8)


def test_blocks_with_one_scale_do_not_change_with_a_rotation(generator: np.random.Generator) -> None:
    block, other = generator.normal(size=(60, 8)) * np.arange(1, 9), generator.normal(size=(60, 3))
    rotation = np.linalg.qr(generator.normal(size=(8, 8)))[0]
    label = (block[:, 0] + generator.normal(size=60) > 0).astype(np.int64)
    folds = CrossValidation(label, n_repeats=1)
    scores = [
        folds.scores(Features("x", "detector", (columns, other), one_scale=(0,))).score
        for columns in (block, block @ rotation)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-8)
    plain = [folds.scores(Features("x", "detector", (columns, other))).score for columns in (block, block @ rotation)]
    assert np.abs(plain[0] - plain[1]).max() > 1e-3


def test_states_are_centred_scaled_and_missing_ones_are_at_the_mean(generator: np.random.Generator) -> None:
    states = generator.normal(size=(20, 5)).astype(np.float16)
    found = gram(states)
    assert np.trace(found) == pytest.approx(20)
    assert found.sum(axis=0) == pytest.approx(np.zeros(20), abs=1e-12)
    assert gram((states * np.float16(4)).astype(np.float16)) == pytest.approx(found)
    states[3, 2] = np.nan
    assert gram(states)[3] == pytest.approx(np.zeros(20))
    assert gram(np.full((4, 3), 2.5)).tolist() == np.zeros((4, 4)).tolist()
    assert gram_factor(np.zeros((4, 4))).shape == (4, 0)


def test_more_samples_than_components_keep_what_is_nearest(generator: np.random.Generator) -> None:
    few = generator.normal(size=(MOST_COMPONENTS + 20, 30))
    factor = gram_factor(few @ few.T)
    assert factor.shape[1] <= MOST_COMPONENTS
    assert np.abs(factor @ factor.T - few @ few.T).max() < 1e-9
