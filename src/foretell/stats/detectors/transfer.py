"""Whether a detector learnt on one dataset tells the behaviour in another: the strictest split there is.

for cell in transfer(datasets):
    cell.train, cell.dataset, cell.auc.estimate
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from threadpoolctl import threadpool_limits

from foretell.stats.auc.fold_auc import auc_of_folds
from foretell.stats.auc.intervals import Estimate, auc_interval
from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import Estimator, fitted_scores, held_out_scores
from foretell.stats.folds import derived_seed, group_codes

__all__ = ["ITSELF", "OTHERS", "Transfer", "TransferSet", "transfer"]

ITSELF = "itself"
"""Learnt from the judged dataset, on other groups than those judged."""
OTHERS = "others"
"""Learnt from all datasets but the judged one."""

_NOTHING_IN_COMMON = "the datasets have no layers and heads in common"


@dataclass(frozen=True)
class TransferSet:
    """One dataset's features, in columns that mean the same in all datasets."""

    features: Float[np.ndarray, "sample feature"]
    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"]


@dataclass(frozen=True)
class Transfer:
    """How a detector learnt on `train` did on `dataset`."""

    train: str
    dataset: str
    auc: Estimate
    n_train: int
    """Samples learnt from; the mean over folds where these are samples of the judged dataset itself."""
    n: int


def transfer(
    sets: Mapping[str, TransferSet],
    *,
    estimator: Estimator = "logistic",
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> list[Transfer]:
    """AUC on each dataset of detectors learnt on each dataset, and on all others together.

    Features are centred within each dataset, so that a shift between datasets (a longer system prompt) does not
    matter; this uses no label, and for a linear detector it leaves the AUC as it is.

    The interval on another dataset is that of the one detector that was learnt: over samples that could have been
    judged, not over datasets that could have been learnt from. On the dataset itself, groups are held out in folds, and
    the interval is that of `auc_of_folds`; these detectors learn from a little less than the others.

    Args:
        sets: Datasets by name.
        estimator: As in `held_out_scores`.
        n_folds: Folds within a dataset.
        n_repeats: Repeats of these folds.
        seed: Start of the random numbers.
        level: Coverage of the intervals.

    Undefined:
        None with `reason` where one label is missing on either side or columns differ between datasets.

    Example:
        >>> one = TransferSet(np.arange(8.0)[:, None], np.arange(8) // 4, np.arange(8))
        >>> [(cell.train, cell.dataset, cell.auc.estimate) for cell in transfer({"a": one, "b": one})]
        [('itself', 'a', 1.0), ('b', 'a', 1.0), ('itself', 'b', 1.0), ('a', 'b', 1.0)]
    """
    centred = {name: _centred(one) for name, one in sorted(sets.items())}
    cells = []
    with threadpool_limits(1):
        for dataset, judged in centred.items():
            cells.append(_within(dataset, judged, estimator, (n_folds, n_repeats, derived_seed(seed, dataset)), level))
            rest = {name: one for name, one in centred.items() if name != dataset}
            choices = [(name, [one]) for name, one in rest.items()]
            if len(rest) > 1:
                choices.append((OTHERS, list(rest.values())))
            for train, learnt in choices:
                n_train = sum(len(one.label) for one in learnt)
                where = derived_seed(seed, "transfer", train, dataset)
                area = _judged(learnt, judged, estimator, where, level)
                cells.append(Transfer(train, dataset, area, n_train, len(judged.label)))
    return cells


def _within(
    dataset: str, one: TransferSet, estimator: Estimator, splitting: tuple[int, int, int], level: float
) -> Transfer:
    """Return how detectors learnt on some groups of a dataset did on its other groups."""
    n_folds, n_repeats, seed = splitting
    n, codes = len(one.label), group_codes(one.group)
    heldout = held_out_scores(
        Features(dataset, "detector", (one.features,)),
        one.label,
        group=codes,
        estimator=estimator,
        n_folds=n_folds,
        n_repeats=n_repeats,
        seed=seed,
    )
    reason = heldout.reason if one.features.shape[1] else _NOTHING_IN_COMMON
    if reason is not None:
        nothing = Estimate(None, None, None, level, n, len(np.unique(codes)), "none", reason=reason)
        return Transfer(ITSELF, dataset, nothing, 0, n)
    splits = heldout.splits(codes, np.zeros(n, dtype=np.int64))
    area = auc_of_folds(heldout.score.ravel(), np.tile(one.label, heldout.n_repeats), splits, level=level)
    return Transfer(ITSELF, dataset, area, n - n // heldout.n_folds, n)


def _centred(one: TransferSet) -> TransferSet:
    there = np.isfinite(one.features)
    centre = np.where(there, one.features, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return TransferSet(one.features - centre, one.label.astype(np.int64), one.group)


def _judged(
    learnt: Sequence[TransferSet], judged: TransferSet, estimator: Estimator, seed: int, level: float
) -> Estimate:
    """Return the AUC on one dataset of a detector learnt on others."""
    reason = _reason(learnt, judged)
    if reason is not None:
        n_groups = len(np.unique(judged.group))
        return Estimate(None, None, None, level, len(judged.label), n_groups, "none", reason=reason)
    features = np.concatenate([one.features for one in learnt])
    label = np.concatenate([one.label for one in learnt])
    codes = [group_codes(one.group) for one in learnt]
    starts = np.cumsum([0, *(int(code.max()) + 1 for code in codes[:-1])])
    group = np.concatenate([code + start for code, start in zip(codes, starts, strict=True)])
    block = np.zeros(features.shape[1], dtype=np.int64)
    score, _ = fitted_scores(estimator, (features, label, group), judged.features, block=block, seed=seed)
    return auc_interval(score, judged.label, group=judged.group, level=level)


def _reason(learnt: Sequence[TransferSet], judged: TransferSet) -> str | None:
    if not judged.features.shape[1] or any(one.features.shape[1] != judged.features.shape[1] for one in learnt):
        return _NOTHING_IN_COMMON
    if len(np.unique(judged.label)) < 2:
        return "the judged dataset has only one label"
    if len(np.unique(np.concatenate([one.label for one in learnt]))) < 2:
        return "the datasets learnt from have only one label"
    return None
