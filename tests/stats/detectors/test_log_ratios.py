from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import helmert
from scipy.special import softmax

from foretell.errors import InputError
from foretell.stats.detectors.log_ratios import (
    centred_log_ratio,
    isometric_log_ratio,
    replace_zeros,
    transformed_shares,
)

SHARES = arrays(np.float64, (7, 4), elements=st.floats(0.01, 1.0))


@given(raw=SHARES)
def test_both_inverses_give_the_shares_back(raw: np.ndarray) -> None:
    shares = raw / raw.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(centred_log_ratio(shares), axis=1), shares, atol=1e-12)
    np.testing.assert_allclose(softmax(isometric_log_ratio(shares) @ helmert(4), axis=1), shares, atol=1e-12)


@given(raw=SHARES)
def test_the_scale_of_the_whole_does_not_matter(raw: np.ndarray) -> None:
    np.testing.assert_allclose(centred_log_ratio(raw * 7), centred_log_ratio(raw), atol=1e-12)


@given(raw=SHARES)
def test_isometric_log_ratios_preserve_the_distances_of_centred_ones(raw: np.ndarray) -> None:
    centred, isometric = centred_log_ratio(raw), isometric_log_ratio(raw)
    np.testing.assert_allclose(centred.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(centred[0] - centred, axis=1), np.linalg.norm(isometric[0] - isometric, axis=1), atol=1e-12
    )


def test_the_formulas_of_the_papers() -> None:
    shares = np.array([0.1, 0.3, 0.6])
    mean = np.cbrt(0.1 * 0.3 * 0.6)
    np.testing.assert_allclose(centred_log_ratio(shares), np.log(shares / mean))
    expected = [np.sqrt(1 / 2) * np.log(0.1 / 0.3), np.sqrt(2 / 3) * np.log(np.sqrt(0.1 * 0.3) / 0.6)]
    np.testing.assert_allclose(isometric_log_ratio(shares), expected)


def test_a_zero_is_replaced_and_the_ratios_of_the_others_stay() -> None:
    replaced = replace_zeros(np.array([[0.0, 0.2, 0.8], [0.0, 0.0, 1.0]]), delta=0.01)
    np.testing.assert_allclose(replaced.sum(axis=1), 1)
    np.testing.assert_allclose(replaced[0], [0.01, 0.198, 0.792])
    np.testing.assert_allclose(replaced[1], [0.01, 0.01, 0.98])
    assert replaced[0, 1] / replaced[0, 2] == pytest.approx(0.25)


def test_missing_parts_and_zero_sums_are_nan() -> None:
    found = centred_log_ratio(np.array([[np.nan, 0.5, 0.5], [0.0, 0.0, 0.0], [0.2, 0.3, 0.5]]))
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2]).all()


@pytest.mark.parametrize("shares", [[-0.1, 1.1], [np.inf, 0.5]])
def test_negative_and_infinite_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(InputError, match="must not be negative or infinite"):
        centred_log_ratio(np.array(shares))


@pytest.mark.parametrize("delta", [0.0, -1.0, 0.5])
def test_delta_must_be_small(delta: float) -> None:
    with pytest.raises(InputError, match="above 0 and below 1 / 2"):
        replace_zeros(np.array([0.5, 0.5]), delta=delta)


def test_the_chosen_transform_is_applied(generator: np.random.Generator) -> None:
    shares = generator.dirichlet(np.ones(3), size=(5, 2))
    np.testing.assert_array_equal(transformed_shares(shares, "shares"), shares)
    np.testing.assert_array_equal(transformed_shares(shares, "centred"), centred_log_ratio(shares))
    np.testing.assert_array_equal(transformed_shares(shares, "isometric"), isometric_log_ratio(shares))
    assert isometric_log_ratio(shares).shape == (5, 2, 2)
