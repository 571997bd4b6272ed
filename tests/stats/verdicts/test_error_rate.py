"""Adjusted p-values against the closed test written out, and against procedures that must be less powerful."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.special import ndtr

from foretell.stats.verdicts.error_rate import adjusted


def simes(p: np.ndarray) -> float:
    return float(np.min(len(p) * np.sort(p) / np.arange(1, len(p) + 1)))


def closed_test(p: np.ndarray) -> np.ndarray:
    """Return each hypothesis' largest Simes p-value of any set of hypotheses that it belongs to."""
    found = np.zeros(len(p))
    for size in range(1, len(p) + 1):
        for members in combinations(range(len(p)), size):
            here = list(members)
            found[here] = np.maximum(found[here], simes(p[here]))
    return np.minimum(found, 1.0)


def holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    found = np.empty(len(p))
    found[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return found


def families(generator: np.random.Generator, size: int) -> list[np.ndarray]:
    """Return p-values that are even, small, tied, or at the ends."""
    return [
        *(generator.random(size) for _ in range(20)),
        *(generator.random(size) ** 4 for _ in range(20)),
        *(generator.integers(0, 4, size) / 40 for _ in range(20)),
        np.zeros(size),
        np.ones(size),
        np.full(size, 0.03),
    ]


@pytest.mark.parametrize("size", range(1, 7))
def test_it_is_the_closed_test_of_simes_statistic(size: int, generator: np.random.Generator) -> None:
    for p in families(generator, size):
        assert adjusted(p) == pytest.approx(closed_test(p), abs=1e-12), p.tolist()


@pytest.mark.parametrize("size", [2, 5, 12, 60])
def test_it_lies_between_the_p_value_and_holms(size: int, generator: np.random.Generator) -> None:
    for p in families(generator, size):
        found = adjusted(p)
        assert (found >= p - 1e-12).all()
        assert (found <= holm(p) + 1e-12).all()
        assert found.min() >= min(simes(p), 1.0) - 1e-12  # the test that anything is there comes first
        assert (np.diff(found[np.argsort(p, kind="stable")]) >= -1e-12).all()


def test_order_changes_nothing(generator: np.random.Generator) -> None:
    p = generator.random(9) ** 3
    order = generator.permutation(9)
    assert (adjusted(p[order]) == adjusted(p)[order]).all()


def test_tests_that_could_not_be_made_take_no_part(generator: np.random.Generator) -> None:
    p = generator.random(5) ** 3
    with_missing = np.array([np.nan, *p[:3], np.nan, *p[3:]])
    found = adjusted(with_missing)
    assert np.isnan(found[[0, 4]]).all()
    assert found[[1, 2, 3, 5, 6]] == pytest.approx(adjusted(p), abs=0)


@pytest.mark.parametrize("p", [[], [np.nan], [0.2], [np.nan, 0.2, np.nan]])
def test_one_test_or_none_needs_no_adjustment(p: list[float]) -> None:
    given = np.array(p, dtype=np.float64)
    assert adjusted(given) == pytest.approx(given, nan_ok=True)


def test_noise_is_called_something_in_5_of_100_families(generator: np.random.Generator) -> None:
    """Of independent tests Simes' is exact."""
    found = [adjusted(p).min() <= 0.05 for p in generator.random((4000, 12))]
    assert np.mean(found) == pytest.approx(0.05, abs=0.011)


def test_signals_of_the_same_samples_share_one_rate(generator: np.random.Generator) -> None:
    common = generator.normal(size=(4000, 1))
    p = ndtr(-(0.8 * common + 0.6 * generator.normal(size=(4000, 12))))
    assert np.mean([adjusted(one).min() <= 0.05 for one in p]) <= 0.061
