"""The band of a ROC curve has the areas of its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from foretell.showing.figures.curve_figures import roc_band


@pytest.mark.parametrize(("area", "lower", "upper"), [(0.7, 0.6, 0.8), (0.5, 0.45, 0.55), (0.9, 0.85, 1.0)])
def test_edges_of_a_binormal_curve_have_the_areas_of_the_interval(area: float, lower: float, upper: float) -> None:
    x = np.linspace(0, 1, 20_001)
    y = norm.cdf(norm.ppf(x) + np.sqrt(2) * norm.ppf(area))
    edges = roc_band(y, area, lower, upper)
    for edge, wanted in zip(edges, (lower, upper), strict=True):
        assert np.trapezoid(edge, x) == pytest.approx(wanted, abs=2e-3)
    assert (edges[0] <= y + 1e-12).all()
    assert (edges[1] >= y - 1e-12).all()


def test_the_ends_of_a_curve_stay_where_they_are() -> None:
    lower, upper = roc_band(np.array([0.0, 1.0]), 0.7, 0.6, 0.8)
    assert lower.tolist() == upper.tolist() == [0.0, 1.0]
