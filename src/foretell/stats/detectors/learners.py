"""What a stage of a nested model can be: a ridge model of all columns, the best column alone, or any classifier."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg.lapack import dposv
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foretell.errors import InputError
from foretell.stats.detectors.features import column_means
from foretell.stats.detectors.stages import Predictor, Training

__all__ = [
    "STRENGTHS",
    "AnyClassifier",
    "BestColumn",
    "Classifier",
    "Estimator",
    "Linear",
    "LinearPredictor",
    "MassMean",
    "Perceptron",
]

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse penalties (scikit-learn's C) to choose from, for features scaled to a squared norm of about 1 per sample."""

_FURTHEST = 1e-6
"""Probabilities of other estimators are clipped to this distance from 0 and 1 before taking log-odds."""


@runtime_checkable
class Classifier(Protocol):
    """Any scikit-learn classifier: `fit`, and `predict_proba` or `decision_function`."""

    def fit(self, X: Any, y: Any) -> Any:
        """Fit on `(sample, feature)` and `(sample,)`."""


Estimator = Literal["logistic", "random-forest", "gradient-boosting"] | Classifier


@dataclass(frozen=True)
class LinearPredictor:
    """Linear models of standardised features, one per strength; a missing feature is at its mean."""

    centre: Float[np.ndarray, " feature"]
    scale: Float[np.ndarray, " feature"]
    """Factor on the distance from the centre; 0 for a constant feature."""
    mean: Float[np.ndarray, " feature"]
    """Weighted means of the standardised features."""
    slopes: Float[np.ndarray, "candidate feature"]
    intercept: float

    def __call__(self, others: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, "candidate sample"]:
        """Return the change of the log-odds."""
        scaled = _scaled(others, self.centre, self.scale)
        return np.asarray(self.slopes @ (scaled - self.mean).T + self.intercept)


@dataclass(frozen=True)
class Linear:
    """One Newton step of ridge logistic regression from the offset, for several strengths of the penalty.

    At the offset's probabilities p, with weights w = p (1 - p), the step solves (X^T W X + 1 / C) b = X^T (y - p); the
    intercept is not penalised. Without an offset that is ridge regression of the label, which ranks samples as a linear
    discriminant does. It takes one solution per strength where logistic regression iterates, and its log-odds are
    calibrated by the stage's slope.

    Source:
        McCullagh and Nelder (1989), section 2.5 (iterative weighted least squares); for the equivalence of ridge
        regression and discriminants: Hastie, Tibshirani and Friedman (2009), section 4.2, exercise 4.2.
    """

    block: Int[np.ndarray, " feature"]
    """Block of each feature; blocks have equal weight whatever their number of columns."""
    strengths: tuple[float, ...] = STRENGTHS
    one_scale: tuple[int, ...] = ()
    """Blocks whose columns are centred and share one scale, so that a rotation of the block changes no score: any
    factor X of a Gram matrix X X^T stands for all columns that the Gram matrix was made of."""

    @property
    def n_candidates(self) -> int:
        """One per strength, the strongest penalty first."""
        return len(self.strengths)

    def learn(
        self, features: Float[np.ndarray, "sample feature"], training: Training, *, only: int | None, seed: int
    ) -> LinearPredictor:
        """Fit a model per strength, or only one of them; nothing is random."""
        strengths = self.strengths if only is None else self.strengths[only : only + 1]
        scaled, centre, scale = _standardised(features, self.block, self.one_scale)
        probability = expit(training.offset)
        weight = np.maximum(probability * (1 - probability), 1e-3)
        mean = weight @ scaled / weight.sum()
        residual = training.label - probability
        intercept = residual.sum() / weight.sum()
        slopes = _solved(scaled - mean, weight, residual - weight * intercept, strengths)
        return LinearPredictor(centre, scale, mean, slopes, float(intercept))


def _solved(
    centred: Float[np.ndarray, "sample feature"],
    weight: Float[np.ndarray, " sample"],
    residual: Float[np.ndarray, " sample"],
    strengths: tuple[float, ...],
) -> Float[np.ndarray, "strength feature"]:
    """Return the ridge coefficients of each strength, by the smaller one of the two equivalent systems."""
    n, n_features = centred.shape
    if n_features <= n:
        # A matrix times its own transpose takes half as long as a product of two matrices.
        half = centred * np.sqrt(weight)[:, None]
        inner, right = half.T @ half, centred.T @ residual
        return np.array([_ridge(inner, 1.0 / strength, right) for strength in strengths])
    inner, right = centred @ centred.T, residual / weight
    return np.array([centred.T @ _ridge(inner, 1.0 / (strength * weight), right) for strength in strengths])


