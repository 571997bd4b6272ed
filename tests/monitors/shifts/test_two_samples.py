"""Two samples of many numbers against scipy, and on null data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, ks_2samp, mannwhitneyu

from foretell.monitors.shifts.two_samples import compared


@pytest.mark.parametrize("values", [None, 4])
def test_distances_and_probabilities_are_those_of_scipy(generator: np.random.Generator, values: int | None) -> None:
    reference, new = generator.normal(size=(40, 3)), generator.normal(loc=[0.0, 0.5, 2.0], size=(25, 3))
    if values is not None:
        reference, new = (np.clip(np.round(one), 0, values) for one in (reference, new))
    found = compared(reference, new, n_permutations=99)
    for column in range(3):
        pair = new[:, column], reference[:, column]
        assert found.distance[column] == pytest.approx(ks_2samp(*pair).statistic)
        assert found.exceeds[column] == pytest.approx(mannwhitneyu(*pair).statistic / (25 * 40))
    assert found.p_values[2] == found.p_value == 0.01
    assert found.p_values[0] > 0.05


def test_a_missing_value_is_one_below_all_others() -> None:
    reference, new = np.ones((30, 1)), np.ones((30, 1))
    new[:12] = np.nan
    found = compared(reference, new)
    assert found.distance[0] == pytest.approx(0.4)
    assert found.p_value < 0.01
    low = compared(reference, np.where(np.isnan(new), -5.0, new))
    assert (found.p_value, found.exceeds[0]) == (low.p_value, low.exceeds[0])


def test_equal_samples_do_not_differ() -> None:
    found = compared(np.zeros((10, 4)), np.zeros((7, 4)), n_permutations=50)
    assert found.distance.tolist() == [0.0] * 4
    assert (found.p_value, found.exceeds.tolist()) == (1.0, [0.5] * 4)


def test_the_same_seed_gives_the_same_p_values_and_units_do_not_matter(generator: np.random.Generator) -> None:
    reference, new = generator.normal(size=(30, 5)), generator.normal(size=(20, 5))
    first = compared(reference, new, seed=3)
    scaled = compared(np.exp(reference), np.exp(new), seed=3)
    np.testing.assert_array_equal(first.p_values, scaled.p_values)


@pytest.mark.calibration
@pytest.mark.parametrize("values", [None, 3])
def test_p_values_are_valid_for_many_dependent_numbers(values: int | None) -> None:
    generator, below = np.random.default_rng(5), 0
    for seed in range(200):
        both = generator.normal(size=(50, 1)) + generator.normal(size=(50, 20))
        both = both if values is None else np.clip(np.round(both), 0, values)
        below += compared(both[:30], both[30:], n_permutations=99, seed=seed).p_value <= 0.05
    assert binom.ppf(0.0005, 200, 0.02) <= below <= binom.ppf(0.9995, 200, 0.05)
