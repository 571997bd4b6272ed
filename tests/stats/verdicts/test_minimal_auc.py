from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import mannwhitneyu, norm

from foretell.stats.detectors.detector import judge_detectors
from foretell.stats.detectors.features import Features
from foretell.stats.verdicts.minimal_auc import minimal_auc


def defined(*sizes: int, **options: float) -> float:
    found = minimal_auc(*sizes, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize(("n_positive", "n_negative"), [(40, 60), (60, 40), (15, 150)])
def test_it_is_found_about_four_times_in_five(n_positive: int, n_negative: int, generator: np.random.Generator) -> None:
    shift = np.sqrt(2) * ndtri(defined(n_positive, n_negative))
    positive = generator.normal(size=(1000, n_positive)) + shift
    negative = generator.normal(size=(1000, n_negative))
    found = mannwhitneyu(positive, negative, use_continuity=False, method="asymptotic", axis=1).pvalue <= 0.05
    assert 0.76 <= np.mean(found) <= 0.87


def test_it_is_the_formula_of_its_docstring() -> None:
    error = np.sqrt((40 + 60 + 1) / (12 * 40 * 60))
    assert defined(40, 60) == pytest.approx(0.5 + (norm.ppf(0.975) + norm.ppf(0.8)) * error)
    assert defined(40, 60, power=0.5) == pytest.approx(0.5 + norm.ppf(0.975) * error)
    assert defined(40, 60, n_tests=10) == pytest.approx(0.5 + (norm.ppf(0.9975) + norm.ppf(0.8)) * error)
    folds = np.sqrt((40 + 60 + 5) / (12 * 40 * 60) * (1 / 2 + 1.25))
    assert defined(40, 60, n_folds=5, n_repeats=2) == pytest.approx(0.5 + (norm.ppf(0.975) + norm.ppf(0.8)) * folds)


def test_it_falls_with_samples_and_rises_with_tests_and_folds() -> None:
    few = defined(20, 20)
    assert defined(200, 200) < few < defined(20, 20, n_tests=50)
    assert few < defined(20, 20, n_folds=5, n_repeats=5) < defined(20, 20, n_folds=5)
    assert few < defined(20, 20, level=0.99)
    assert defined(20, 30) == defined(30, 20)


@pytest.mark.parametrize(("n_positive", "n_negative"), [(0, 20), (20, 0), (0, 0), (1, 2)])
def test_it_is_undefined_where_not_even_an_auc_of_1_is_detectable(n_positive: int, n_negative: int) -> None:
    assert minimal_auc(n_positive, n_negative) is None


@pytest.mark.calibration
@pytest.mark.slow
def test_a_detector_finds_it_at_least_four_times_in_five() -> None:
    smallest = defined(30, 30, level=0.9, n_folds=3)
    found, areas = 0, []
    for seed in range(80):
        generator = np.random.default_rng(seed)
        label = np.arange(60) % 2
        column = generator.normal(size=60) + np.sqrt(2) * ndtri(smallest) * label
        features = [Features("x", "detector", (column[:, None],))]
        one = judge_detectors(features, label, n_folds=3, n_repeats=1, seed=seed)[0][0]
        assert one.evidence.p_above is not None
        found += one.evidence.p_above <= 0.05  # one-sided, as a level of 90 % is
        areas.append(one.auc.estimate or 0)
    assert np.mean(areas) == pytest.approx(smallest, abs=0.02)
    assert found / 80 >= 0.8 - ndtr(1.645) * 2 * np.sqrt(0.8 * 0.2 / 80)
