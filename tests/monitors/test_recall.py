"""Shares with intervals over groups, and how early alarms come."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from foretell.monitors.recall import recall, share_by_groups


@pytest.mark.parametrize(("events", "n"), [(0, 5), (3, 10), (10, 10), (1, 400)])
def test_with_groups_of_one_the_interval_is_exact(events: int, n: int) -> None:
    found = share_by_groups(np.arange(n) < events, np.arange(n))
    exact = binomtest(events, n).proportion_ci(0.95, method="exact")
    assert (found.lower, found.upper) == pytest.approx((exact.low, exact.high), rel=1e-9)


@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("events", [0, 4, 12])
def test_copies_in_a_group_say_no_more_than_one_of_them(copies: int, events: int) -> None:
    event = np.arange(12) < events
    once = share_by_groups(event, np.arange(12))
    repeated = share_by_groups(np.repeat(event, copies), np.repeat(np.arange(12), copies))
    assert repeated.estimate == once.estimate
    assert repeated.n_groups == 12
    assert repeated.lower == pytest.approx(once.lower, abs=0.03)
    assert repeated.upper == pytest.approx(once.upper, abs=0.03)


@pytest.mark.calibration
def test_the_interval_covers_where_groups_differ() -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(500):
        rate = generator.beta(4, 2, size=40)
        group = np.repeat(np.arange(40), generator.integers(1, 6, 40))
        found = share_by_groups(generator.uniform(size=len(group)) < rate[group], group)
        assert found.lower is not None
        assert found.upper is not None
        covered += found.lower <= 4 / 6 <= found.upper
    assert covered >= 460


def test_no_samples_have_no_share() -> None:
    found = share_by_groups(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))
    assert (found.estimate, found.lower, found.upper, found.n) == (None, None, None, 0)


def test_alarms_are_counted_from_when_they_come() -> None:
    found = recall(np.array([1.0, 4.0, np.nan, 9.0]), np.array([9, 8, 9, 9]), np.arange(4))
    assert found.share.estimate == 0.75
    assert found.caught_by == {1: 0.25, 2: 0.25, 4: 0.5, 8: 0.5, 9: 0.75}
    assert found.median_first_alarm == 4.0
    assert found.median_share_of_answer == 0.5


def test_without_alarms_none_is_early() -> None:
    found = recall(np.full(3, np.nan), np.array([2, 3, 4]), np.arange(3))
    assert (found.share.estimate, found.median_first_alarm, found.median_share_of_answer) == (0.0, None, None)
