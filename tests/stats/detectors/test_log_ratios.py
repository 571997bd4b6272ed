from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foretell.errors import InputError
from foretell.stats.detectors.log_ratios import (
    centred_log_ratio,
    coordinate_names,
    in_coordinates,
    isometric_log_ratio,
    replace_zeros,
    shares_of_centred,
    shares_of_isometric,
)

SHARES = arrays(np.float64, (7, 4), elements=st.floats(0.01, 1.0))


@given(raw=SHARES)
def test_both_inverses_give_the_shares_back(raw: np.ndarray) -> None:
    shares = raw / raw.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares_of_centred(centred_log_ratio(shares)), shares, atol=1e-12)
    np.testing.assert_allclose(shares_of_isometric(isometric_log_ratio(shares)), shares, atol=1e-12)


@given(raw=SHARES)
def test_the_scale_of_the_whole_does_not_matter(raw: np.ndarray) -> None:
    np.testing.assert_allclose(centred_log_ratio(raw * 7), centred_log_ratio(raw), atol=1e-12)


@given(raw=SHARES)
def test_isometric_coordinates_keep_the_distances_of_centred_ones(raw: np.ndarray) -> None:
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


def test_missing_parts_and_empty_wholes_are_nan() -> None:
    found = centred_log_ratio(np.array([[np.nan, 0.5, 0.5], [0.0, 0.0, 0.0], [0.2, 0.3, 0.5]]))
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2]).all()


@pytest.mark.parametrize("shares", [[-0.1, 1.1], [np.inf, 0.5]])
def test_what_is_no_share_is_refused(shares: list[float]) -> None:
    with pytest.raises(InputError, match="must not be negative or infinite"):
        centred_log_ratio(np.array(shares))


@pytest.mark.parametrize("delta", [0.0, -1.0, 0.5])
def test_delta_must_leave_room(delta: float) -> None:
    with pytest.raises(InputError, match="leave room for 2 parts"):
        replace_zeros(np.array([0.5, 0.5]), delta=delta)


def test_names_and_choice_go_together(generator: np.random.Generator) -> None:
    shares = generator.dirichlet(np.ones(3), size=(5, 2))
    for coordinates, width in (("shares", 3), ("centred", 3), ("isometric", 2)):
        found = in_coordinates(shares, coordinates)  # type: ignore[arg-type]
        assert found.shape == (5, 2, width)
        assert len(coordinate_names(("a", "b", "c"), coordinates)) == width  # type: ignore[arg-type]
    assert coordinate_names(("a", "b", "c"), "centred")[1] == "clr(b)"
