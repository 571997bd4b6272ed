"""One stage of a nested model: what features add to log-odds that are known already.

    stage = fit_stage(Linear(block), features, Training(label, group, offset), seed=0)
    stage.inner            # change of the log-odds of each training sample, by models that did not see its group
    stage.change(others)   # change of the log-odds of other samples

Without anything known, the offset is the log-odds of the base rate, and the stage is an ordinary model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from foretell.stats.folds import Folds, derived_seed, grouped_folds

__all__ = ["Learner", "Stage", "Training", "best_slope", "fit_stage", "inner_folds"]

_INNER_FOLDS = 3
_STEEPEST = 2.0
"""Largest slope of a stage: its models are fitted on fewer samples inside than in the end, so some growth is due."""
_HALVINGS = 50

Predictor: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Gets features `(sample, feature)`, returns the change of the log-odds `(candidate, sample)`."""


@dataclass(frozen=True)
class Training:
    """Training samples of a stage."""

    label: Int[np.ndarray, " sample"]
    """0 or 1; both must be present."""
    group: Int[np.ndarray, " sample"]
    """Codes of groups of dependent samples."""
    offset: Float[np.ndarray, " sample"]
    """Log-odds of label 1 that are known already, by models that did not see the sample's group."""

    def part(self, chosen: np.ndarray) -> Training:
        """Return the chosen samples."""
        return Training(self.label[chosen], self.group[chosen], self.offset[chosen])


@runtime_checkable
class Learner(Protocol):
    """Fits candidates, such as one model per penalty."""

    @property
    def n_candidates(self) -> int:
        """How many candidates there are, the most cautious one first."""

    def learn(
        self, features: Float[np.ndarray, "sample feature"], training: Training, *, only: int | None, seed: int
    ) -> Predictor:
        """Return a function that gives the change of the log-odds by candidate, of all or of only one."""


@dataclass(frozen=True)
class Stage:
    """A fitted stage."""

    inner: Float[np.ndarray, " sample"]
    """Change of the log-odds of each training sample, by models that did not see its group."""
    chosen: int
    """Candidate with the lowest log-loss on inner held-out groups."""
    slope: float
    """Factor on the change with the lowest log-loss on inner held-out groups, from 0: at 0 the stage adds nothing."""
    predictor: Predictor

    def change(self, features: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, " sample"]:
        """Return the change of the log-odds of other samples, before the slope."""
        return np.asarray(self.predictor(features)[0])


def inner_folds(label: Int[np.ndarray, " sample"], group: Int[np.ndarray, " sample"], *, seed: int) -> Folds:
    """Return the inner folds of training samples, which depend on nothing that is fitted."""
    return grouped_folds(label, group, n_folds=_INNER_FOLDS, seed=derived_seed(seed, "inner"))


def fit_stage(
    learner: Learner,
    features: Float[np.ndarray, "sample feature"],
    training: Training,
    *,
    seed: int,
    inside: Folds | None = None,
) -> Stage:
    """Choose a candidate and a slope on inner held-out groups, then fit it on all samples.

    Args:
        learner: What is fitted.
        features: `(sample, feature)`; nan is missing.
        training: Labels, groups and offsets.
        seed: Random seed.
        inside: From `inner_folds` with the same seed; None: they are made here.

    Undefined:
        Where the groups cannot be split, the most cautious candidate with slope 1, and an inner change of 0.

    Source:
        Offsets as in nested generalised linear models (McCullagh and Nelder 1989, section 2.2); a second level fitted
        on held-out predictions is stacking (Wolpert 1992; Breiman 1996, with coefficients of at least 0).
    """
    n, folds = len(training.label), inside or inner_folds(training.label, training.group, seed=seed)
    if folds.reason is not None:
        return Stage(np.zeros(n), 0, 1.0, learner.learn(features, training, only=0, seed=seed))
    changes = np.zeros((learner.n_candidates, n))
    for fold in range(folds.n_folds):
        train, heldout = folds.train(fold), folds.heldout(fold)
        predict = learner.learn(features[train], training.part(train), only=None, seed=seed)
        changes[:, heldout] = predict(features[heldout])
    chosen = int(np.argmin(_log_loss(training.offset + changes, training.label)))
    slope = best_slope(changes[chosen], training)
    return Stage(slope * changes[chosen], chosen, slope, learner.learn(features, training, only=chosen, seed=seed))


def _log_loss(margin: Float[np.ndarray, "candidate sample"], label: Int[np.ndarray, " sample"]) -> Any:
    return (np.logaddexp(0.0, margin) - label * margin).sum(axis=1)


def best_slope(change: Float[np.ndarray, " sample"], training: Training, *, steepest: float = _STEEPEST) -> float:
    """Return the factor of a change, from 0 to `steepest`, at which the log-loss, which is convex in it, is lowest."""

    def rise(slope: float) -> float:
        return float((expit(training.offset + slope * change) - training.label) @ change)

    low, high = 0.0, steepest
    if rise(low) >= 0:
        return low
    if rise(high) <= 0:
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rise(middle) > 0 else (middle, high)
    return (low + high) / 2
