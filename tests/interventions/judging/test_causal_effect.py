"""Effects beside controls: exact small cases, clustering, and what is undefined."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from foretell.interventions.judging import causal_effect
from foretell.interventions.judging.causal_effect import outcome_effect

N = 24
GROUP = np.arange(N)


def controls(size: float, n: int = 20, seed: int = 5) -> np.ndarray:
    """Outcomes of controls that start from 0 and whose mean changes have this size."""
    drawn = np.random.default_rng(seed).normal(size=(n, 1))
    return np.asarray(np.repeat(drawn / np.sqrt((drawn**2).mean()) * size, N, axis=1))


def test_the_interval_of_independent_samples_is_students() -> None:
    after = np.random.default_rng(0).normal(0.4, 1.0, N)
    found = outcome_effect(np.zeros(N), after, controls(0.1), np.ones(N), GROUP)
    expected = stats.ttest_1samp(after, 0.0).confidence_interval()
    assert found.shift.mean.lower == pytest.approx(expected.low)
    assert found.shift.mean.upper == pytest.approx(expected.high)
    assert found.loss.mean.estimate == pytest.approx(-after.mean())
    assert found.before == 0.0
    assert found.after == pytest.approx(after.mean())


def test_copies_of_samples_in_a_group_add_nothing() -> None:
    after = np.random.default_rng(1).normal(0.4, 1.0, N)
    once = outcome_effect(np.zeros(N), after, controls(0.1), np.ones(N), GROUP)
    several = [np.repeat(one, 5, axis=-1) for one in (np.zeros(N), after, controls(0.1), np.ones(N), GROUP)]
    copied = outcome_effect(*several)
    assert copied.shift.mean.lower == pytest.approx(once.shift.mean.lower)
    assert copied.p == pytest.approx(once.p)
    assert copied.n_groups == N


def test_the_p_value_is_that_of_exchanged_signs_where_controls_do_nothing() -> None:
    after = np.random.default_rng(2).normal(0.5, 1.0, 10)
    found = outcome_effect(np.zeros(10), after, np.zeros((20, 10)), np.ones(10), np.arange(10))
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    exact = float((np.abs(signs @ after) >= abs(after.sum()) - 1e-9).mean())
    assert found.shift.p == pytest.approx(exact, abs=0.01)
    assert found.p == pytest.approx(2 * exact, abs=0.03)


def test_a_certain_effect_is_compared_with_the_size_of_those_of_controls() -> None:
    found = outcome_effect(np.zeros(N), np.full(N, 0.5), controls(0.2), np.ones(N), GROUP)
    assert found.shift.control == pytest.approx(0.2)
    assert found.shift.p == pytest.approx(2 * stats.t.sf(0.5 / 0.2, 5))
    no_larger = outcome_effect(np.zeros(N), np.full(N, 0.01), controls(0.2), np.ones(N), GROUP)
    assert no_larger.p == pytest.approx(1.0)


def test_what_takes_the_label_away_without_shifting_it_has_an_effect() -> None:
    label = np.tile([0.0, 1.0], N // 2)
    found = outcome_effect(label, 1.0 - label, np.tile(label, (20, 1)), 2 * label - 1, GROUP, bounded=True)
    assert found.shift.mean.estimate == 0.0
    assert found.loss.mean.estimate == 1.0
    assert found.shift.p == 1.0
    assert found.p is not None
    assert found.p < 0.001


def test_no_change_of_any_label_still_has_an_interval() -> None:
    zeros = np.zeros(N)
    found = outcome_effect(zeros, zeros, np.zeros((20, N)), -np.ones(N), GROUP, bounded=True)
    # Clopper and Pearson's upper end for 0 of 24.
    upper = float(stats.binomtest(0, N).proportion_ci().high)
    assert found.shift.mean.lower == pytest.approx(-upper)
    assert found.shift.mean.upper == found.loss.mean.upper == pytest.approx(upper)
    assert found.loss.mean.lower == 0.0
    assert found.p == 1.0
    unbounded = outcome_effect(zeros, zeros, np.zeros((20, N)), -np.ones(N), GROUP)
    assert (unbounded.shift.mean.lower, unbounded.shift.mean.upper) == (0.0, 0.0)


def test_rounding_is_no_cause() -> None:
    after = np.full(N, 1e-6)
    found = outcome_effect(np.zeros(N), after, np.full((20, N), 1e-9), np.ones(N), GROUP)
    assert found.p == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("n_known", "n_controls", "reason"),
    [
        (7, 20, "7 held-out groups have an outcome: 3 more needed"),
        (0, 20, "0 held-out groups have an outcome: 10 more needed"),
        (N, 3, "there are 3 controls to compare with: 2 more needed"),
        (N, 0, "there are 0 controls to compare with: 5 more needed"),
    ],
)
def test_too_little_is_null_with_a_reason(n_known: int, n_controls: int, reason: str) -> None:
    before = np.where(np.arange(N) < n_known, 0.0, np.nan)
    found = outcome_effect(before, np.ones(N), np.zeros((n_controls, N)), np.ones(N), GROUP)
    assert (found.p, found.reason) == (None, reason)
    assert found.shift.mean.estimate == (None if n_known == 0 else 1.0)


def test_samples_without_an_outcome_do_not_count() -> None:
    after, some = np.random.default_rng(3).normal(1.0, 1.0, N), np.arange(N) % 4 > 0
    gaps = outcome_effect(np.zeros(N), np.where(some, after, np.nan), controls(0.1), np.ones(N), GROUP)
    dropped = outcome_effect(
        np.zeros(some.sum()), after[some], controls(0.1)[:, some], np.ones(some.sum()), GROUP[some]
    )
    assert (gaps.n_groups, gaps.shift.mean.n) == (dropped.n_groups, dropped.shift.mean.n) == (18, 18)
    assert gaps.shift.mean.lower == pytest.approx(dropped.shift.mean.lower)
    assert gaps.p == pytest.approx(dropped.p)


def test_a_control_without_any_outcome_is_none() -> None:
    few = controls(0.1, n=6)
    few[0] = np.nan
    found = outcome_effect(np.zeros(N), np.ones(N), few, np.ones(N), GROUP)
    assert found.p is not None
    few[:2] = np.nan
    found = outcome_effect(np.zeros(N), np.ones(N), few, np.ones(N), GROUP)
    assert found.reason == "there are 4 controls to compare with: 1 more needed"


def test_the_seed_fixes_the_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_effect, "_N_FLIPS", 199)
    after = np.random.default_rng(4).normal(0.3, 1.0, N)
    one, again, other = (
        outcome_effect(np.zeros(N), after, controls(0.01), np.ones(N), GROUP, seed=seed).p for seed in (0, 0, 1)
    )
    assert one == again != other
