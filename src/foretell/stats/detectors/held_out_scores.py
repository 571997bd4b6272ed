"""Cross-validated scores: every sample is scored by models fitted on other groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from threadpoolctl import threadpool_limits

from foretell.errors import InputError
from foretell.stats.auc.fold_auc import Splits, nadeau_bengio_factor
from foretell.stats.detectors.baselines import one_hot
from foretell.stats.detectors.features import Features, column_means
from foretell.stats.detectors.logistic import NestedLogistic
from foretell.stats.folds import Folds, derived_seed, group_codes, grouped_folds

__all__ = ["Classifier", "Estimator", "HeldOutScores", "fit_and_score", "held_out_scores"]


@runtime_checkable
class Classifier(Protocol):
    """Any scikit-learn classifier: `fit`, and `predict_proba` or `decision_function`."""

    def fit(self, X: Any, y: Any) -> Any:
        """Fit on `(sample, feature)` and `(sample,)`."""


Estimator = Literal["logistic", "random-forest", "gradient-boosting"] | Classifier

_FURTHEST = 1e-6
"""Probabilities of other estimators are clipped to this distance from 0 and 1 before taking log-odds."""


@dataclass(frozen=True)
class HeldOutScores:
    """Held-out scores of every sample, one per repeat of the folds."""

    score: Float[np.ndarray, "repeat sample"]
    """Log-odds of label 1; any scale for an estimator without probabilities. Compare scores of one repeat and fold
    only: a training set with more positives leaves a test set with fewer, so scores of different folds are negatively
    correlated with the label even where there is no signal."""
    fold: Int[np.ndarray, "repeat sample"]
    probability: Float[np.ndarray, " sample"] | None
    """Probability of label 1, mean over repeats; None where the estimator gives none."""
    reason: str | None = None
    """Why there are no scores."""

    @property
    def n_repeats(self) -> int:
        """Repeats of the folds."""
        return len(self.score)

    @property
    def n_folds(self) -> int:
        """Folds per repeat; 1 where there is no score, or nothing to fit."""
        return int(self.fold.max(initial=0)) + 1

    def splits(self, group: Int[np.ndarray, " sample"], within: Int[np.ndarray, " sample"]) -> Splits:
        """Return repeat, comparable set and group of the scores of all repeats, one repeat after the other.

        Args:
            group: `(sample,)` codes of groups of dependent samples.
            within: `(sample,)` codes of datasets or strata; scores of a fold are compared within one code.
        """
        return Splits(
            repeat=np.repeat(np.arange(self.n_repeats), len(within)),
            within=(self.fold * (int(within.max(initial=0)) + 1) + within).ravel(),
            group=np.tile(group, self.n_repeats),
            inflation=nadeau_bengio_factor(self.n_folds, self.n_repeats),
        )


def _no_scores(n: int, reason: str) -> HeldOutScores:
    return HeldOutScores(np.empty((0, n)), np.empty((0, n), dtype=np.int64), None, reason)


def held_out_scores(
    features: Features,
    label: Int[np.ndarray, " sample"],
    *,
    group: Shaped[np.ndarray, " sample"] | None = None,
    ids: Sequence[str] | np.ndarray | None = None,
    dataset: Shaped[np.ndarray, " sample"] | None = None,
    estimator: Estimator = "logistic",
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
) -> HeldOutScores:
    """Return scores of every sample by models fitted on other groups.

    Folds are stratified and keep groups whole; every repeat draws new folds.

    Args:
        features: The features.
        label: `(sample,)`, 0 or 1.
        group: `(sample,)` names of groups of dependent samples; None: all samples are independent.
        ids: `(sample,)` unique names that make the result independent of the order of samples.
        dataset: `(sample,)` names of the datasets, where several are pooled: features are centred within each on the
            training samples, and each has its own intercept.
        estimator: logistic (ridge, strength chosen in nested grouped folds), random-forest, gradient-boosting, or any
            scikit-learn classifier, which is cloned for every fold.
        n_folds: Folds per repeat.
        n_repeats: Number of repeats.
        seed: Random seed.

    Undefined:
        No repeat and a `reason` where the groups cannot be split or there is no column.

    Source:
        With one repeat and a scikit-learn classifier, `cross_val_predict` on the same splits.

    Example:
        >>> column = np.arange(20.0)[:, None]
        >>> found = held_out_scores(Features("x", "detector", (column,)), np.arange(20) // 10, n_repeats=1)
        >>> bool(found.score[0, 19] > found.score[0, 0])
        True
    """
    n = len(label)
    order = np.arange(n) if ids is None else np.argsort(np.asarray(ids), kind="stable")
    matrix = features.matrix[order]
    codes = np.arange(n) if group is None else group_codes(group)[order]
    dataset_codes = np.zeros(n, dtype=np.int64) if dataset is None else group_codes(dataset)[order]
    truth = label.astype(np.int64)[order]
    score = np.zeros((n_repeats, n))
    splits = np.zeros((n_repeats, n), dtype=np.int64)
    chance = np.zeros(n)
    if not matrix.shape[1]:
        return _no_scores(n, "no feature column")
    with threadpool_limits(1):
        for repeat in range(n_repeats):
            folds = _folds(truth, dataset_codes, codes, n_folds, derived_seed(seed, "repeat", repeat))
            if folds.reason is not None:
                return _no_scores(n, folds.reason)
            splits[repeat] = folds.fold
            for fold in range(folds.n_folds):
                train, heldout = folds.train(fold), folds.heldout(fold)
                columns, block = _centred(matrix, features.block, dataset_codes, train)
                score[repeat, heldout], probability = fit_and_score(
                    features.model if features.model == "best-column" else estimator,
                    (columns[train], truth[train], codes[train]),
                    columns[heldout],
                    block=block,
                    seed=derived_seed(seed, "fit", repeat, fold),
                )
                chance[heldout] += np.nan if probability is None else probability / n_repeats
    back = np.argsort(order)
    return HeldOutScores(score[:, back], splits[:, back], None if np.isnan(chance).any() else chance[back])


def _folds(
    label: Int[np.ndarray, " sample"],
    dataset: Int[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    n_folds: int,
    seed: int,
) -> Folds:
    """Return folds stratified by label and dataset, or by the label alone where a dataset is too small."""
    place = np.arange(len(label))
    if not dataset.any():
        return grouped_folds(label, group, ids=place, n_folds=n_folds, seed=seed)
    both = grouped_folds(label + 2 * dataset, group, ids=place, n_folds=n_folds, seed=seed)
    alone = grouped_folds(label, group, ids=place, n_folds=n_folds, seed=seed)
    return both if both.reason is None and both.n_folds >= alone.n_folds else alone


def _centred(
    matrix: Float[np.ndarray, "sample feature"],
    block: Int[np.ndarray, " feature"],
    dataset: Int[np.ndarray, " sample"],
    train: np.ndarray,
) -> tuple[Float[np.ndarray, "sample column"], Int[np.ndarray, " column"]]:
    """Return the columns centred within each dataset on its training samples, with one intercept per dataset."""
    if not dataset.any():
        return matrix, block
    columns = matrix.copy()
    for value in np.unique(dataset):
        here = dataset == value
        columns[here] -= column_means(matrix[here & train])
    intercepts = one_hot(dataset)
    return np.hstack([columns, intercepts]), np.append(block, np.full(intercepts.shape[1], block.max() + 1))


def fit_and_score(
    estimator: Estimator | Literal["best-column"],
    train: tuple[np.ndarray, np.ndarray, np.ndarray],
    test: Float[np.ndarray, "heldout feature"],
    *,
    block: Int[np.ndarray, " feature"],
    seed: int,
) -> tuple[Float[np.ndarray, " heldout"], Float[np.ndarray, " heldout"] | None]:
    """Fit on some samples and score others: log-odds of label 1, and its probability if the estimator has one.

    Args:
        estimator: As in `held_out_scores`; best-column selects one column first.
        train: Features, labels and group codes of the training samples.
        test: Features of the samples to score.
        block: Block of each feature.
        seed: Random seed.

    Raises:
        InputError: The estimator has neither `predict_proba` nor `decision_function`, or its name is unknown.
    """
    features, label, group = train
    if estimator == "best-column":
        best = _best_column(features, label)
        features, test, block = features[:, best], test[:, best], block[:1]
    if estimator in ("best-column", "logistic"):
        nested = NestedLogistic(block=block, seed=seed).fit(features, label, group=group)
        margin = nested.decision_function(test)
        return margin, expit(margin)
    model = _named(estimator, seed) if isinstance(estimator, str) else _reseeded(clone(estimator), seed)
    centre = column_means(features)
    model.fit(_filled(features, centre), label)
    if hasattr(model, "predict_proba"):
        chance = np.asarray(model.predict_proba(_filled(test, centre)), dtype=np.float64)[:, 1]
        return logit(np.clip(chance, _FURTHEST, 1 - _FURTHEST)), chance
    if hasattr(model, "decision_function"):
        return np.asarray(model.decision_function(_filled(test, centre)), dtype=np.float64), None
    raise InputError(f"{type(model).__name__} has neither predict_proba nor decision_function, so it gives no score")


def _best_column(features: Float[np.ndarray, "sample feature"], label: Int[np.ndarray, " sample"]) -> slice:
    """Return the column whose AUC is furthest from one half; the first of equals."""
    ranks = rankdata(_filled(features, column_means(features)), axis=0)
    positive = int(label.sum())
    area = (ranks[label == 1].sum(axis=0) - positive * (positive + 1) / 2) / (positive * (len(label) - positive))
    best = int(np.argmax(np.round(np.abs(area - 0.5), 12)))
    return slice(best, best + 1)


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
