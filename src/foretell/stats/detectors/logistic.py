"""Ridge logistic regression whose penalty is chosen in nested grouped folds.

The penalty is invariant under rotation, so more features than samples are first projected onto the span of the samples:
the optimum is the same and takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from foretell.stats.detectors.features import column_means
from foretell.stats.folds import derived_seed, grouped_folds

__all__ = ["STRENGTHS", "NestedLogistic", "fit_logistic", "newton"]

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse penalties (scikit-learn's C) to choose from, for features scaled to a squared norm of about 1 per sample."""

_NEWTON_LIMIT = 400
"""Number of columns up to which Newton's method is faster than lbfgs."""
_TOLERANCE = 1e-8
_MAX_ITERATIONS = 60


def fit_logistic(
    features: Float[np.ndarray, "sample feature"],
    label: Int[np.ndarray, " sample"],
    strengths: Sequence[float] = STRENGTHS,
) -> Float[np.ndarray, "strength coefficient"]:
    """Coefficients of ridge logistic regressions, intercept (not penalised) last.

    Args:
        features: `(sample, feature)`, finite.
        label: `(sample,)`, 0 or 1; both must be present.
        strengths: Inverse penalties C: the loss is the summed log-loss plus squared coefficients over 2 C.

    Source:
        The optimum of scikit-learn's `LogisticRegression(C=C)`.

    Example:
        >>> fit_logistic(np.array([[-1.0], [1.0]]), np.array([0, 1]), [1.0]).shape
        (1, 2)
    """
    n, n_features = features.shape
    if n_features > n:
        basis, projected = _projected(features)
        fitted = _fit(projected, label, strengths)
        return np.column_stack([fitted[:, :-1] @ basis.T, fitted[:, -1]])
    return _fit(features, label, strengths)


def _projected(
    features: Float[np.ndarray, "sample feature"],
) -> tuple[Float[np.ndarray, "feature rank"], Float[np.ndarray, "sample rank"]]:
    """Return an orthonormal basis of the span of the samples, and the samples in this basis."""
    basis, projected = np.linalg.qr(features.T)
    return basis, np.ascontiguousarray(projected.T)


def _fit(
    features: Float[np.ndarray, "sample feature"], label: Int[np.ndarray, " sample"], strengths: Sequence[float]
) -> Float[np.ndarray, "strength coefficient"]:
    return (newton if features.shape[1] <= _NEWTON_LIMIT else _lbfgs)(features, label, strengths)


def _lbfgs(
    features: Float[np.ndarray, "sample feature"], label: Int[np.ndarray, " sample"], strengths: Sequence[float]
) -> Float[np.ndarray, "strength coefficient"]:
    """Return the optimum for many columns; each strength starts at the optimum of the one before."""
    model = LogisticRegression(solver="lbfgs", warm_start=True, max_iter=5000, tol=1e-6)
    found = []
    for strength in strengths:
        model.set_params(C=strength).fit(features, label)
        found.append(np.append(model.coef_[0], model.intercept_[0]))
    return np.array(found)


def newton(
    features: Float[np.ndarray, "sample feature"], label: Int[np.ndarray, " sample"], strengths: Sequence[float]
) -> Float[np.ndarray, "strength coefficient"]:
    """Return the optima of `fit_logistic` for all strengths at once, by Newton's method with step halving."""
    design = np.column_stack([features, np.ones(len(features))])
    n_strengths, n_columns = len(strengths), design.shape[1]
    penalty = np.repeat(1.0 / np.asarray(strengths, dtype=np.float64)[:, None], n_columns, axis=1)
    penalty[:, -1] = 0.0
    truth = label.astype(np.float64)
    coefficients = np.zeros((n_strengths, n_columns))
    rate = float(np.clip(truth.mean(), 1e-6, 1 - 1e-6))
    coefficients[:, -1] = np.log(rate / (1 - rate))
    active = np.arange(n_strengths)
    for _ in range(_MAX_ITERATIONS):
        here, cost = coefficients[active], penalty[active]
        probability = expit(here @ design.T)
        gradient = (probability - truth) @ design + cost * here
        unfinished = np.abs(gradient).max(axis=1) > _TOLERANCE * len(truth)
        if not unfinished.any():
            break
        active = active[unfinished]
        here, cost, gradient, probability = (part[unfinished] for part in (here, cost, gradient, probability))
        weight = np.maximum(probability * (1 - probability), 1e-12)
        curvature = (design.T[None] * weight[:, None, :]) @ design
        curvature[:, np.arange(n_columns), np.arange(n_columns)] += cost
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        coefficients[active] = _line_search(design, truth, here, step, cost)
    return coefficients


