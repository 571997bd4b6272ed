from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from foretell.stats.auc import intervals
from foretell.stats.auc.intervals import auc, auc_interval, auc_variance, effective_groups, interval_of_auc, placements
from foretell.stats.heads.association import column_statistics


def test_auc_equals_scikit_learn(generator: np.random.Generator) -> None:
    for _ in range(50):
        score, label = generator.integers(0, 9, 25).astype(float), generator.integers(0, 2, 25)
        if 0 < label.sum() < 25:
            assert auc(score, label) == pytest.approx(roc_auc_score(label, score), abs=1e-14)


def test_the_interval_equals_that_of_the_column_statistics(generator: np.random.Generator) -> None:
    score, label = generator.normal(size=40), generator.integers(0, 2, 40)
    score[3] = np.nan
    group = np.repeat(np.arange(10), 4)
    for names in (None, group):
        found = auc_interval(score, label, group=names)
        column = column_statistics(score[:, None], label, group=names)
        assert found.estimate == pytest.approx(column.auc[0], abs=1e-14)
        assert found.lower == pytest.approx(column.auc_lower[0], abs=1e-12)
        assert found.upper == pytest.approx(column.auc_upper[0], abs=1e-12)
        assert found.n == 39
    assert "clustered" in auc_interval(score, label, group=group).method


def test_the_variance_is_delongs_when_every_sample_is_its_own_group(generator: np.random.Generator) -> None:
    score, positive = generator.integers(0, 12, 30).astype(float), np.arange(30) < 12
    won = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    expected = won.mean(axis=1).var(ddof=1) / 12 + won.mean(axis=0).var(ddof=1) / 18
    spread = auc_variance(placements(score, positive), np.arange(12), np.arange(12, 30))
    assert spread.variance == pytest.approx(expected, rel=1e-12)
    assert 11 <= spread.degrees <= 28
    assert (float(spread.n_positive), float(spread.n_negative)) == (12.0, 18.0)


def test_the_clustered_variance_is_obuchowskis_by_loops(generator: np.random.Generator) -> None:
    score, label, group = generator.normal(size=60), generator.integers(0, 2, 60), generator.integers(0, 15, 60)
    positive = label == 1
    m, q = positive.sum(), (~positive).sum()
    area = auc(score, label)
    above = {i: np.mean(score[i] > score[~positive]) for i in np.flatnonzero(positive)}
    below = {i: np.mean(score[positive] > score[i]) for i in np.flatnonzero(~positive)}
    s10 = s01 = s11 = 0.0
    for name in np.unique(group):
        high = sum(above[i] - area for i in np.flatnonzero(positive & (group == name)))
        low = sum(below[i] - area for i in np.flatnonzero(~positive & (group == name)))
        s10, s01, s11 = s10 + high**2, s01 + low**2, s11 + high * low
    n10, n01, n = (
        chosen.sum() ** 2 / sum((chosen & (group == name)).sum() ** 2 for name in np.unique(group))
        for chosen in (positive, ~positive, np.ones(60, dtype=bool))
    )
    expected = n10 / ((n10 - 1) * m) * s10 / m + n01 / ((n01 - 1) * q) * s01 / q + 2 * n / ((n - 1) * m * q) * s11
    found = auc_variance(placements(score, positive), group[positive], group[~positive])
    assert found.variance == pytest.approx(expected, rel=1e-12)
    assert (found.n_positive, found.n_negative) == pytest.approx((n10, n01))


def test_effective_groups_are_all_groups_where_these_are_of_one_size() -> None:
    assert effective_groups(np.array([3, 3, 3, 0, 3])) == pytest.approx(4)
    assert effective_groups(np.array([1, 1, 98])) == pytest.approx(100**2 / 9606)
    assert np.isnan(effective_groups(np.array([0, 0])))


def test_copies_of_a_sample_in_one_group_do_not_narrow_the_interval(generator: np.random.Generator) -> None:
    score, label = generator.normal(size=40), np.arange(40) % 2
    once = auc_interval(score, label, group=np.arange(40))
    often = auc_interval(np.repeat(score, 50), np.repeat(label, 50), group=np.repeat(np.arange(40), 50))
    assert once.lower is not None
    assert once.upper is not None
    assert often.lower is not None
    assert often.upper is not None
    assert often.upper - often.lower == pytest.approx(once.upper - once.lower, rel=0.1)
    assert often.n_groups == 40


def test_perfect_separation_still_has_an_interval() -> None:
    found = auc_interval(np.arange(20.0), np.arange(20) >= 10)
    assert found.estimate == 1.0
    assert found.upper == 1.0
    assert found.lower is not None
    assert 0.7 < found.lower < 0.95


def test_intervals_lie_inside_the_unit_interval_around_the_estimate(generator: np.random.Generator) -> None:
    area = generator.random(500)
    lower, upper = interval_of_auc(area, generator.random(500) * 0.1, np.full(500, 7.0), np.full(500, 9.0))
    assert np.all((lower >= 0) & (lower <= area) & (area <= upper) & (upper <= 1))


def test_a_higher_level_is_wider(generator: np.random.Generator) -> None:
    score, label = generator.normal(size=40), np.arange(40) % 2
    widths = []
    for level in (0.5, 0.9, 0.99):
        found = auc_interval(score, label, level=level)
        assert found.lower is not None
        assert found.upper is not None
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("score", "label", "reason", "estimate"),
    [
        ([], [], "no values", None),
        ([np.nan, np.nan], [0, 1], "no values", None),
        ([1.0, 2.0], [1, 1], "only one class is present", None),
        ([1.0, 2.0, 3.0], [0, 0, 1], "a class has fewer than two groups: no interval", 1.0),
    ],
)
def test_what_is_undefined_says_why(score: list[float], label: list[int], reason: str, estimate: float | None) -> None:
    found = auc_interval(np.array(score, dtype=float), np.array(label, dtype=int))
    assert found.reason == reason
    assert found.estimate == estimate
    assert found.lower is None
    assert found.upper is None


def test_auc_of_one_class_is_nan() -> None:
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([1, 1])))


def test_compiled_and_numpy_ends_agree(generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    area, variance = generator.random(200), generator.random(200) * 0.05
    area[:4], variance[2:6] = (0.0, 1.0, 0.0, 1.0), 0.0
    sizes = (generator.integers(2, 90, 200), generator.integers(2, 90, 200))
    fast = interval_of_auc(area, variance, *sizes, independent=True)
    monkeypatch.setattr(intervals, "compiled_loops", lambda _engine: None)
    np.testing.assert_allclose(interval_of_auc(area, variance, *sizes, independent=True), fast, atol=1e-12)
