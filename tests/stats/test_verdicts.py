from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.detector import Detector, judge_detectors
from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import HeldOutScores
from foretell.stats.verdicts.rules import detector_verdict, family_verdict, minimal_auc


def _estimate(estimate: float | None, half: float = 0.05, reason: str | None = None) -> Estimate:
    if estimate is None:
        return Estimate(None, None, None, 0.95, 100, 100, "test", reason=reason)
    return Estimate(estimate, estimate - half, estimate + half, 0.95, 100, 100, "test")


def _detector(area: float | None, within: float | None, gain: float | None, reason: str | None = None) -> Detector:
    heldout = HeldOutScores(np.empty((0, 0)), np.empty((0, 0), dtype=np.int64), None)
    numbers = (_estimate(area), _estimate(within), "x", _estimate(gain), _estimate(gain))
    return Detector("all heads", "detector", heldout, 100, 5, *numbers, None, None, (), reason)


@pytest.mark.parametrize(
    ("area", "within", "gain", "verdict", "words"),
    [
        (
            0.52,
            None,
            None,
            "no signal found",
            "minimum detectable AUC with this sample: 0.66 (80 % power)",
        ),
        (0.70, 0.52, 0.1, "no signal found", "confounded by task type: within one type its AUC is 0.52"),
        (0.70, None, 0.01, "weak signal", "no improvement over the baselines is shown"),
        (0.57, None, 0.1, "weak signal", "below 0.6"),
        (0.70, 0.58, 0.1, "weak signal", "below 0.6"),
        (0.70, None, None, "signal", "no baseline"),
        (0.70, 0.65, 0.1, "signal", "increment over all baselines 0.10 (0.05 to 0.15)"),
    ],
)
def test_detector_rules(area: float, within: float | None, gain: float | None, verdict: str, words: str) -> None:
    found = detector_verdict(_detector(area, within, gain), n_positive=50, n_negative=50)
    assert found.verdict == verdict
    assert words in found.why
    assert f"{area:.2f}" in found.why


def test_wide_within_interval_is_a_weak_signal() -> None:
    detector = replace(_detector(0.75, 0.65, 0.1), within_strata=_estimate(0.65, half=0.2))
    found = detector_verdict(detector, n_positive=50, n_negative=50)
    assert found.verdict == "weak signal"
    assert "possibly confounded by task type: within one type its AUC is 0.65" in found.why


def test_a_negligible_auc_is_no_signal() -> None:
    detector = replace(_detector(0.51, None, None), auc=_estimate(0.51, half=0.005))
    assert "negligible" in detector_verdict(detector, n_positive=5000, n_negative=5000).why


def test_too_little_is_said_first() -> None:
    few = detector_verdict(_detector(0.9, None, None), n_positive=9, n_negative=100)
    assert few.verdict == "not enough data"
    assert few.why == "9 groups have label 1 and 100 label 0; each needs 10"
    broken = detector_verdict(_detector(None, None, None, "all 5 samples have one label"), n_positive=0, n_negative=5)
    assert (broken.verdict, broken.why, broken.minimal_auc) == ("not enough data", "all 5 samples have one label", None)


def _association(**changes: Any) -> dict[str, Any]:
    row = {"layer": 3, "head": 4, "metric": "PAM_norm", "auc": 0.7, "auc_lower": 0.6, "auc_upper": 0.8, "n": 100}
    return {**row, "p_max": 0.01, "q_value": 0.02, **changes}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "signal"),
        ({"auc": 0.3}, "signal"),
        ({"auc": 0.55}, "weak signal"),
        ({"p_max": 0.2, "q_value": 0.04}, "weak signal"),
        ({"p_max": 0.2, "q_value": 0.3}, "no signal found"),
        ({"p_max": None, "q_value": 0.3}, "no signal found"),
        ({"auc": None}, "not enough data"),
    ],
)
def test_family_rules(changes: dict[str, Any], verdict: str) -> None:
    found = family_verdict(_association(**changes), n_tests=800, n_positive=40, n_negative=60)
    assert found.verdict == verdict
    if verdict != "not enough data":
        assert "layer 3 head 4 PAM_norm is the strongest of 800" in found.why
    if verdict == "no signal found":
        assert "minimum detectable AUC among 800 tests: 0.79 (80 % power)" in found.why


def test_a_false_discovery_rate_is_no_evidence_where_task_types_are_given() -> None:
    row = _association(p_max=0.4, q_value=0.001)
    found = family_verdict(row, n_tests=800, n_positive=40, n_negative=60, within_strata=True)
    assert found.verdict == "no signal found"
    assert "labels permuted within task types" in found.why
    assert "confounded by task type: no head is associated with the label within types" in found.why
    assert (
        family_verdict(_association(), n_tests=9, n_positive=40, n_negative=60, within_strata=True).verdict == "signal"
    )


def test_no_column_at_all() -> None:
    assert family_verdict(None, n_tests=0, n_positive=40, n_negative=60).verdict == "not enough data"


def test_minimal_auc_is_found_about_four_times_in_five(generator: np.random.Generator) -> None:
    smallest = minimal_auc(40, 60)
    assert smallest is not None
    shift = np.sqrt(2) * _normal_quantile(smallest)
    found = 0
    for _ in range(1000):
        positive, negative = generator.normal(size=40) + shift, generator.normal(size=60)
        found += mannwhitneyu(positive, negative, use_continuity=False, method="asymptotic").pvalue <= 0.05
    assert 0.76 <= found / 1000 <= 0.87


@pytest.mark.calibration
@pytest.mark.slow
def test_a_detector_finds_the_minimal_auc_at_least_four_times_in_five() -> None:
    smallest = minimal_auc(30, 30, n_folds=3)
    assert smallest is not None
    found, areas = 0, []
    for seed in range(80):
        generator = np.random.default_rng(seed)
        label = np.arange(60) % 2
        column = generator.normal(size=60) + np.sqrt(2) * _normal_quantile(smallest) * label
        one = judge_detectors(
            [Features("x", "detector", (column[:, None],))], label, n_folds=3, n_repeats=1, seed=seed
        )[0]
        assert one.auc.lower is not None
        found += one.auc.lower > 0.5
        areas.append(one.auc.estimate or 0)
    assert np.mean(areas) == pytest.approx(smallest, abs=0.02)
    assert found / 80 >= 0.72  # four in five, less what chance allows


def _normal_quantile(value: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(value))


def test_minimal_auc_falls_with_samples_and_rises_with_tests() -> None:
    few, many, strict = minimal_auc(20, 20), minimal_auc(200, 200), minimal_auc(20, 20, n_tests=50)
    assert few is not None
    assert many is not None
    assert strict is not None
    assert many < few < strict
    held_out, repeated = minimal_auc(20, 20, n_folds=5), minimal_auc(20, 20, n_folds=5, n_repeats=5)
    assert held_out is not None
    assert repeated is not None
    assert few < repeated < held_out
    assert minimal_auc(1, 2) is None
    assert minimal_auc(0, 20) is None
