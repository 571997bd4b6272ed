"""Threshold rules: predict 1 if a metric is above (or below) t, with t chosen on training groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from foretell.stats.auc.fold_auc import nadeau_bengio_factor
from foretell.stats.auc.intervals import Estimate
from foretell.stats.folds import Folds, bootstrap_weights, group_codes, grouped_folds
from foretell.stats.forest.measures import OBJECTIVES, Objective, confusion, measure

__all__ = ["Cut", "Side", "ThresholdRule", "best_cut", "threshold_rules"]

Side = Literal["above", "below", "either"]
_N_RESAMPLES = 2000
_METHOD = "pooled held-out predictions, cluster bootstrap, Nadeau-Bengio corrected"


@dataclass(frozen=True)
class Cut:
    """A threshold and its objective on the training values."""

    threshold: float
    side: str
    """above: predict 1 if value > threshold; below: predict 1 if value <= threshold."""
    value: float

    def predict(self, value: Float[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Return which values the rule predicts as 1."""
        return np.asarray(value > self.threshold if self.side == "above" else value <= self.threshold)


@dataclass(frozen=True)
class ThresholdRule:
    """A threshold chosen on training groups and evaluated on held-out groups."""

    objective: Objective
    threshold: float
    """Median over the folds that chose `side`."""
    side: str | None
    """above or below, whichever more folds chose."""
    train_value: float
    """Mean over folds of the objective on the training groups."""
    heldout: Estimate
    """Objective of the pooled held-out predictions; its interval accounts for groups and for the choice of the cut."""
    reason: str | None


def best_cut(
    value: Float[np.ndarray, " row"],
    label: Int[np.ndarray, " row"],
    *,
    objective: Objective = "youden",
    side: Side = "either",
) -> Cut:
    """Threshold that maximises the objective, among all cuts between distinct values.

    The cuts that always predict 1 or 0 are included. Of equally good cuts the lowest is taken, side above first. A
    threshold lies half way between two neighbouring values.

    Args:
        value: `(row,)`, finite.
        label: `(row,)`, 0 or 1.
        objective: What to maximise.
        side: above (1 if value > t), below (1 if value <= t), or either.

    Undefined:
        nan where no cut has a defined objective.

    Example:
        >>> best_cut(np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1])).threshold
        2.5
    """
    sorted_value, below = _cumulative(value, label)
    return _best(sorted_value, below, objective, side)


