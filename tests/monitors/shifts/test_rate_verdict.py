"""Verdicts on false-positive rates against the threshold's own bound, by brute force, and in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from foretell.monitors.alarm_threshold import negatives_needed, upper_bound
from foretell.monitors.shifts.rate_verdict import (
    BREAKS,
    CANNOT_SAY,
    HOLDS,
    adjusted_p_values,
    rate_verdicts,
)
from foretell.stats.verdicts.error_rate import holm


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("n", [5, 29, 60, 300])
def test_one_shift_is_judged_as_a_threshold_is(rate: float, n: int) -> None:
    for alarms in range(0, n + 1, max(n // 20, 1)):
        [found] = rate_verdicts([(alarms, n)], max_false_positive_rate=rate, confidence=0.95)
        more = binomtest(alarms, n, rate, alternative="greater").pvalue
        assert found.p_breaks == pytest.approx(more)
        expected = HOLDS if upper_bound(alarms, n, 0.95) <= rate else BREAKS if more <= 0.05 else CANNOT_SAY
        assert found.verdict == expected
        assert (found.n_more_needed == 0) == (expected != CANNOT_SAY)


@pytest.mark.parametrize(("rate", "confidence"), [(0.01, 0.95), (0.1, 0.9), (0.2, 0.8)])
def test_without_groups_as_many_are_needed_as_for_a_threshold(rate: float, confidence: float) -> None:
    [found] = rate_verdicts([(0, 0)], max_false_positive_rate=rate, confidence=confidence)
    assert (found.verdict, found.p_holds, found.p_breaks) == (CANNOT_SAY, 1.0, 1.0)
    assert found.n_more_needed == negatives_needed(rate, confidence)


@pytest.mark.parametrize("counts", [[(2, 40)], [(1, 20), (0, 9), (6, 30)], [(9, 40), (0, 1)]])
def test_the_groups_needed_are_the_fewest_that_decide(counts: list[tuple[int, int]]) -> None:
    options = {"max_false_positive_rate": 0.1, "confidence": 0.9}
    for (alarms, n), found in zip(counts, rate_verdicts(counts, **options), strict=True):
        if found.verdict != CANNOT_SAY:
            continue

        def is_decided(more: int, alarms: int = alarms, n: int = n, error: float = 0.1 / len(counts)) -> bool:
            later = alarms + more * alarms / n
            whole = np.ceil(later - 1e-9) if alarms / n <= 0.1 else np.floor(later + 1e-9)
            return bool(adjusted_p_values([(int(whole), n + more)], 0.1).min() <= error * (1 + 1e-9))

        needed = found.n_more_needed
        assert needed is not None
        assert is_decided(needed)
        assert not any(is_decided(more) for more in range(1, needed))


def test_a_rate_that_is_the_stated_one_is_never_decided() -> None:
    [found] = rate_verdicts([(10, 100)], max_false_positive_rate=0.1, confidence=0.95)
    assert (found.verdict, found.n_more_needed) == (CANNOT_SAY, None)


def test_no_shifts_have_no_verdicts() -> None:
    assert rate_verdicts([], max_false_positive_rate=0.1, confidence=0.9) == []


def test_holm_rejects_in_steps(generator: np.random.Generator) -> None:
    for size in (1, 2, 9):
        p = np.round(generator.uniform(0, 0.2, size), 2)
        rejected = np.zeros(size, dtype=bool)
        for step, place in enumerate(np.argsort(p, kind="stable")):
            if p[place] > 0.1 / (size - step):
                break
            rejected[place] = True
        np.testing.assert_array_equal(holm(p) <= 0.1 + 1e-12, rejected)


@pytest.mark.calibration
def test_wrong_verdicts_on_any_shift_are_as_rare_as_stated() -> None:
    """Rates at the edge, where both errors are likeliest; the shifts of a family depend on each other."""
    generator, n_families = np.random.default_rng(0), 2000
    true = np.array([0.1, 0.1, 0.1001, 0.1001, 0.1001, 0.3, 0.01])
    wrong_holds = wrong_breaks = 0
    for _ in range(n_families):
        shared = generator.uniform(size=(80, 1))
        is_own = generator.uniform(size=(80, len(true))) < 0.5
        alarms = (np.where(is_own, generator.uniform(size=(80, len(true))), shared) < true).sum(axis=0)
        p_holds, p_breaks = adjusted_p_values([(int(one), 80) for one in alarms], 0.1)
        wrong_holds += bool((p_holds[true > 0.1] <= 0.1).any())
        wrong_breaks += bool((p_breaks[true <= 0.1] <= 0.1).any())
    assert max(wrong_holds, wrong_breaks) <= binom.ppf(0.999, n_families, 0.1)
