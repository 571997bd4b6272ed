"""The bound on false alarms against scipy, and against what it claims, in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from foretell.errors import InputError
from foretell.monitors.alarm_threshold import alarm_threshold, highest_by_group, negatives_needed, upper_bound


@pytest.mark.parametrize("n", [1, 2, 7, 30, 400])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_the_upper_bound_is_that_of_the_exact_interval(n: int, confidence: float) -> None:
    for events in {0, 1, n // 2, n - 1, n}:
        exact = binomtest(events, n, alternative="less").proportion_ci(confidence, method="exact").high
        assert upper_bound(events, n, confidence) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_the_groups_needed_are_the_fewest_that_suffice(rate: float, confidence: float) -> None:
    needed = negatives_needed(rate, confidence)
    assert (1 - rate) ** needed <= (1 - confidence) * (1 + 1e-9)
    assert needed == 1 or (1 - rate) ** (needed - 1) > 1 - confidence
    assert (
        alarm_threshold(np.arange(float(needed)), max_false_positive_rate=rate, confidence=confidence).score is not None
    )
    too_few = alarm_threshold(np.arange(needed - 1.0), max_false_positive_rate=rate, confidence=confidence)
    assert too_few.score is None
    assert f"not enough data: {needed - 1} groups" in str(too_few.reason)
    assert f"needs {needed}" in str(too_few.reason)


@pytest.mark.parametrize("n", [59, 100, 101, 777])
def test_the_threshold_is_the_smallest_score_whose_bound_is_within_the_rate(n: int) -> None:
    highest = np.random.default_rng(n).normal(size=n)
    found = alarm_threshold(highest, max_false_positive_rate=0.05)
    within = [score for score in highest if upper_bound(int((highest > score).sum()), n, 0.95) <= 0.05]
    assert found.score is not None
    assert found.score == min(within)
    assert found.n_false_alarms == int((highest > found.score).sum())
    assert found.upper is not None
    assert found.upper <= 0.05
    assert alarm_threshold(highest[::-1], max_false_positive_rate=0.05) == found


def test_ties_lower_the_number_of_alarms() -> None:
    found = alarm_threshold(np.repeat([0.0, 1.0], [50, 50]), max_false_positive_rate=0.05)
    assert (found.score, found.n_false_alarms) == (1.0, 0)


def test_a_group_has_its_highest_score_and_none_without_scores() -> None:
    score = np.array([1.0, np.nan, 3.0, np.nan])
    assert highest_by_group(score, np.array([5, 5, 2, 9])).tolist() == [3.0, 1.0, -np.inf]


def test_groups_without_scores_give_no_threshold_below_every_score() -> None:
    found = alarm_threshold(np.full(100, -np.inf), max_false_positive_rate=0.05)
    assert found.score is None
    assert "have no score" in str(found.reason)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_false_positive_rate": 0.0}, "max_false_positive_rate must be between 0 and 1, not 0.0"),
        ({"max_false_positive_rate": float("nan")}, "must be between 0 and 1, not nan"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1, not 1.0"),
    ],
)
def test_what_is_no_rate_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        alarm_threshold(np.zeros(3), **options)
    with pytest.raises(InputError, match=message):
        negatives_needed(**{"max_false_positive_rate": 0.1, "confidence": 0.9, **options})


def test_a_score_that_is_nan_is_refused() -> None:
    with pytest.raises(InputError, match="a score is nan"):
        alarm_threshold(np.array([0.0, np.nan]), max_false_positive_rate=0.5, confidence=0.5)


@pytest.mark.calibration
@pytest.mark.parametrize("size", [1, 6])
@pytest.mark.parametrize(("n", "rate"), [(30, 0.1), (90, 0.05), (600, 0.01)])
@pytest.mark.parametrize("n_values", [None, 5])
def test_the_rate_exceeds_the_bound_no_more_often_than_stated(
    size: int, n: int, rate: float, n_values: int | None
) -> None:
    """The true rate of a threshold is known: scores are uniform, or evenly spread over few values."""
    generator = np.random.default_rng(n)
    exceeded = 0
    for _ in range(1000):
        score = generator.uniform(size=(n, size)).max(axis=1)
        score = score if n_values is None else np.ceil(score * n_values) / n_values
        threshold = alarm_threshold(score, max_false_positive_rate=rate).score
        assert threshold is not None
        exceeded += 1 - threshold**size > rate
    assert exceeded <= binom.ppf(0.999, 1000, 0.05)
