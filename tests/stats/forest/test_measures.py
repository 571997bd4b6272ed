from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from foretell.stats.forest.measures import Objective, confusion, measure, thinned_roc

ORACLES = {
    "accuracy": metrics.accuracy_score,
    "f1": metrics.f1_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "mcc": metrics.matthews_corrcoef,
}


@pytest.mark.parametrize("name", ["accuracy", "f1", "balanced_accuracy", "mcc"])
def test_measures_equal_scikit_learn(generator: np.random.Generator, name: Objective) -> None:
    for _ in range(50):
        label = generator.integers(0, 2, 40)
        predicted = generator.random(40) < 0.3
        found = float(measure(confusion(predicted, label), name))
        assert found == pytest.approx(ORACLES[name](label, predicted), abs=1e-12)


def test_youden_is_sensitivity_plus_specificity_minus_one(generator: np.random.Generator) -> None:
    label, predicted = generator.integers(0, 2, 40), generator.random(40) < 0.5
    youden = metrics.recall_score(label, predicted) + metrics.recall_score(1 - label, ~predicted) - 1
    assert float(measure(confusion(predicted, label), "youden")) == pytest.approx(youden, abs=1e-12)


def test_undefined_measures_are_nan() -> None:
    nothing = confusion(np.zeros(3, dtype=bool), np.zeros(3, dtype=np.int64))
    assert np.isnan(measure(nothing, "f1"))
    assert np.isnan(measure(nothing, "mcc"))
    assert np.isnan(measure(nothing, "youden"))
    assert float(measure(nothing, "accuracy")) == 1.0


def test_counts_by_group_sum_to_the_counts(generator: np.random.Generator) -> None:
    label, predicted = generator.integers(0, 2, 40), generator.random(40) < 0.5
    group = generator.integers(0, 7, 40)
    assert (confusion(predicted, label, group=group).sum(axis=0) == confusion(predicted, label)).all()


def test_pooled_curves_have_the_area_of_pairs_within_parts(generator: np.random.Generator) -> None:
    within = generator.integers(0, 3, 3000)
    label = generator.integers(0, 2, 3000)
    score = generator.normal(size=3000) + label + 5 * within
    points = thinned_roc(score, label, within=within)
    weights = [int(label[within == value].sum()) * int((1 - label[within == value]).sum()) for value in range(3)]
    areas = [metrics.roc_auc_score(label[within == value], score[within == value]) for value in range(3)]
    area = float(np.trapezoid(points[:, 1], points[:, 0]))
    assert area == pytest.approx(np.average(areas, weights=weights), abs=2e-3)
    assert len(points) <= 400
    assert (np.diff(points, axis=0) >= 0).all()
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]


def test_no_points_with_one_label() -> None:
    assert thinned_roc(np.arange(3.0), np.zeros(3, dtype=np.int64)).shape == (0, 2)
