"""Learners against scikit-learn and against the step written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, SGDRegressor
from sklearn.naive_bayes import GaussianNB

from foretell.errors import InputError
from foretell.stats.detectors.learners import STRENGTHS, AnyClassifier, BestColumn, Estimator, Linear
from foretell.stats.detectors.stages import Learner, Training

SHAPES = [(60, 4), (60, 60), (40, 100)]
"""Fewer columns than samples, as many, and more."""


def one_block(n_features: int) -> np.ndarray:
    return np.zeros(n_features, dtype=np.int64)


def drawn(
    generator: np.random.Generator, n: int, n_features: int, *, known: bool = False
) -> tuple[np.ndarray, Training]:
    label = generator.permutation(np.arange(n) % 3 == 0).astype(np.int64)
    features = generator.normal(size=(n, n_features)) * 2 + 1 + label[:, None] / np.sqrt(n_features)
    offset = generator.normal(size=n) if known else np.full(n, np.log(label.mean() / (1 - label.mean())))
    return features, Training(label, np.arange(n), offset)


def changes(learner: Learner, features: np.ndarray, training: Training, others: np.ndarray | None = None) -> np.ndarray:
    predict = learner.learn(features, training, only=None, seed=0)
    return predict(features if others is None else others)


def newton_step(features: np.ndarray, training: Training, strength: float) -> np.ndarray:
    """Return the change by one Newton step of penalised logistic regression, intercept included, by its Hessian."""
    n, n_features = features.shape
    standard = (features - features.mean(axis=0)) / features.std(axis=0) / np.sqrt(n_features)
    chance = expit(training.offset)
    design = np.column_stack([standard, np.ones(n)])
    penalty = np.diag(np.r_[np.full(n_features, 1 / strength), 0.0])
    hessian = design.T @ np.diag(chance * (1 - chance)) @ design + penalty
    return np.asarray(design @ np.linalg.solve(hessian, design.T @ (training.label - chance)))


@pytest.mark.parametrize(("n", "n_features"), SHAPES)
@pytest.mark.parametrize("known", [False, True], ids=["base rate", "offset"])
def test_it_is_one_newton_step_from_the_offset(
    n: int, n_features: int, known: bool, generator: np.random.Generator
) -> None:
    features, training = drawn(generator, n, n_features, known=known)
    found = changes(Linear(one_block(n_features)), features, training)
    for row, strength in zip(found, STRENGTHS, strict=True):
        assert row == pytest.approx(newton_step(features, training, strength), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("n", "n_features"), SHAPES)
def test_beside_an_offset_it_is_weighted_ridge_regression_of_what_is_left(
    n: int, n_features: int, generator: np.random.Generator
) -> None:
    features, training = drawn(generator, n, n_features, known=True)
    chance = expit(training.offset)
    weight = chance * (1 - chance)
    standard = (features - features.mean(axis=0)) / features.std(axis=0) / np.sqrt(n_features)
    model = Ridge(alpha=0.5).fit(standard, (training.label - chance) / weight, sample_weight=weight)
    found = changes(Linear(one_block(n_features), (2.0,)), features, training)[0]
    assert found == pytest.approx(model.predict(standard), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("n", "n_features"), SHAPES)
def test_without_an_offset_it_ranks_as_ridge_regression_of_the_label(
    n: int, n_features: int, generator: np.random.Generator
) -> None:
    features, training = drawn(generator, n, n_features)
    others = generator.normal(size=(30, n_features)) * 2 + 1
    rate = training.label.mean()
    centre, spread = features.mean(axis=0), features.std(axis=0) * np.sqrt(n_features)
    for strength, found in zip(
        STRENGTHS, changes(Linear(one_block(n_features)), features, training, others), strict=True
    ):
        model = Ridge(alpha=1 / (strength * rate * (1 - rate))).fit((features - centre) / spread, training.label)
        expected = model.predict((others - centre) / spread)
        assert (np.argsort(found) == np.argsort(expected)).all()


def test_without_a_penalty_it_ranks_as_a_linear_discriminant(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 200, 5)
    others = generator.normal(size=(50, 5))
    oracle = LinearDiscriminantAnalysis().fit(features, training.label).decision_function(others)
    found = changes(Linear(one_block(5), (1e9,)), features, training, others)[0]
    assert (np.argsort(found) == np.argsort(oracle)).all()


@pytest.mark.parametrize("known", [False, True], ids=["base rate", "offset"])
def test_both_forms_of_the_system_agree(known: bool, generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 40, known=known)
    by_columns = changes(Linear(one_block(40)), features, training)
    padded = np.column_stack([features, np.ones((60, 30))])  # more columns than samples, of which 30 count for nothing
    by_samples = changes(Linear(np.repeat([0, 1], [40, 30])), padded, training)
    assert by_samples == pytest.approx(by_columns, rel=1e-6, abs=1e-9)


def test_only_one_strength_is_that_of_all(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 4, known=True)
    learner = Linear(one_block(4))
    every = changes(learner, features, training)
    assert learner.n_candidates == len(every) == len(STRENGTHS)
    for index in range(len(STRENGTHS)):
        only = learner.learn(features, training, only=index, seed=0)(features)
        assert only.shape == (1, 60)
        assert only[0] == pytest.approx(every[index], abs=1e-12)


def test_a_stronger_penalty_gives_smaller_changes(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 10, known=True)
    assert (np.diff(changes(Linear(one_block(10)), features, training).std(axis=1)) > 0).all()


def test_swapped_labels_turn_the_change_around(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 10, known=True)
    swapped = Training(1 - training.label, training.group, -training.offset)
    learner = Linear(one_block(10))
    assert changes(learner, features, swapped) == pytest.approx(-changes(learner, features, training), abs=1e-10)


@pytest.mark.parametrize("learner", [Linear(one_block(4)), BestColumn()], ids=["linear", "best column"])
def test_scale_and_shift_of_a_column_change_nothing(learner: Learner, generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 4, known=True)
    features[::7, 1] = np.nan
    scale, shift = np.array([1e-6, 1.0, 1e6, 30.0]), np.array([5.0, -1e3, 0.0, 1.0])
    plain, moved = (changes(learner, values, training) for values in (features, features * scale + shift))
    assert moved == pytest.approx(plain, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("learner", [Linear(one_block(3)), BestColumn()], ids=["linear", "best column"])
def test_a_missing_value_is_the_mean_of_its_column(learner: Learner, generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 3)
    predict = learner.learn(features, training, only=None, seed=0)
    missing = features[:5].copy()
    missing[:, 0] = np.nan
    filled = missing.copy()
    filled[:, 0] = features[:, 0].mean()
    assert predict(missing) == pytest.approx(predict(filled), abs=1e-12)


@pytest.mark.parametrize("useless", [0.0, 0.1, 1e9, np.nan])
def test_a_constant_or_empty_column_changes_no_ranks(useless: float, generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 3, known=True)
    more = np.column_stack([np.full(60, useless), features])
    found, plain = (
        changes(Linear(np.r_[1, 0, 0, 0][-values.shape[1] :]), values, training) for values in (more, features)
    )
    assert found == pytest.approx(plain, abs=1e-9)
    assert changes(BestColumn(), more, training) == pytest.approx(changes(BestColumn(), features, training), abs=1e-12)


@pytest.mark.parametrize("useless", [0.0, 1e9, np.nan])
@pytest.mark.parametrize("n_features", [1, 80], ids=["primal", "dual"])
def test_where_no_column_varies_only_the_base_rate_changes(useless: float, n_features: int) -> None:
    label = np.arange(40) % 4 // 3
    training = Training(label, np.arange(40), np.zeros(40))
    for learner in (Linear(one_block(n_features)), BestColumn()):
        found = changes(learner, np.full((40, n_features), useless), training)
        assert found == pytest.approx(np.full(found.shape, (label - 0.5).sum() / 10), abs=1e-9)


def test_a_certain_offset_does_not_blow_up(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 4)
    sure = Training(training.label, training.group, np.where(training.label == 1, 400.0, -400.0))
    assert np.isfinite(changes(Linear(one_block(4)), features, sure)).all()
    wrong = Training(training.label, training.group, -sure.offset)
    assert np.isfinite(changes(Linear(one_block(4)), features, wrong)).all()


def test_a_block_of_one_column_is_not_drowned(generator: np.random.Generator) -> None:
    label = np.arange(200) % 2
    training = Training(label, np.arange(200), np.zeros(200))

    def features() -> np.ndarray:
        return np.column_stack([generator.normal(size=(200, 400)), generator.normal(size=200) + 2 * label])

    seen, fresh = features(), features()
    right = {}
    for name, block in (("apart", np.repeat([0, 1], [400, 1])), ("together", one_block(401))):
        change = changes(Linear(block, (0.1,)), seen, training, fresh)[0]
        right[name] = float(np.mean((change > 0) == label))
    assert right["apart"] > right["together"] + 0.05


def test_blocks_have_equal_weight_whatever_their_number_of_columns(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 2, known=True)
    once = changes(Linear(np.array([0, 1])), features, training)
    copies = features[:, [0, 0, 0, 1]]
    assert changes(Linear(np.array([0, 0, 0, 1])), copies, training) == pytest.approx(once, rel=1e-6, abs=1e-9)


def test_the_best_column_is_that_of_the_highest_correlation_with_what_is_left(generator: np.random.Generator) -> None:
    for known in (False, True):
        features, training = drawn(generator, 80, 12, known=known)
        residual = training.label - expit(training.offset)
        correlation = [abs(np.corrcoef(column, residual)[0, 1]) for column in features.T]
        best = int(np.argmax(correlation))
        alone = changes(Linear(one_block(1), STRENGTHS[-1:]), features[:, [best]], training)
        assert (changes(BestColumn(), features, training) == alone).all()


def test_the_best_column_beside_an_offset_is_not_the_one_that_is_known(generator: np.random.Generator) -> None:
    known, new = generator.normal(size=(2, 400))
    label = (generator.random(400) < expit(2 * known + new)).astype(np.int64)
    features = np.column_stack([known, new])
    for offset, best in ((np.zeros(400), 0), (2 * known, 1)):
        training = Training(label, np.arange(400), offset)
        change = changes(BestColumn(), features, training)[0]
        assert abs(np.corrcoef(change, features[:, best])[0, 1]) == pytest.approx(1)


def test_the_first_of_equal_columns_is_the_best(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 60, 1)
    twice = np.column_stack([features * 3 - 1, features])
    predict = BestColumn().learn(twice, training, only=None, seed=0)
    moved = twice.copy()
    moved[:, 1] = generator.normal(size=60)
    assert (predict(moved) == predict(twice)).all()


@pytest.mark.parametrize("model", [GaussianNB(), LogisticRegression(C=0.5)])
def test_any_classifier_gives_its_log_odds_over_the_base_rate(
    model: BaseEstimator, generator: np.random.Generator
) -> None:
    features, training = drawn(generator, 90, 3)
    chance = clone(model).fit(features, training.label).predict_proba(features)[:, 1]
    found = changes(AnyClassifier(model), features, training)
    assert found.shape == (1, 90)
    assert expit(found[0] + np.log(30 / 60)) == pytest.approx(np.clip(chance, 1e-6, 1 - 1e-6), abs=1e-9)


def test_a_decision_function_is_taken_where_there_is_no_probability(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 90, 3)
    oracle = Perceptron(random_state=0).fit(features, training.label).decision_function(features)
    assert changes(AnyClassifier(Perceptron(random_state=0)), features, training)[0] == pytest.approx(oracle)


@pytest.mark.parametrize("estimator", ["random-forest", "gradient-boosting", RandomForestClassifier(10)])
def test_a_further_estimator_is_the_same_for_the_same_seed_and_leaves_the_given_one_alone(
    estimator: Estimator, generator: np.random.Generator
) -> None:
    features, training = drawn(generator, 60, 3)
    features[0, 0] = np.nan
    learner = AnyClassifier(estimator)
    first, again = (learner.learn(features, training, only=None, seed=4)(features) for _ in range(2))
    assert (first == again).all()
    if not isinstance(estimator, str):
        assert not hasattr(estimator, "estimators_")


def test_an_estimator_without_a_score_is_refused(generator: np.random.Generator) -> None:
    features, training = drawn(generator, 30, 2)
    with pytest.raises(InputError, match="SGDRegressor has neither predict_proba nor decision_function"):
        AnyClassifier(SGDRegressor()).learn(features, training, only=None, seed=0)
