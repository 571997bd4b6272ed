from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from foretell.stats.detectors.logistic import STRENGTHS, NestedLogistic, fit_logistic


@pytest.mark.parametrize(("n", "n_features"), [(40, 3), (40, 100), (500, 450)])
def test_the_optimum_is_scikit_learns(generator: np.random.Generator, n: int, n_features: int) -> None:
    features = generator.normal(size=(n, n_features)) / np.sqrt(n_features)
    label = (features[:, 0] * np.sqrt(n_features) + generator.normal(size=n) > 0).astype(np.int64)
    strengths = [0.01, 1.0]
    found = fit_logistic(features, label, strengths)
    for coefficients, strength in zip(found, strengths, strict=True):
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(features, label)
        assert coefficients[:-1] == pytest.approx(model.coef_[0], abs=2e-4 if n_features == 450 else 1e-6)
        assert coefficients[-1] == pytest.approx(model.intercept_[0], abs=2e-4 if n_features == 450 else 1e-6)


def test_separable_data_end(generator: np.random.Generator) -> None:
    features = np.repeat([-1.0, 1.0], 20)[:, None]
    found = fit_logistic(features, np.repeat([0, 1], 20), STRENGTHS)
    assert np.isfinite(found).all()
    assert (np.diff(found[:, 0]) > 0).all()


def test_noise_gets_the_strongest_penalty_and_signal_a_weak_one(generator: np.random.Generator) -> None:
    label = np.arange(200) % 2
    noise = generator.normal(size=(200, 50))
    signal = noise.copy()
    signal[:, 0] += 6 * label
    assert NestedLogistic().fit(noise, label).strength <= 0.1
    assert NestedLogistic().fit(signal, label).strength >= 1.0


def test_scale_and_shift_of_a_column_change_nothing(generator: np.random.Generator) -> None:
    label = np.arange(60) % 2
    features = generator.normal(size=(60, 4)) + label[:, None]
    scale, shift = np.array([1e-6, 1.0, 1e6, 30.0]), np.array([5.0, -1e3, 0.0, 1.0])
    plain = NestedLogistic().fit(features, label).decision_function(features)
    moved = features * scale + shift
    assert NestedLogistic().fit(moved, label).decision_function(moved) == pytest.approx(plain, rel=1e-6)


def test_missing_values_are_the_mean_and_empty_columns_nothing(generator: np.random.Generator) -> None:
    label = np.arange(40) % 2
    features = generator.normal(size=(40, 3)) + label[:, None]
    features[:5, 0] = np.nan
    features[:, 2] = np.nan
    filled = features.copy()
    filled[:5, 0] = np.nanmean(features[:, 0])
    filled[:, 2] = 1.0
    block = np.zeros(3, dtype=np.int64)
    model = NestedLogistic(block=block).fit(features, label)
    score = model.decision_function(features)
    assert np.isfinite(score).all()
    assert score[0] == model.decision_function(filled[:1])[0]
    assert model.predict_proba(features).sum(axis=1) == pytest.approx(np.ones(40))


def test_a_block_of_one_column_is_not_drowned(generator: np.random.Generator) -> None:
    label = np.arange(200) % 2
    features = np.column_stack([generator.normal(size=(200, 400)), generator.normal(size=200) + 2 * label])
    drowned = NestedLogistic(strengths=[0.1]).fit(features, label)
    block = np.repeat([0, 1], [400, 1])
    blocked = NestedLogistic(block=block, strengths=[0.1]).fit(features, label)
    new = np.column_stack([generator.normal(size=(200, 400)), generator.normal(size=200) + 2 * label])
    assert _accuracy(blocked, new, label) > _accuracy(drowned, new, label) + 0.05


def _accuracy(model: NestedLogistic, features: np.ndarray, label: np.ndarray) -> float:
    return float(np.mean((model.decision_function(features) > 0) == label))


def test_a_single_group_leaves_the_strongest_penalty() -> None:
    label = np.array([0, 1, 0, 1])
    model = NestedLogistic().fit(np.arange(4.0)[:, None], label, group=np.array(["a", "a", "a", "a"]))
    assert model.strength == min(STRENGTHS)
