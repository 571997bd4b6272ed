"""What the forest on rows adds to baselines, one score per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logit

from foretell.stats.auc.fold_auc import Splits, nadeau_bengio_factor, nested_increment
from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.stages import Training, best_slope
from foretell.stats.forest.random_forest import ForestResult

__all__ = ["ForestOfDataset", "forest_increment"]

_FURTHEST = 1e-3
"""Probabilities are clipped to this distance from 0 and 1 before taking log-odds."""
_STEEPEST = 20.0
"""Largest slope: a mean over rows of log-odds is much flatter than the log-odds of a sample."""


@dataclass(frozen=True)
class ForestOfDataset:
    """The forest of one dataset under the protocol `grouped`, and what the baselines say of its samples."""

    result: ForestResult
    known: Float[np.ndarray, " sample"] | None
    """Held-out log-odds of all baselines by a sample's place in the dataset; None if there are none."""
    group: Int[np.ndarray, " sample"]
    """Code of each sample's group, by the same place; datasets can have groups in common."""


@dataclass(frozen=True)
class _Scores:
    """One value per repeat and sample."""

    label: Int[np.ndarray, " value"]
    base: Float[np.ndarray, " value"]
    together: Float[np.ndarray, " value"]
    group: Int[np.ndarray, " value"]
    repeat: Int[np.ndarray, " value"]
    fold: Int[np.ndarray, " value"]
    stratum: Int[np.ndarray, " value"]


def forest_increment(forests: Sequence[ForestOfDataset], *, level: float = 0.95) -> Estimate:
    """AUC of baselines and forest together minus that of the baselines, over samples of one fold and stratum.

    A sample's forest score is the mean log-odds of its held-out rows. It is added to the baselines' log-odds with the
    slope, at least 0, that has the lowest log-loss on the samples of the other folds. Without baselines the AUC is
    compared with one half.

    Args:
        forests: One per dataset.
        level: Coverage of the interval.

    Undefined:
        None with `reason` where the forests have no scores or no fold and stratum has both labels.
    """
    defined = [one for one in forests if one.result.reason is None]
    if not defined:
        return Estimate(None, None, None, level, 0, 0, "none", reason=forests[0].result.reason)
    n_repeats = min(len(np.unique(one.result.repeat)) for one in defined)
    scores = [_scores(one, n_repeats) for one in defined]
    sets, start = [], 0
    for one in scores:
        sets.append(start + one.fold * (int(one.stratum.max()) + 1) + one.stratum)
        start = int(sets[-1].max()) + 1
    n_folds = min(one.result.n_folds for one in defined)

    def every(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in scores])

    inflation = nadeau_bengio_factor(n_folds, n_repeats)
    splits = Splits(every("repeat"), np.concatenate(sets), every("group"), inflation, n_folds)
    return nested_increment(every("together"), every("base"), every("label"), splits, level=level)


def _scores(one: ForestOfDataset, n_repeats: int) -> _Scores:
    """Return a forest's scores of samples, beside the baselines and by themselves."""
    result, kept = one.result, one.result.repeat < n_repeats
    keys = np.column_stack([result.repeat, result.sample])[kept]
    _, first, codes = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    codes = codes.reshape(-1)
    odds = logit(np.clip(result.score[kept], _FURTHEST, 1 - _FURTHEST))
    change = np.bincount(codes, weights=odds) / np.bincount(codes)
    label, fold, repeat, stratum, sample = (
        values[kept][first] for values in (result.label, result.fold, result.repeat, result.stratum, result.sample)
    )
    place = result.places[sample]
    base = np.zeros(len(label)) if one.known is None else one.known[place]
    together = base.copy()
    for value in np.unique(fold):
        here = fold == value
        others = (repeat == repeat[here][0]) & ~here
        offset = base[others]
        if one.known is None:
            offset = np.full(len(offset), float(logit(np.clip(label[others].mean(), _FURTHEST, 1 - _FURTHEST))))
        centre = change[others].mean()
        training = Training(label[others], one.group[place][others], offset)
        slope = best_slope(change[others] - centre, training, steepest=_STEEPEST)
        together[here] += slope * (change[here] - centre)
    return _Scores(label, base, together, one.group[place], repeat, fold, stratum)
