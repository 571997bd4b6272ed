"""Feature importances of a forest: impurity, as in the source study, and permutation on held-out rows.

Impurity importances of three exchangeable columns are one third each even on pure noise. Permutation importance is the
loss of AUC on held-out rows, which is zero on noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from foretell.stats.auc.fold_auc import Splits, fold_auc_difference
from foretell.stats.auc.intervals import Estimate
from foretell.stats.forest.random_forest import ForestResult, Protocol

__all__ = ["Importance", "importances"]


@dataclass(frozen=True)
class Importance:
    """One column's importance in one protocol."""

    metric: int
    """Index of the column."""
    protocol: Protocol
    kind: Literal["impurity", "permutation"]
    value: Estimate


def importances(result: ForestResult, *, level: float = 0.95) -> list[Importance]:
    """Importance of every column, of both kinds.

    Impurity is the share of a forest's impurity decrease due to a column's splits, mean over trees; its interval is
    over trees and reflects the randomness of the forest, not of the samples. Permutation is the AUC lost when the
    column is shuffled among the held-out rows; its interval is over groups of samples. Shuffling one of three shares
    also breaks their sum, which contributes to the loss.

    Args:
        result: One protocol's result, or a pooled one.
        level: Coverage of the intervals.

    Undefined:
        None with `reason` where the forest has no scores or the AUC is undefined.

    Source:
        Breiman 2001. Impurity equals scikit-learn's `feature_importances_`; the interval of a permutation importance is
        that of the difference of two correlated AUCs (DeLong, DeLong and Clarke-Pearson 1988) over groups.

    Example:
        >>> from foretell.stats.forest.random_forest import judge_forest
        >>> rows = np.arange(40.0).reshape(40, 1)
        >>> found = judge_forest(rows, np.arange(40) // 20, np.arange(40), protocols=("rows",), n_trees=5)
        >>> importances(found["rows"])[0].value.estimate
        1.0
    """
    n_metrics = result.permuted.shape[1]
    shares = [_impurity(result, metric, level) for metric in range(n_metrics)]
    drops = _permutation(result, level)
    return [
        *(Importance(metric, result.protocol, "impurity", value) for metric, value in enumerate(shares)),
        *(Importance(metric, result.protocol, "permutation", value) for metric, value in enumerate(drops)),
    ]


def _impurity(result: ForestResult, metric: int, level: float) -> Estimate:
    trees: Float[np.ndarray, " tree"] = result.impurity[:, metric]
    n = len(trees)
    method = "mean over trees, normal"
    grown = result.impurity.sum(axis=1) > 0
    if result.reason is not None or not grown.any():
        return Estimate(None, None, None, level, n, n, method, reason=result.reason or "no tree found a split")
    used = trees[grown]
    share = float(used.mean())
    half = float(ndtri(0.5 + level / 2) * used.std(ddof=1) / np.sqrt(len(used))) if len(used) > 1 else 0.0
    return Estimate(share, max(share - half, 0.0), min(share + half, 1.0), level, n, n, method)


def _permutation(result: ForestResult, level: float) -> Sequence[Estimate]:
    n_shuffles, n_metrics, n = result.permuted.shape
    if result.reason is not None:
        n_groups = len(np.unique(result.group))
        return [Estimate(None, None, None, level, n, n_groups, "none", reason=result.reason)] * n_metrics
    splits = result.splits
    shuffled = Splits(
        repeat=np.tile(splits.repeat, n_shuffles),
        within=np.concatenate([splits.within + shuffle * (splits.within.max() + 1) for shuffle in range(n_shuffles)]),
        group=np.tile(splits.group, n_shuffles),
        inflation=splits.inflation,
    )
    score, label = np.tile(result.score, n_shuffles), np.tile(result.label, n_shuffles)
    drops = [
        fold_auc_difference(score, result.permuted[:, metric].ravel(), label, shuffled, level=level)
        for metric in range(n_metrics)
    ]
    return [replace(drop, n=result.n_rows) for drop in drops]