def _ridge(
    inner: Float[np.ndarray, "row row"], penalty: float | np.ndarray, right: Float[np.ndarray, " row"]
) -> Float[np.ndarray, " row"]:
    system = inner.copy()
    system.reshape(-1)[:: len(system) + 1] += penalty
    # The system is symmetric: its transpose has the order in memory that spares LAPACK a copy, at 3,072 columns 0.15
    # instead of 0.5 seconds.
    return np.asarray(dposv(system.T, right, overwrite_a=True)[1])


def _standardised(
    features: Float[np.ndarray, "sample feature"], block: Int[np.ndarray, " feature"], one_scale: tuple[int, ...] = ()
) -> tuple[Float[np.ndarray, "sample feature"], Float[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """Return standardised features, and each feature's mean and scale factor.

    The factor is 0 for a constant or entirely missing feature. A sample's squared norm is about 1 per block: the
    columns of a block share that equally, or, in the blocks `one_scale`, by their variances.
    """
    centre = column_means(features)
    standard = features - centre
    present = np.isfinite(standard)
    count = np.maximum(present.sum(axis=0), 1)
    if int(count.min(initial=len(features))) < len(features):
        standard[~present] = 0.0
    spread = np.sqrt(np.einsum("ij,ij->j", standard, standard) / count)
    usable = spread > 1e-12 * np.maximum(np.abs(centre), 1e-300)
    scale = np.zeros(features.shape[1])
    size = np.bincount(block)[block]
    scale[usable] = 1.0 / (spread[usable] * np.sqrt(size[usable]))
    for one in one_scale:
        here = block == one
        total = float(np.linalg.norm(spread[here]))
        scale[here] = 1.0 / total if total > 0 else 0.0
    standard *= scale
    return standard, centre, scale


def _scaled(
    features: Float[np.ndarray, "sample feature"],
    centre: Float[np.ndarray, " feature"],
    scale: Float[np.ndarray, " feature"],
) -> Float[np.ndarray, "sample feature"]:
    standard = features - centre
    standard *= scale
    known = np.isfinite(standard)
    return standard if known.all() else np.where(known, standard, 0.0)


@dataclass(frozen=True)
class BestColumn:
    """The column that correlates best with what the offset leaves of the label, in a model by itself."""

    @property
    def n_candidates(self) -> int:
        """One model."""
        return 1

    def learn(
        self, features: Float[np.ndarray, "sample feature"], training: Training, *, only: int | None, seed: int
    ) -> Predictor:
        """Choose the column and fit it; nothing is random."""
        centre = column_means(features)
        centred = _filled(features, centre) - centre
        residual = training.label - expit(training.offset)
        spread = np.linalg.norm(centred, axis=0)
        spread[spread <= 1e-9 * np.abs(centre) * np.sqrt(len(features))] = np.inf
        strength = np.abs((residual - residual.mean()) @ centred) / np.where(spread > 0, spread, np.inf)
        # Rounding decides nothing: the first of equals.
        best = int(np.argmax(np.round(strength / max(float(strength.max()), 1e-300), 9)))
        model = Linear(np.zeros(1, dtype=np.int64), STRENGTHS[-1:])
        predict = model.learn(features[:, best : best + 1], training, only=None, seed=seed)
        return lambda others: predict(others[:, best : best + 1])


@dataclass(frozen=True)
class _BestBlock:
    """A model per block of features, such as a layer; the best one is chosen inside."""

    block: Int[np.ndarray, " feature"]
    """Block of each feature, from 0."""

    @property
    def n_candidates(self) -> int:
        """One per block."""
        return int(self.block.max(initial=0)) + 1

    def _chosen(self, only: int | None) -> tuple[int, ...]:
        return tuple(range(self.n_candidates)) if only is None else (only,)


@dataclass(frozen=True)
class MassMean(_BestBlock):
    """The difference of the two labels' means as a direction, in the block (such as a layer) that is best inside.

    Beside what is known, the means are weighted by what the offset leaves of the label.

    Source:
        Marks and Tegmark (2023), "The geometry of truth", section 5 (mass-mean probe, without whitening).
    """

    def learn(
        self, features: Float[np.ndarray, "sample feature"], training: Training, *, only: int | None, seed: int
    ) -> Predictor:
        """Fit the direction of every block, or of only one; nothing is random."""
        centre = column_means(features)
        centred = _filled(features, centre) - centre
        residual = training.label - expit(training.offset)
        direction = centred.T @ (residual - residual.mean())
        chosen = self._chosen(only)
        line = Linear(np.zeros(1, dtype=np.int64), STRENGTHS[-1:])

        def projected(others: Float[np.ndarray, "sample feature"], one: int) -> Float[np.ndarray, "sample 1"]:
            here = self.block == one
            return np.asarray((_filled(others, centre)[:, here] - centre[here]) @ direction[here])[:, None]

        lines = [line.learn(projected(features, one), training, only=None, seed=seed) for one in chosen]
        return lambda others: np.concatenate(
            [fitted(projected(others, one)) for fitted, one in zip(lines, chosen, strict=True)]
        )


@dataclass(frozen=True)
class Perceptron(_BestBlock):
    """A perceptron with hidden layers of 256, 128 and 64 units on the states of one decoder block, the best inside.

    Source:
        Azaria and Mitchell (2023), "The internal state of an LLM knows when it's lying" (SAPLMA): five epochs of Adam
        on the last token; the decoder block, which they chose by hand, is chosen inside training folds.
    """

    def learn(
        self, features: Float[np.ndarray, "sample feature"], training: Training, *, only: int | None, seed: int
    ) -> Predictor:
        """Fit a network per decoder block, or of only one; initial weights and batches depend on the seed."""
        network = MLPClassifier((256, 128, 64), max_iter=5, random_state=seed)
        chosen = self._chosen(only)
        model = AnyClassifier(make_pipeline(StandardScaler(), network))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # five epochs are the method
            fitted = [model.learn(features[:, self.block == one], training, only=None, seed=seed) for one in chosen]
        return lambda others: np.concatenate(
            [predict(others[:, self.block == one]) for predict, one in zip(fitted, chosen, strict=True)]
        )


@dataclass(frozen=True)
class AnyClassifier:
    """A scikit-learn classifier; its log-odds are what it adds, whatever is known already."""

    estimator: Estimator

    @property
    def n_candidates(self) -> int:
        """One model."""
        return 1

    def learn(
        self, features: Float[np.ndarray, "sample feature"], training: Training, *, only: int | None, seed: int
    ) -> Predictor:
        """Fit a clone.

        Raises:
            InputError: The estimator has neither `predict_proba` nor `decision_function`, or its name is unknown.
        """
        model = (
            _named(self.estimator, seed) if isinstance(self.estimator, str) else _reseeded(clone(self.estimator), seed)  # type: ignore[no-untyped-call,unused-ignore]
        )
        centre = column_means(features)
        model.fit(_filled(features, centre), training.label)
        base = float(logit(np.clip(training.label.mean(), _FURTHEST, 1 - _FURTHEST)))
        if hasattr(model, "predict_proba"):

            def predict(others: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, "candidate sample"]:
                chance = np.asarray(model.predict_proba(_filled(others, centre)), dtype=np.float64)[:, 1]
                return logit(np.clip(chance, _FURTHEST, 1 - _FURTHEST))[None] - base

            return predict
        if hasattr(model, "decision_function"):
            return lambda others: np.asarray(model.decision_function(_filled(others, centre)), dtype=np.float64)[None]
        name = type(model).__name__
        raise InputError(f"{name} has neither predict_proba nor decision_function, so it gives no score")


def _named(name: str, seed: int) -> Any:
    if name == "random-forest":
        return RandomForestClassifier(n_estimators=200, random_state=seed)
    if name == "gradient-boosting":
        return HistGradientBoostingClassifier(random_state=seed, min_samples_leaf=5, early_stopping=False)
    raise InputError(f'unknown estimator "{name}": choose logistic, random-forest, gradient-boosting or a classifier')


def _reseeded(model: Any, seed: int) -> Any:
    """Set `random_state` of a classifier without one, so that the same call gives the same result."""
    if "random_state" in model.get_params() and model.get_params()["random_state"] is None:
        model.set_params(random_state=seed)
    return model


def _filled(
    features: Float[np.ndarray, "sample feature"], centre: Float[np.ndarray, " feature"]
) -> Float[np.ndarray, "sample feature"]:
    return np.where(np.isfinite(features), features, centre)
