"""Cross-validated scores: every sample is scored by models fitted on other groups, alone or beside what is known."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import expit, logit
from scipy.stats import rankdata
from threadpoolctl import ThreadpoolController

from foretell.stats.auc.fold_auc import Splits, nadeau_bengio_factor
from foretell.stats.detectors.features import Features, column_means
from foretell.stats.detectors.learners import AnyClassifier, BestColumn, Estimator, Linear, MassMean, Perceptron
from foretell.stats.detectors.stages import Learner, Training, fit_stage, inner_folds
from foretell.stats.folds import Folds, derived_seed, group_codes, grouped_folds

__all__ = ["CrossValidation", "HeldOutScores"]

_LEAST_SLOPE = 1e-3
"""Of a detector by itself: where its inner held-out groups show nothing, its AUC is still that of its own ranking."""

_LARGE = 1000
"""Columns and samples from which folds are fitted side by side; with few it takes longer that way. Each fit has one
processor: two libraries of linear algebra (numpy's and scipy's) whose threads wait for each other took 1.5 times as
long on two processors as one thread."""
_MOST_WORKERS = 4
"""Folds that are fitted side by side; each holds some copies of the features."""


@dataclass(frozen=True)
class HeldOutScores:
    """Held-out scores of every sample, one per repeat of the folds."""

    score: Float[np.ndarray, "repeat sample"]
    """Log-odds of label 1. Compare scores of one repeat and fold only: a training set with more positives leaves a test
    set with fewer, so scores of different folds are negatively correlated with the label even where there is no
    signal."""
    fold: Int[np.ndarray, "repeat sample"]
    probability: Float[np.ndarray, " sample"] | None
    """Probability of label 1, mean over repeats; None where there are no scores."""
    inner: Float[np.ndarray, "repeat fold sample"]
    """Log-odds of each fold's training samples, by models that did not see their groups; nan in the fold itself."""
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

    def ranks(self) -> Float[np.ndarray, " sample"]:
        """Return the share of the other held-out samples of the same fold that score lower, mean over repeats.

        Between 0 and 1, ties one half. It compares scores of one model only, as the AUC does, so samples of different
        folds can be put in one order by it, which their log-odds cannot.

        Undefined:
            nan where a sample is alone in all of its folds, or there are no scores.
        """
        every = np.full(self.score.shape, np.nan)
        for score, fold, ranks in zip(self.score, self.fold, every, strict=True):
            for value in np.unique(fold):
                here = np.flatnonzero(fold == value)
                if here.size > 1:
                    ranks[here] = (rankdata(score[here]) - 1) / (here.size - 1)
        known = np.isfinite(every).sum(axis=0)
        return np.where(known > 0, np.nansum(every, axis=0) / np.maximum(known, 1), np.nan)

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
            n_folds=self.n_folds,
        )


def _no_scores(n: int, reason: str) -> HeldOutScores:
    empty = np.empty((0, n))
    return HeldOutScores(empty, np.empty((0, n), dtype=np.int64), None, np.empty((0, 0, n)), reason)


