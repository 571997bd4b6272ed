"""Transfer: a detector fitted on one dataset, evaluated on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import logit
from threadpoolctl import threadpool_limits

from foretell.stats.auc.fold_auc import fold_auc
from foretell.stats.auc.intervals import Estimate, auc_interval
from foretell.stats.detectors.features import Features, column_means
from foretell.stats.detectors.held_out_scores import CrossValidation
from foretell.stats.detectors.learners import Linear
from foretell.stats.detectors.stages import Training, fit_stage
from foretell.stats.folds import derived_seed, group_codes

__all__ = ["ITSELF", "OTHERS", "Transfer", "TransferSet", "transfer"]

ITSELF = "itself"
"""Fitted on other groups of the evaluated dataset."""
OTHERS = "others"
"""Fitted on all datasets but the evaluated one."""

_NO_COMMON_HEADS = "the datasets have no layers and heads in common"


@dataclass(frozen=True)
class TransferSet:
    """One dataset's features, with the same columns in all datasets."""

    features: Float[np.ndarray, "sample feature"]
    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"]
    """Names of groups, which datasets may share."""


@dataclass(frozen=True)
class Transfer:
    """Performance on `dataset` of a detector fitted on `train`."""

    train: str
    dataset: str
    auc: Estimate
    n_train: int
    """Training samples; the mean over folds where they belong to the evaluated dataset itself."""
    n: int


def transfer(
    sets: Mapping[str, TransferSet],
    *,
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> list[Transfer]:
    """AUC on each dataset of logistic detectors fitted on each other dataset, and on all others together.

    Features are centred within each dataset, which removes shifts between datasets (such as a longer system prompt).
    This uses no label, and does not change the AUC of a linear detector on one dataset. Samples of a group that the
    evaluated dataset has as well are left out of training.

    The interval on another dataset is conditional on the fitted detector: it is over test samples, not over training
    datasets. On the dataset itself groups are held out in folds, and the interval is that of `fold_auc`; these
    detectors are fitted on slightly fewer samples than the others.

    Args:
        sets: Datasets by name.
        n_folds: Folds within a dataset.
        n_repeats: Repeats of these folds.
        seed: Random seed.
        level: Coverage of the intervals.

    Undefined:
        None with `reason` where one label is missing on either side or columns differ between datasets.

    Example:
        >>> one, two = (TransferSet(np.arange(8.0)[:, None], np.arange(8) // 4, np.arange(8) + k) for k in (0, 8))
        >>> [(cell.train, cell.dataset, cell.auc.estimate) for cell in transfer({"a": one, "b": two})]
        [('itself', 'a', 1.0), ('b', 'a', 1.0), ('itself', 'b', 1.0), ('a', 'b', 1.0)]
    """
    centred = {name: _centred(one) for name, one in sorted(sets.items())}
    cells = []
    with threadpool_limits(1):
        for dataset, test in centred.items():
            cells.append(_within(dataset, test, (n_folds, n_repeats, derived_seed(seed, "within")), level))
            rest = {name: one for name, one in centred.items() if name != dataset}
            choices = [(name, [one]) for name, one in rest.items()]
            if len(rest) > 1:
                choices.append((OTHERS, list(rest.values())))
            for train, every in choices:
                training = [_others(one, test) for one in every]
                n_train = sum(len(one.label) for one in training)
                area = _evaluated(training, test, derived_seed(seed, "transfer"), level)
                cells.append(Transfer(train, dataset, area, n_train, len(test.label)))
    return cells


def _others(training: TransferSet, test: TransferSet) -> TransferSet:
    """Return the training samples of groups that the evaluated dataset does not have."""
    kept = ~np.isin(training.group, test.group)
    return TransferSet(training.features[kept], training.label[kept], training.group[kept])


def _within(dataset: str, one: TransferSet, splitting: tuple[int, int, int], level: float) -> Transfer:
    """Return the performance within a dataset, on held-out groups."""
    n_folds, n_repeats, seed = splitting
    n, codes = len(one.label), group_codes(one.group)
    folds = CrossValidation(one.label, group=codes, n_folds=n_folds, n_repeats=n_repeats, seed=seed)
    heldout = folds.scores(Features(dataset, "detector", (one.features,)))
    reason = heldout.reason if one.features.shape[1] else _NO_COMMON_HEADS
    if reason is not None:
        nothing = Estimate(None, None, None, level, n, len(np.unique(codes)), "none", reason=reason)
        return Transfer(ITSELF, dataset, nothing, 0, n)
    splits = heldout.splits(codes, np.zeros(n, dtype=np.int64))
    area = fold_auc(heldout.score.ravel(), np.tile(one.label, heldout.n_repeats), splits, level=level)
    return Transfer(ITSELF, dataset, area, n - n // heldout.n_folds, n)


def _centred(one: TransferSet) -> TransferSet:
    return TransferSet(one.features - column_means(one.features), one.label.astype(np.int64), one.group)


def _evaluated(training: Sequence[TransferSet], test: TransferSet, seed: int, level: float) -> Estimate:
    """Return the AUC on one dataset of a detector fitted on others."""
    reason = _reason(training, test)
    if reason is not None:
        n_groups = len(np.unique(test.group))
        return Estimate(None, None, None, level, len(test.label), n_groups, "none", reason=reason)
    features = np.concatenate([one.features for one in training])
    label = np.concatenate([one.label for one in training])
    group = group_codes(np.concatenate([one.group for one in training]))
    known = Training(label, group, np.full(len(label), float(logit(label.mean()))))
    stage = fit_stage(Linear(np.zeros(features.shape[1], dtype=np.int64)), features, known, seed=seed)
    return auc_interval(stage.change(test.features), test.label, group=test.group, level=level)


def _reason(training: Sequence[TransferSet], test: TransferSet) -> str | None:
    if not test.features.shape[1] or any(one.features.shape[1] != test.features.shape[1] for one in training):
        return _NO_COMMON_HEADS
    if len(np.unique(test.label)) < 2:
        return "the evaluated dataset has only one label"
    if len(np.unique(np.concatenate([one.label for one in training]))) < 2:
        return "the training datasets have only one label"
    return None
