from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss

from foretell.stats.detectors.calibration import brier_score, expected_calibration_error, reliability


def test_brier_equals_scikit_learn(generator: np.random.Generator) -> None:
    chance, label = generator.random(50), generator.integers(0, 2, 50)
    assert brier_score(chance, label) == pytest.approx(brier_score_loss(label, chance), abs=1e-12)


def test_bins_hold_equal_counts_and_wilson_intervals(generator: np.random.Generator) -> None:
    chance, label = generator.random(100), generator.integers(0, 2, 100)
    bins = reliability(chance, label)
    assert [one.n for one in bins] == [10] * 10
    order = np.argsort(chance)
    for index, one in enumerate(bins):
        members = order[10 * index : 10 * index + 10]
        assert one.mean_probability == pytest.approx(chance[members].mean())
        assert one.observed == pytest.approx(label[members].mean())
        interval = binomtest(int(label[members].sum()), 10).proportion_ci(method="wilson")
        assert (one.lower, one.upper) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_ties_share_a_bin() -> None:
    bins = reliability(np.full(20, 0.5), np.arange(20) % 2)
    assert len(bins) == 1
    assert bins[0].observed == 0.5


def test_true_probabilities_are_calibrated_and_wrong_ones_are_not(generator: np.random.Generator) -> None:
    chance = generator.random(20_000)
    label = (generator.random(20_000) < chance).astype(np.int64)
    assert expected_calibration_error(chance, label) < 0.02
    assert expected_calibration_error(chance**3, label) > 0.2


def test_nothing_is_undefined() -> None:
    nobody = np.empty(0), np.empty(0, dtype=np.int64)
    assert np.isnan(brier_score(*nobody))
    assert np.isnan(expected_calibration_error(*nobody))
    assert reliability(*nobody) == []