def _line_search(
    design: Float[np.ndarray, "sample column"],
    truth: Float[np.ndarray, " sample"],
    here: Float[np.ndarray, "strength column"],
    step: Float[np.ndarray, "strength column"],
    cost: Float[np.ndarray, "strength column"],
) -> Float[np.ndarray, "strength column"]:
    """Return the next coefficients, halving each step until its loss does not increase."""

    def loss(at: Float[np.ndarray, "strength column"]) -> Float[np.ndarray, " strength"]:
        margin = at @ design.T
        return np.asarray((np.logaddexp(0.0, margin) - truth * margin).sum(axis=1) + (cost * at**2).sum(axis=1) / 2)

    before = loss(here)
    size = np.ones(len(here))
    for _ in range(20):
        after = loss(here - size[:, None] * step)
        worse = after > before * (1 + 1e-12) + 1e-12
        if not worse.any():
            break
        size[worse] /= 2
    return np.asarray(here - size[:, None] * step)


class NestedLogistic:
    """Ridge logistic regression on standardised features; the strength is chosen by held-out log-loss.

    Features are standardised on the training samples, missing values are replaced by the mean, and each feature is
    divided by the root of the number of features in its block, so that blocks have equal weight.
    """

    def __init__(
        self,
        *,
        block: Int[np.ndarray, " feature"] | None = None,
        strengths: Sequence[float] = STRENGTHS,
        n_folds: int = 3,
        seed: int = 0,
    ) -> None:
        self.block = block
        self.strengths = tuple(strengths)
        self.n_folds = n_folds
        self.seed = seed
        self.strength = float("nan")
        self._centre = np.empty(0)
        self._scale = np.empty(0)
        self._coefficients = np.empty(0)

    def fit(
        self,
        features: Float[np.ndarray, "sample feature"],
        label: Int[np.ndarray, " sample"],
        *,
        group: np.ndarray | None = None,
    ) -> NestedLogistic:
        """Choose the strength in grouped folds, then fit on all samples.

        Args:
            features: `(sample, feature)`; nan is missing.
            label: `(sample,)`, 0 or 1; both must be present.
            group: `(sample,)` names of groups that are never split; None: each sample by itself.
        """
        self._centre, self._scale = _standardisation(features, self.block)
        scaled = self._scaled(features)
        basis, projected = _projected(scaled) if scaled.shape[1] > len(scaled) else (None, scaled)
        self.strength = self._choose_strength(projected, label, group)
        fitted = fit_logistic(projected, label, [self.strength])[0]
        slopes = fitted[:-1] if basis is None else basis @ fitted[:-1]
        self._coefficients = np.append(slopes, fitted[-1])
        return self

    def _choose_strength(
        self, scaled: Float[np.ndarray, "sample feature"], label: Int[np.ndarray, " sample"], group: np.ndarray | None
    ) -> float:
        """Return the strength with the lowest held-out log-loss; the strongest penalty where there is no split."""
        if len(self.strengths) == 1:
            return self.strengths[0]
        folds = grouped_folds(label, group, n_folds=self.n_folds, seed=derived_seed(self.seed, "inner"))
        if folds.reason is not None:
            return min(self.strengths)
        loss = np.zeros(len(self.strengths))
        for fold in range(folds.n_folds):
            train, heldout = folds.train(fold), folds.heldout(fold)
            coefficients = fit_logistic(scaled[train], label[train], self.strengths)
            margin = coefficients[:, :-1] @ scaled[heldout].T + coefficients[:, -1:]
            loss += (np.logaddexp(0.0, margin) - label[heldout] * margin).sum(axis=1)
        return self.strengths[int(np.argmin(loss))]

    def _scaled(self, features: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, "sample feature"]:
        standard = (features - self._centre) * self._scale
        return np.where(np.isnan(standard), 0.0, standard)

    def decision_function(self, features: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, " sample"]:
        """Return the log-odds of label 1."""
        return np.asarray(self._scaled(features) @ self._coefficients[:-1] + self._coefficients[-1])

    def predict_proba(self, features: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, "sample class_"]:
        """Return the probabilities of label 0 and label 1."""
        one = expit(self.decision_function(features))
        return np.column_stack([1.0 - one, one])


def _standardisation(
    features: Float[np.ndarray, "sample feature"], block: Int[np.ndarray, " feature"] | None
) -> tuple[Float[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """Return each feature's mean and scale factor; the factor is 0 for a constant or entirely missing feature."""
    present = np.isfinite(features)
    centre = column_means(features)
    count = np.maximum(present.sum(axis=0), 1)
    spread = np.sqrt((np.where(present, features - centre, 0.0) ** 2).sum(axis=0) / count)
    tiny = 1e-12 * np.maximum(np.abs(centre), 1e-300)
    usable = spread > tiny
    scale = np.zeros(features.shape[1])
    codes = np.zeros(features.shape[1], dtype=np.int64) if block is None else block
    size = np.bincount(codes)[codes]
    scale[usable] = 1.0 / (spread[usable] * np.sqrt(size[usable]))
    return centre, scale
