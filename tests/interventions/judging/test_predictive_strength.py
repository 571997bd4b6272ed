"""Scores fitted on training groups and judged on held-out ones: planted, null, within strata, beside baselines."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from foretell.interventions.judging.predictive_strength import JudgedSamples, predictive_strength

N = 160


def samples(
    *, stratum: np.ndarray | None = None, known: np.ndarray | None = None, label: np.ndarray | None = None
) -> JudgedSamples:
    held = np.arange(N) % 4 >= 2
    own = np.arange(N) % 2 if label is None else label
    beside = np.empty((N, 0)) if known is None else known
    return JudgedSamples(own, np.arange(N), stratum, held, beside)


def test_the_score_is_a_ridge_regression_of_training_samples_only() -> None:
    generator = np.random.default_rng(0)
    judged = samples()
    columns = generator.normal(size=(N, 3)) + 0.7 * judged.label[:, None]
    found = predictive_strength(columns, judged)
    train = ~judged.held
    standard = (columns - columns[train].mean(axis=0)) / columns[train].std(axis=0)
    fitted = LogisticRegression(C=1.0).fit(standard[train], judged.label[train])
    expected = roc_auc_score(judged.label[judged.held], fitted.decision_function(standard[judged.held]))
    assert found.auc.estimate == pytest.approx(expected, abs=1e-6)
    assert found.p is not None
    assert found.p < 0.01
    again = columns.copy()
    again[judged.held] = 0.0
    assert predictive_strength(again, judged).auc.estimate == pytest.approx(0.5)


def test_a_sign_that_turns_round_on_held_out_groups_predicts_nothing() -> None:
    judged = samples()
    columns = np.where(judged.held, -1, 1)[:, None] * (judged.label[:, None] + 0.1)
    found = predictive_strength(columns.astype(float), judged)
    assert found.auc.estimate == 0.0
    assert found.p is not None
    assert found.p > 0.99


def test_what_only_separates_strata_predicts_nothing_within_them() -> None:
    generator = np.random.default_rng(2)
    stratum = generator.integers(0, 2, N)
    label = (generator.random(N) < np.where(stratum == 1, 0.8, 0.2)).astype(int)
    columns = stratum[:, None] + 0.1 * generator.normal(size=(N, 1))
    pooled = predictive_strength(columns, samples(label=label))
    within = predictive_strength(columns, samples(label=label, stratum=stratum.astype(str)))
    assert pooled.p is not None
    assert pooled.p < 0.01
    assert pooled.within is None
    assert within.auc.estimate == pooled.auc.estimate
    assert within.within == pytest.approx(0.5, abs=0.2)
    assert within.p is not None
    assert within.p > 0.05


def test_what_repeats_a_baseline_adds_nothing_to_it() -> None:
    generator = np.random.default_rng(3)
    length = np.arange(N) % 2 + generator.normal(size=N)
    same = predictive_strength(length[:, None] + 0.05 * generator.normal(size=(N, 1)), samples(known=length[:, None]))
    other = predictive_strength(
        (np.arange(N) % 2)[:, None] + generator.normal(size=(N, 1)), samples(known=length[:, None])
    )
    assert same.p is not None
    assert same.p < 0.01
    assert same.p_added is not None
    assert same.p_added > 0.05
    assert other.p_added is not None
    assert other.p_added < 0.01


def test_p_values_of_noise_are_uniform_with_groups_of_several_samples() -> None:
    generator = np.random.default_rng(4)
    group, judged = np.arange(N) // 2, samples()
    held = group % 2 == 1
    p = []
    for _ in range(150):
        label = np.repeat(generator.integers(0, 2, N // 2), 2)
        columns = np.repeat(generator.normal(size=(N // 2, 2)), 2, axis=0)
        found = predictive_strength(columns, JudgedSamples(label, group, None, held, judged.known))
        p.append(found.p if found.p is not None else np.nan)
    made = np.array(p)[np.isfinite(p)]
    assert len(made) > 100
    assert (made < 0.05).mean() < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / len(made))
    assert 0.4 < made.mean() < 0.6


@pytest.mark.parametrize(
    ("label", "columns", "reason"),
    [
        (np.arange(N) % 2, np.full((N, 1), np.nan), "no values"),
        (
            (np.arange(N) < 12).astype(int),
            np.arange(N)[:, None],
            "6 held-out groups with label 1 can be compared: 4 more",
        ),
        ((np.arange(N) % 4 < 2).astype(int), np.arange(N)[:, None], "no values"),
    ],
)
def test_undefined_with_a_reason(label: np.ndarray, columns: np.ndarray, reason: str) -> None:
    found = predictive_strength(columns.astype(float), samples(label=label))
    assert found.p is None
    assert reason in str(found.reason)


def test_constant_columns_predict_nothing() -> None:
    found = predictive_strength(np.ones((N, 2)), samples())
    assert (found.auc.estimate, found.p) == (0.5, 1.0)