def _cumulative(
    value: Float[np.ndarray, " row"], label: Int[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, " distinct"], Float[np.ndarray, "cut class_"]]:
    """Return the distinct values, and for each cut the numbers of negatives and positives that are not above it."""
    order = np.argsort(value, kind="stable")
    ordered = value[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    positive = np.cumsum(label[order] == 1)[last]
    below = np.column_stack([last + 1 - positive, positive]).astype(np.float64)
    return ordered[last], np.vstack([np.zeros((1, 2)), below])


def _best(
    distinct: Float[np.ndarray, " distinct"], below: Float[np.ndarray, "cut class_"], objective: Objective, side: Side
) -> Cut:
    total = below[-1]
    above = total - below
    best = Cut(float("nan"), "above", float("nan"))
    for name in ("above", "below") if side == "either" else (side,):
        ones, zeros = (above, below) if name == "above" else (below, above)
        values = measure(np.column_stack([ones[:, 1], ones[:, 0], zeros[:, 0], zeros[:, 1]]), objective)
        if np.isnan(values).all():
            continue
        at = int(np.nanargmax(values))
        if not values[at] <= best.value:
            best = Cut(_between(distinct, at), name, float(values[at]))
    return best


def _between(distinct: Float[np.ndarray, " distinct"], cut: int) -> float:
    """Return a threshold that exactly `cut` distinct values do not exceed."""
    if cut == 0:
        return float(np.nextafter(distinct[0], -np.inf))
    if cut == len(distinct):
        return float(distinct[-1])
    lower, upper = float(distinct[cut - 1]), float(distinct[cut])
    middle = lower / 2.0 + upper / 2.0
    return middle if lower <= middle < upper else lower


def threshold_rules(
    value: Float[np.ndarray, " row"],
    label: Int[np.ndarray, " row"],
    group: np.ndarray,
    *,
    objectives: Sequence[Objective] = OBJECTIVES,
    n_folds: int = 5,
    folds: Folds | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> list[ThresholdRule]:
    """Held-out value of `predict 1 if value > t`, with t chosen on training groups, for several objectives.

    Args:
        value: `(row,)`; rows that are not finite are ignored.
        label: `(row,)`, 0 or 1.
        group: `(row,)` names of groups that are never split, such as the sample of each row.
        objectives: What t and its side maximise on training groups and what is reported, one rule each.
        n_folds: Number of folds.
        folds: A given split of the rows; None: made here.
        level: Coverage of the intervals.
        seed: Random seed.

    Undefined:
        nan with `reason` where the groups cannot be split.

    Source:
        Every cut is tried, as in a search over scikit-learn's roc_curve thresholds.

    Example:
        >>> label = (np.arange(20) >= 10).astype(np.int64)
        >>> rule = threshold_rules(np.arange(20.0), label, np.arange(20), objectives=("youden",), seed=1)[0]
        >>> rule.side, rule.train_value
        ('above', 1.0)
    """
    finite = np.isfinite(value)
    kept, truth = value[finite].astype(np.float64), label[finite].astype(np.int64)
    codes = group_codes(group[finite])
    if folds is None:
        split = grouped_folds(truth, codes, n_folds=n_folds, seed=seed)
    else:
        split = Folds(folds.fold[finite], folds.n_folds, folds.seed, folds.reason)
    if split.reason is not None or len(np.unique(truth)) < 2:
        reason = split.reason or "only one label has finite values"
        nothing = Estimate(None, None, None, level, len(kept), len(np.unique(codes)), _METHOD, reason=reason)
        return [ThresholdRule(name, np.nan, None, np.nan, nothing, reason) for name in objectives]
    training = [_cumulative(kept[split.train(fold)], truth[split.train(fold)]) for fold in range(split.n_folds)]
    weights = bootstrap_weights(codes, n_resamples=_N_RESAMPLES, seed=seed)
    rules = []
    for objective in objectives:
        cuts = [_best(*counts, objective, "either") for counts in training]
        predicted = np.zeros(len(kept), dtype=bool)
        for fold, cut in enumerate(cuts):
            heldout = split.heldout(fold)
            predicted[heldout] = cut.predict(kept[heldout])
        found = _judged(confusion(predicted, truth, group=codes), weights, objective, level)
        rules.append(_rule(objective, cuts, _widened(found, objective, split.n_folds)))
    return rules


def _judged(
    counts: Float[np.ndarray, "group count"],
    weights: Float[np.ndarray, "resample group"],
    objective: Objective,
    level: float,
) -> Estimate:
    """Return the objective of the held-out predictions with a percentile interval over resampled groups."""
    n, n_groups = int(counts.sum()), len(counts)
    estimate = float(measure(counts.sum(axis=0), objective))
    if np.isnan(estimate):
        reason = f"{objective} is undefined on the held-out groups"
        return Estimate(None, None, None, level, n, n_groups, _METHOD, reason=reason)
    resampled = measure(weights @ counts, objective)
    lower, upper = np.nanquantile(resampled, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(estimate, float(lower), float(upper), level, n, n_groups, _METHOD)


def _widened(found: Estimate, objective: Objective, n_folds: int) -> Estimate:
    """Return the interval widened by the root of `nadeau_bengio_factor`: other samples would have given other cuts."""
    if found.estimate is None or found.lower is None or found.upper is None:
        return found
    by, least = float(np.sqrt(nadeau_bengio_factor(n_folds))), -1.0 if objective in ("youden", "mcc") else 0.0
    lower = found.estimate - by * max(found.estimate - found.lower, 0.0)
    upper = found.estimate + by * max(found.upper - found.estimate, 0.0)
    return replace(found, lower=max(lower, least), upper=min(upper, 1.0))


def _rule(objective: Objective, cuts: list[Cut], heldout: Estimate) -> ThresholdRule:
    above = [cut.side == "above" for cut in cuts]
    side = "above" if 2 * sum(above) >= len(cuts) else "below"
    threshold = float(np.median([cut.threshold for cut in cuts if cut.side == side]))
    train_value = float(np.mean([cut.value for cut in cuts]))
    return ThresholdRule(objective, threshold, side, train_value, heldout, heldout.reason)
