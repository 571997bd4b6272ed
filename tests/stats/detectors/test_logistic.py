from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from foretell.stats.detectors.logistic import newton


@pytest.mark.parametrize(("n", "n_features"), [(40, 3), (40, 100)])
def test_the_optimum_is_scikit_learns(generator: np.random.Generator, n: int, n_features: int) -> None:
    features = generator.normal(size=(n, n_features)) / np.sqrt(n_features)
    label = (features[:, 0] * np.sqrt(n_features) + generator.normal(size=n) > 0).astype(np.int64)
    strengths = [0.01, 1.0]
    for coefficients, strength in zip(newton(features, label, strengths), strengths, strict=True):
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(features, label)
        assert coefficients[:-1] == pytest.approx(model.coef_[0], abs=1e-6)
        assert coefficients[-1] == pytest.approx(model.intercept_[0], abs=1e-6)


def test_separable_data_end() -> None:
    features = np.repeat([-1.0, 1.0], 20)[:, None]
    found = newton(features, np.repeat([0, 1], 20), [0.001, 1.0, 100.0])
    assert np.isfinite(found).all()
    assert (np.diff(found[:, 0]) > 0).all()
