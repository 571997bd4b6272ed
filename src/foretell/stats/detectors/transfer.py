"""Transfer: a detector fitted on one dataset, evaluated on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from threadpoolctl import threadpool_limits

from foretell.stats.auc.fold_auc import fold_auc
from foretell.stats.auc.intervals import Estimate, auc_interval
from foretell.stats.detectors.features import Features, column_means
from foretell.stats.detectors.held_out_scores import fit_and_score, held_out_scores
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
    This uses no label, and does not change the AUC of a linear detector on one dataset.

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
        >>> one = TransferSet(np.arange(8.0)[:, None], np.arange(8) // 4, np.arange(8))
        >>> [(cell.train, cell.dataset, cell.auc.estimate) for cell in transfer({"a": one, "b": one})]
        [('itself', 'a', 1.0), ('b', 'a', 1.0), ('itself', 'b', 1.0), ('a', 'b', 1.0)]
    """
    centred = {name: _centred(one) for name, one in sorted(sets.items())}
    cells = []
    with threadpool_limits(1):
        for dataset, test in centred.items():
            cells.append(_within(dataset, test, (n_folds, n_repeats, derived_seed(seed, dataset)), level))
            rest = {name: one for name, one in centred.items() if name != dataset}
            choices = [(name, [one]) for name, one in rest.items()]
            if len(rest) > 1:
                choices.append((OTHERS, list(rest.values())))
            for train, training in choices:
                n_train = sum(len(one.label) for one in training)
                fit_seed = derived_seed(seed, "transfer", train, dataset)
                area = _evaluated(training, test, fit_seed, level)
                cells.append(Transfer(train, dataset, area, n_train, len(test.label)))
    return cells


def _within(dataset: str, one: TransferSet, splitting: tuple[int, int, int], level: float) -> Transfer:
    """Return the performance within a dataset, on held-out groups."""
    n_folds, n_repeats, seed = splitting
    n, codes = len(one.label), group_codes(one.group)
    heldout = held_out_scores(
        Features(dataset, "detector", (one.features,)),
        one.label,
        group=codes,
        n_folds=n_folds,
        n_repeats=n_repeats,
        seed=seed,
    )
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
    codes = [group_codes(one.group) for one in training]
    starts = np.cumsum([0, *(int(code.max()) + 1 for code in codes[:-1])])
    group = np.concatenate([code + start for code, start in zip(codes, starts, strict=True)])
    block = np.zeros(features.shape[1], dtype=np.int64)
    score, _ = fit_and_score("logistic", (features, label, group), test.features, block=block, seed=seed)
    return auc_interval(score, test.label, group=test.group, level=level)


def _reason(training: Sequence[TransferSet], test: TransferSet) -> str | None:
    if not test.features.shape[1] or any(one.features.shape[1] != test.features.shape[1] for one in training):
        return _NO_COMMON_HEADS
    if len(np.unique(test.label)) < 2:
        return "the evaluated dataset has only one label"
    if len(np.unique(np.concatenate([one.label for one in training]))) < 2:
        return "the training datasets have only one label"
    return None
