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

from foretell.stats.heldout import Estimator, fitted_scores
from foretell.stats.intervals import Estimate, auc_interval
from foretell.stats.resampling import derived_seed, group_codes

__all__ = ["OTHERS", "Transfer", "TransferSet", "transfer"]

OTHERS = "others"


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
    n: int


def transfer(
    sets: Mapping[str, TransferSet], *, estimator: Estimator = "logistic", seed: int = 0, level: float = 0.95
) -> list[Transfer]:
    """AUC on each dataset of detectors learnt on each other dataset, and on all others together.

    Features are centred within each dataset, so that a shift between datasets (a longer system prompt) does not
    matter; this uses no label, and for a linear detector it leaves the AUC as it is.

    Args:
        sets: Datasets by name.
        estimator: As in `held_out_scores`.
        seed: Start of the random numbers.
        level: Coverage of the intervals.

    Undefined:
        None with `reason` where one label is missing on either side or columns differ between datasets.

    Example:
        >>> one = TransferSet(np.arange(8.0)[:, None], np.arange(8) // 4, np.arange(8))
        >>> [(cell.train, cell.dataset, cell.auc.estimate) for cell in transfer({"a": one, "b": one})]
        [('b', 'a', 1.0), ('a', 'b', 1.0)]
    """
    centred = {name: _centred(one) for name, one in sorted(sets.items())}
    cells = []
    with threadpool_limits(1):
        for dataset, judged in centred.items():
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
        return "the datasets have no layers and heads in common"
    if len(np.unique(judged.label)) < 2:
        return "the judged dataset has only one label"
    if len(np.unique(np.concatenate([one.label for one in learnt]))) < 2:
        return "the datasets learnt from have only one label"
    return None
