"""What is known is taken out of a signal as least squares does it, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from foretell.stats.detectors.adjustment import known_columns, without
from foretell.stats.detectors.features import Features


def baseline(matrix: np.ndarray, name: str = "x") -> Features:
    return Features(name, "baseline", (matrix,))


def columns(*several: Features, n: int) -> np.ndarray:
    found = known_columns(several, n)
    assert found is not None
    return found


def test_residuals_are_those_of_least_squares(generator: np.random.Generator) -> None:
    known, values = generator.normal(size=(80, 5)), generator.normal(size=(80, 7))
    values[:, 0] += 3 * known[:, 2]
    left = without(values, columns(baseline(known[:, :3]), baseline(known[:, 3:]), n=80))
    assert left == pytest.approx(values - LinearRegression().fit(known, values).predict(known), abs=1e-10)


def test_columns_are_orthonormal_and_centred(generator: np.random.Generator) -> None:
    known = generator.normal(size=(60, 3)) * [1e-4, 1.0, 1e6] + 5
    found = columns(baseline(np.column_stack([known, known[:, 0], np.ones(60)])), n=60)
    assert found.shape == (60, 3)  # neither the copy nor the constant
    assert found.T @ found == pytest.approx(np.eye(3), abs=1e-9)
    assert found.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)


def test_there_is_at_most_one_column_per_ten_samples(generator: np.random.Generator) -> None:
    common = generator.normal(size=(50, 1))
    found = columns(baseline(common + 0.1 * generator.normal(size=(50, 30))), n=50)
    assert found.shape == (50, 5)
    assert abs(np.corrcoef(found[:, 0], common[:, 0])[0, 1]) > 0.99
    assert columns(baseline(generator.normal(size=(4, 3))), n=4).shape == (4, 1)


def test_words_and_nothing_leave_nothing_known() -> None:
    assert known_columns([], 10) is None
    assert known_columns([baseline(np.eye(10), "words of the answer")], 10) is None


def test_without_anything_known_columns_are_centred() -> None:
    assert without(np.array([[1.0, np.nan], [3.0, 5.0]]), None)[:, 0].tolist() == [-1.0, 1.0]


def test_a_signal_that_is_known_leaves_exactly_nothing(generator: np.random.Generator) -> None:
    known = generator.normal(size=(60, 2))
    signal = np.column_stack([known @ [2.0, -1.0] + 7, *(np.full(60, constant) for constant in (0.3, 1e9, 0.0))])
    assert (without(signal, columns(baseline(known), n=60)) == 0).all()


@pytest.mark.parametrize("centre", [0.0, 1.0, 1e4])
def test_small_differences_are_kept(centre: float, generator: np.random.Generator) -> None:
    known, small = generator.normal(size=(60, 2)), 1e-5 * generator.normal(size=(60, 1))
    left = without(centre + small, columns(baseline(known), n=60))
    assert (np.abs(left) > 0).mean() > 0.95


def test_missing_values_stay_missing_and_spoil_nothing(generator: np.random.Generator) -> None:
    known, values = generator.normal(size=(60, 2)), generator.normal(size=(60, 2))
    known[5, 0] = np.nan
    values[[1, 2], 0] = np.nan
    values[:, 1] = np.nan
    left = without(values, columns(baseline(known), n=60))
    np.testing.assert_array_equal(np.isnan(left), np.isnan(values))


def test_a_single_sample_is_no_error() -> None:
    assert without(np.ones((1, 3)), known_columns([baseline(np.ones((1, 2)))], 1)).tolist() == [[0.0, 0.0, 0.0]]


def test_a_known_column_without_a_value_takes_nothing_out(generator: np.random.Generator) -> None:
    values = generator.normal(size=(20, 3))
    known = known_columns([baseline(np.full((20, 2), np.nan))], 20)
    assert without(values, known) == pytest.approx(values - values.mean(axis=0))