class CrossValidation:
    """The same folds for all detectors and baselines of one dataset.

    Folds are stratified and keep groups whole; every repeat draws new ones.

    Args:
        label: `(sample,)`, 0 or 1.
        group: `(sample,)` names of groups of dependent samples; None: all samples are independent.
        ids: `(sample,)` unique names that make the result independent of the order of samples.
        dataset: `(sample,)` names of the datasets, where several are pooled: features are centred within each on the
            training samples, and each has its own base rate.
        n_folds: Folds per repeat.
        n_repeats: Number of repeats.
        seed: Random seed.
        held: `(sample,)` one split in place of folds: these are held out, in whole groups, and nothing is fitted on
            them.

    Example:
        >>> column = np.arange(20.0)[:, None]
        >>> both = CrossValidation(np.arange(20) // 10, n_repeats=1)
        >>> found = both.scores(Features("x", "detector", (column,)))
        >>> bool(found.score[0, 19] > found.score[0, 0])
        True
    """

    def __init__(
        self,
        label: Int[np.ndarray, " sample"],
        *,
        group: Shaped[np.ndarray, " sample"] | None = None,
        ids: Shaped[np.ndarray, " sample"] | None = None,
        dataset: Shaped[np.ndarray, " sample"] | None = None,
        n_folds: int = 5,
        n_repeats: int = 5,
        seed: int = 0,
        held: Bool[np.ndarray, " sample"] | None = None,
    ) -> None:
        n = len(label)
        self._order = np.arange(n) if ids is None else np.argsort(np.asarray(ids), kind="stable")
        self._back = np.argsort(self._order)
        self._group = np.arange(n) if group is None else group_codes(group)[self._order]
        self._dataset = np.zeros(n, dtype=np.int64) if dataset is None else group_codes(dataset)[self._order]
        self._label = label.astype(np.int64)[self._order]
        self._seed = seed
        self._folds: list[Folds] = []
        self._inner: dict[tuple[int, int], tuple[int, Folds]] = {}
        self._baselines: dict[bytes, HeldOutScores] = {}
        self.reason: str | None = None
        for repeat in range(n_repeats if held is None else 1):
            of_repeat = derived_seed(seed, "repeat", repeat)
            if held is None:
                folds = _folds(self._label, self._dataset, self._group, n_folds, of_repeat)
            else:
                folds = Folds(np.where(held[self._order], 0, 1), 1, of_repeat, None)
            self.reason = self.reason or folds.reason
            self._folds.append(folds)

    def scores(
        self, features: Features, *, estimator: Estimator = "logistic", beside: HeldOutScores | None = None
    ) -> HeldOutScores:
        """Return scores of every sample by models fitted on other groups.

        Args:
            features: The features.
            estimator: logistic (`learners.Linear`), random-forest, gradient-boosting, or any scikit-learn classifier,
                which is cloned for every fold.
            beside: Scores of this cross-validation that are known already; the features are fitted to what these leave
                of the label, and added to them as far as inner held-out groups show a use.

        Undefined:
            No repeat and a `reason` where the groups cannot be split or there is no column.
        """
        n = len(self._label)
        reason = self.reason if features.n_columns else "no feature column"
        if reason is not None or (beside is not None and beside.reason is not None):
            return _no_scores(n, str(reason or (beside and beside.reason)))
        matrix, order = features.matrix[self._order], self._order
        # What is known of the prompt is the same at every moment of an answer.
        kept = features.role == "baseline" and estimator == "logistic" and beside is None
        key = sha256(matrix.tobytes() + features.block.tobytes()).digest() if kept else b""
        if key in self._baselines:
            return self._baselines[key]
        known = self.nothing() if beside is None else beside
        learner = _learner(features, estimator)
        score, inner = known.score[:, order], known.inner[:, :, order]
        least = _LEAST_SLOPE if beside is None else 0.0

        def fit(place: tuple[int, int]) -> None:
            repeat, fold = place
            train, heldout = self._folds[repeat].train(fold), self._folds[repeat].heldout(fold)
            columns = _centred(matrix, self._dataset, train)
            training = Training(self._label[train], self._group[train], inner[repeat, fold, train])
            seed, inside = self._inside(repeat, fold)
            stage = fit_stage(learner, columns[train], training, seed=seed, inside=inside)
            inner[repeat, fold, train] += stage.inner
            score[repeat, heldout] += max(stage.slope, least) * stage.change(columns[heldout])

        places = [(repeat, fold) for repeat, folds in enumerate(self._folds) for fold in range(folds.n_folds)]
        n_workers = min(_MOST_WORKERS, os.cpu_count() or 1) if _is_large(matrix, learner) else 1
        with _libraries().limit(limits=1), ThreadPoolExecutor(n_workers) as pool:
            list((pool.map if n_workers > 1 else map)(fit, places))
        score, inner = score[:, self._back], inner[:, :, self._back]
        found = HeldOutScores(score, known.fold, expit(score).mean(axis=0), inner)
        if kept:
            self._baselines[key] = found
        return found

    def nothing(self) -> HeldOutScores:
        """Return the scores of a model that knows the base rate of each dataset only."""
        n = len(self._label)
        if self.reason is not None:
            return _no_scores(n, self.reason)
        score = np.zeros((len(self._folds), n))
        inner = np.full((len(self._folds), max(folds.n_folds for folds in self._folds), n), np.nan)
        for repeat, folds in enumerate(self._folds):
            for fold in range(folds.n_folds):
                train, heldout = folds.train(fold), folds.heldout(fold)
                base = self._base_rates(train)
                inner[repeat, fold, train], score[repeat, heldout] = base[train], base[heldout]
        fold_of = np.array([folds.fold for folds in self._folds])[:, self._back]
        chance = expit(score).mean(axis=0)[self._back]
        return HeldOutScores(score[:, self._back], fold_of, chance, inner[:, :, self._back])

    def _inside(self, repeat: int, fold: int) -> tuple[int, Folds]:
        """Return the seed of a fold's fits, and its inner folds, which all features share."""
        if (repeat, fold) not in self._inner:
            seed, train = derived_seed(self._seed, "fit", repeat, fold), self._folds[repeat].train(fold)
            self._inner[repeat, fold] = seed, inner_folds(self._label[train], self._group[train], seed=seed)
        return self._inner[repeat, fold]

    def _base_rates(self, train: np.ndarray) -> Float[np.ndarray, " sample"]:
        """Return the log-odds of label 1 of each sample's dataset among the training samples."""
        codes, n_datasets = self._dataset, int(self._dataset.max()) + 1
        positive = np.bincount(codes[train], weights=self._label[train], minlength=n_datasets)
        total = np.bincount(codes[train], minlength=n_datasets)
        return np.asarray(logit((positive + 0.5) / (total + 1.0))[codes])


def _is_large(matrix: Float[np.ndarray, "sample feature"], learner: Learner) -> bool:
    """Whether fits take long enough, in linear algebra alone, to be worth a thread each."""
    return isinstance(learner, Linear) and min(matrix.shape) >= _LARGE


@cache
def _libraries() -> ThreadpoolController:
    """Return the libraries of linear algebra; finding them takes longer than many a fit."""
    return ThreadpoolController()


def _learner(features: Features, estimator: Estimator) -> Learner:
    if features.model == "best-column":
        return BestColumn()
    if features.model == "mass-mean":
        return MassMean(features.block)
    if features.model == "perceptron":
        return Perceptron(features.block)
    return Linear(features.block, one_scale=features.one_scale) if estimator == "logistic" else AnyClassifier(estimator)


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
    matrix: Float[np.ndarray, "sample feature"], dataset: Int[np.ndarray, " sample"], train: np.ndarray
) -> Float[np.ndarray, "sample feature"]:
    """Return the columns centred within each dataset on its training samples."""
    if not dataset.any():
        return matrix
    columns = matrix.copy()
    for value in np.unique(dataset):
        here = dataset == value
        columns[here] -= column_means(matrix[here & train])
    return columns
