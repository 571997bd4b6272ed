"""Differences of columns against textbook tests, with groups, and calibrated where there is no difference."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from foretell.stats.comparison.clustered_contrasts import (
    Contrast,
    auc_part,
    contrast,
    mean_part,
    paired_means,
    rate_contrast,
)

ROUNDS = int(os.environ.get("FORETELL_TEST_ROUNDS", "100"))


def codes(n: int, size: int = 1) -> np.ndarray:
    return np.arange(n) // size


def noise(generator: np.random.Generator, n_columns: int, group: np.ndarray, shared: float = 0.5) -> np.ndarray:
    of_group = generator.normal(size=(n_columns, group.max() + 1))[:, group]
    return np.asarray(np.sqrt(shared) * of_group + np.sqrt(1 - shared) * generator.normal(size=(n_columns, len(group))))


def test_paired_means_of_independent_samples_are_the_paired_t_test(generator: np.random.Generator) -> None:
    first, second = generator.normal(size=(2, 3, 25))
    found = paired_means(first, second, codes(25), 25)
    expected = stats.ttest_rel(first, second, axis=1)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-10)
    interval = expected.confidence_interval(0.9)
    np.testing.assert_allclose(found.interval(0.9), [interval.low, interval.high], rtol=1e-10)


def test_means_of_two_sets_are_welchs_t_test(generator: np.random.Generator) -> None:
    first, second = generator.normal(size=(3, 12)), 3 * generator.normal(size=(3, 30))
    found = contrast(mean_part(first, codes(12), 42), mean_part(second, 12 + codes(30), 42))
    expected = stats.ttest_ind(first, second, axis=1, equal_var=False)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-10)


def test_samples_that_are_copies_in_a_group_count_once(generator: np.random.Generator) -> None:
    first, second = generator.normal(size=(2, 3, 20))
    once = paired_means(first, second, codes(20), 20)
    copies = paired_means(np.repeat(first, 4, axis=1), np.repeat(second, 4, axis=1), codes(80, 4), 20)
    np.testing.assert_allclose(copies.difference, once.difference)
    np.testing.assert_allclose(copies.error, once.error)
    np.testing.assert_allclose(copies.p_max(n_draws=99, seed=1), once.p_max(n_draws=99, seed=1))


def delong(first: np.ndarray, second: np.ndarray, labels: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """AUC difference and its variance, pair by pair and with the influence of every sample."""
    total, influence = 0.0, np.zeros(len(first))
    for values, label, sign in ((first, labels[0], 1), (second, labels[1], -1)):
        positive, negative = np.flatnonzero(label), np.flatnonzero(~label)
        won = {
            (p, q): float(values[p] > values[q]) + 0.5 * (values[p] == values[q])
            for p, q in product(positive, negative)
        }
        area = float(np.mean(list(won.values())))
        total += sign * area
        for own, other, key in ((positive, negative, 0), (negative, positive, 1)):
            for sample in own:
                mean = np.mean([won[(sample, one) if key == 0 else (one, sample)] for one in other])
                influence[sample] += sign * (mean - area) / len(own) * np.sqrt(len(own) / (len(own) - 1))
    return total, float(influence @ influence)


@pytest.mark.parametrize("same_labels", [True, False])
def test_auc_differences_of_the_same_samples_are_delongs(same_labels: bool, generator: np.random.Generator) -> None:
    base = generator.normal(size=24)
    first, second = np.round(base + generator.normal(size=24), 1), base + generator.normal(size=24)
    label = generator.permutation(24) < 10
    other = label if same_labels else generator.permutation(24) < 14
    found = contrast(auc_part(first[None], label, codes(24), 24), auc_part(second[None], other, codes(24), 24))
    difference, variance = delong(first, second, (label, other))
    assert found.difference[0] == pytest.approx(difference)
    assert found.error[0] ** 2 == pytest.approx(variance)


def test_auc_differences_of_two_sets_add_their_variances(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(2, 1, 30)), generator.permutation(30) < 12
    parts = [auc_part(one, label, 30 * index + codes(30), 60) for index, one in enumerate(values)]
    alone = [float(np.sum(sum(part.errors) ** 2)) for part in parts]
    assert contrast(*parts).error[0] ** 2 == pytest.approx(sum(alone))


def test_missing_values_are_left_out(generator: np.random.Generator) -> None:
    first, second, label = *generator.normal(size=(2, 2, 30)), generator.permutation(30) < 12
    first[0, 3] = second[0, 8] = np.nan
    kept = np.delete(np.arange(30), [3, 8])
    found = paired_means(first, second, codes(30), 30)
    assert found.difference[0] == pytest.approx((first[0] - second[0])[kept].mean())
    areas = auc_part(first, label, codes(30), 30)
    own = np.delete(np.arange(30), 3)
    u = stats.mannwhitneyu(first[0, own][label[own]], first[0, own][~label[own]]).statistic
    assert areas.estimate[0] == pytest.approx(u / (label[own].sum() * (~label[own]).sum()))


def test_the_largest_statistic_of_one_column_is_an_exact_sign_test(generator: np.random.Generator) -> None:
    change = generator.normal(0.5, 1, size=(1, 9))
    found = paired_means(change, np.zeros((1, 9)), codes(9), 9).p_max(n_draws=20_000, seed=0)
    signs = np.array(list(product((-1, 1), repeat=9)))
    exact = np.mean(np.abs(signs @ change[0]) >= abs(change.sum()) - 1e-12)
    assert found[0] == pytest.approx(exact, abs=0.012)


def test_label_rates_of_the_same_samples_are_agresti_and_mins() -> None:
    first, second = np.repeat([1.0, 1, 0, 0], [9, 8, 2, 11]), np.repeat([1.0, 0, 1, 0], [9, 8, 2, 11])
    found = rate_contrast(first, second, (codes(30), codes(30)), 30, paired=True)
    b, c, n = 8.5, 2.5, 32
    centre, error = (b - c) / n, np.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert found.difference[0] == pytest.approx(0.2)
    assert found.centre[0] == pytest.approx(centre)
    assert found.error[0] == pytest.approx(error, rel=0.04)  # small-sample factor


def test_label_rates_of_two_sets_are_agresti_and_caffos() -> None:
    first, second = np.repeat([1.0, 0], [56, 14]), np.repeat([1.0, 0], [48, 32])
    found = rate_contrast(first, second, (codes(70), 70 + codes(80)), 150, paired=False)
    rates = 57 / 72, 49 / 82
    assert found.centre[0] == pytest.approx(rates[0] - rates[1])
    variance = sum(rate * (1 - rate) / n for rate, n in zip(rates, (72, 82), strict=True))
    assert found.error[0] == pytest.approx(np.sqrt(variance), rel=0.01)


def test_rates_that_never_differ_have_an_interval_all_the_same() -> None:
    label = np.repeat([0.0, 1.0], 10)
    found = rate_contrast(label, label, (codes(20), codes(20)), 20, paired=True)
    lower, upper = found.interval(0.95)
    assert lower[0] < 0 < upper[0]
    assert found.p[0] == 1.0


@pytest.mark.parametrize("size", [1, 4])
def test_swapping_the_sides_turns_every_sign(size: int, generator: np.random.Generator) -> None:
    group = codes(40, size)
    first, second, label = *generator.normal(size=(2, 5, 40)), generator.permutation(40) < 18
    made: list[Callable[[np.ndarray, np.ndarray], Contrast]] = [
        lambda one, other: paired_means(one, other, group, 40),
        lambda one, other: contrast(mean_part(one, group, 40), mean_part(other, group, 40)),
        lambda one, other: contrast(auc_part(one, label, group, 40), auc_part(other, label, group, 40)),
        lambda one, other: rate_contrast(
            (one[0] > 0).astype(float), (other[0] > 0).astype(float), (group, group), 40, paired=True
        ),
    ]
    for make in made:
        one, other = make(first, second), make(second, first)
        np.testing.assert_allclose(one.difference, -other.difference, atol=1e-12)
        np.testing.assert_allclose(one.interval(0.9)[0], -other.interval(0.9)[1], atol=1e-12)
        np.testing.assert_allclose(one.p, other.p)
        np.testing.assert_allclose(one.p_max(n_draws=50, seed=2), other.p_max(n_draws=50, seed=2))


def test_sides_that_are_the_same_have_no_interval_and_p_1(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(3, 20)), generator.permutation(20) < 9
    part = auc_part(values, label, codes(20), 20)
    for found in (paired_means(values, values, codes(20), 20), contrast(part, part)):
        assert (found.difference == 0).all()
        assert np.isnan(found.interval(0.95)).all()
        assert (found.p == 1).all()
        assert np.isnan(found.p_max(n_draws=50, seed=0)).all()


def test_one_class_has_no_auc_and_one_group_no_interval(generator: np.random.Generator) -> None:
    values = generator.normal(size=(2, 8))
    label = np.arange(8) < 4
    assert np.isnan(auc_part(values, np.ones(8, dtype=bool), codes(8), 8).estimate).all()
    one_group = contrast(*(auc_part(one, label, np.zeros(8, dtype=np.int64), 1) for one in (values, -values)))
    assert np.isfinite(one_group.difference).all()
    assert np.isnan(one_group.interval(0.95)).all()


CASES: dict[str, tuple[int, int]] = {"24 samples": (24, 1), "20 groups of 3": (60, 3), "60 samples": (60, 1)}


@pytest.mark.calibration
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_and_one_error_rate_holds_over_many_columns(case: str, generator: np.random.Generator) -> None:
    n, size = CASES[case]
    group = codes(n, size)
    n_groups = int(group.max()) + 1
    covered: dict[str, list[float]] = {}
    false: dict[str, list[bool]] = {}
    for seed in range(ROUNDS):
        base = noise(generator, 40, group)
        sides = [base + 0.5 * noise(generator, 40, group) for _ in range(2)]
        label = generator.random((2, n)) < 0.45
        made = {
            "paired means": paired_means(sides[0], sides[1], group, n_groups),
            "means": contrast(
                mean_part(sides[0], group, 2 * n_groups),
                mean_part(noise(generator, 40, group), group + n_groups, 2 * n_groups),
            ),
            "AUC": contrast(*(auc_part(one, label[0], group, n_groups) for one in sides)),
            "AUC, other labels": contrast(
                *(auc_part(one, own, group, n_groups) for one, own in zip(sides, label, strict=True))
            ),
            "label rate": rate_contrast(
                label[0].astype(float), label[1].astype(float), (group, group), n_groups, paired=True
            ),
        }
        for name, found in made.items():
            lower, upper = found.interval(0.95)
            covered.setdefault(name, []).append(float(((lower <= 0) & (upper >= 0)).mean()))
            p_max = found.p_max(n_draws=99, seed=seed)
            if name != "label rate":
                false.setdefault(name, []).append(bool(np.nanmin(p_max) <= 0.05))
    for name, shares in covered.items():
        assert np.mean(shares) > (0.88 if name == "label rate" else 0.92), name  # one column, or forty
    for name, wrong in false.items():
        assert sum(wrong) <= stats.binom.isf(0.001, len(wrong), 0.06), name
