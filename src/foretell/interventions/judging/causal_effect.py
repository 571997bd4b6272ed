"""How much an intervention changes an outcome, compared with the same done to random heads or directions.

Two effects are looked at, because a cause may do either:

* **shift**: the mean change of the outcome, towards the behaviour if above 0. A part that always pushes one way shifts.
* **loss**: the mean change against each answer's own label. A part that carries *which* label it will be loses it when
  it is replaced by its mean, although the shift is 0. Of labels it is the share of answers whose label changes.

Each has the larger one of two p-values: of the effect being 0 in new groups (signs of whole groups exchanged at
random), and of it being no larger than those of the controls (the effect over their root mean square, by Student's
distribution with 5 degrees of freedom).
The p-value of the outcome is twice the smaller one of the two effects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from foretell.stats.auc.intervals import Estimate, effective_groups
from foretell.stats.folds import derived_seed
from foretell.stats.verdicts.rules import FEWEST_GROUPS

__all__ = ["FEWEST_CONTROLS", "Effect", "OutcomeEffect", "outcome_effect"]

FEWEST_CONTROLS = 5
"""Fewer say too little of how large the effect of a random part is."""
_SMALLEST = 1e-3
"""Effects of controls are taken to be at least this large (a thousandth of a nat, or of all answers), so that rounding
is no cause."""
_N_FLIPS = 9_999
_DEGREES = 5
"""Of Student's distribution, however many controls there are: a few heads do much more than most, so that effects of
random parts have heavier tails than normal ones. With 20 controls 0.17 % of effects have a p-value below 0.25 % where
these are Laplace's or Student's with 5 degrees of freedom, hardly any where they are normal, 0.5 % with 3 degrees."""


@dataclass(frozen=True)
class Effect:
    """One effect and that of the controls."""

    mean: Estimate
    """Over samples; the interval is clustered by group."""
    control: float | None
    """Root mean square of the effects of the controls."""
    p: float | None


@dataclass(frozen=True)
class OutcomeEffect:
    """The effects of an intervention on one outcome."""

    shift: Effect
    """Mean change."""
    loss: Effect
    """Mean change against each sample's own label."""
    p: float | None
    before: float | None
    """Mean outcome without intervention."""
    after: float | None
    """Mean outcome of the same samples under it."""
    n_groups: int
    reason: str | None = None
    """Why there is no p-value."""


def outcome_effect(
    before: Float[np.ndarray, " sample"],
    after: Float[np.ndarray, " sample"],
    controls: Float[np.ndarray, "control sample"],
    side: Float[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    *,
    bounded: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> OutcomeEffect:
    """Return the effects of an intervention on an outcome.

    Args:
        before: Outcome without any intervention; nan is unknown.
        after: Outcome under the intervention.
        controls: The same under each control.
        side: 1 where the sample's own label is 1, -1 where it is 0.
        group: Codes of groups.
        bounded: Whether outcomes are 0 or 1, so that no change at all still has an interval.
        level: Coverage of the intervals.
        seed: Of the exchanged signs.

    Undefined:
        Null with a reason where fewer than 10 groups have an outcome, or there are fewer than 5 controls.

    Example:
        >>> zeros, ones, group = np.zeros(20), np.ones(20), np.arange(20)
        >>> found = outcome_effect(zeros, ones, zeros[None].repeat(20, axis=0), -ones, group)
        >>> found.shift.mean.estimate, found.loss.mean.estimate, found.p < 0.001
        (1.0, 1.0, True)
    """
    known = np.isfinite(before) & np.isfinite(after) & np.isfinite(side)
    groups = group[known]
    n_groups = len(np.unique(groups))
    reason = _reason(n_groups, len(controls))
    change = (after - before)[known]
    every = controls - before
    every = np.where(known, every, np.nan)
    effects = []
    for name, sign in (("shift", np.ones_like(side)), ("loss", -side)):
        estimate = _mean(change * sign[known], groups, bounded=bounded, level=level)
        with_values = np.isfinite(every).any(axis=1)
        of_controls = np.nanmean(every[with_values] * sign, axis=1)
        if reason is None and len(of_controls) < FEWEST_CONTROLS:
            reason = _reason(n_groups, len(of_controls))
        size = float(np.sqrt(np.mean(of_controls**2))) if len(of_controls) else None
        p = None
        if reason is None and estimate.estimate is not None and size is not None:
            p = max(
                _sign_flips(change * sign[known], groups, seed=derived_seed(seed, name)),
                _beyond(estimate.estimate, size, len(of_controls)),
            )
        if bounded and name == "loss" and estimate.lower is not None:
            estimate = replace(estimate, lower=max(estimate.lower, 0.0))
        effects.append(Effect(estimate, size, p))
    made = [one.p for one in effects if one.p is not None]
    return OutcomeEffect(
        shift=effects[0],
        loss=effects[1],
        p=min(1.0, 2 * min(made)) if len(made) == len(effects) else None,
        before=float(before[known].mean()) if known.any() else None,
        after=float(after[known].mean()) if known.any() else None,
        n_groups=n_groups,
        reason=reason,
    )


def _reason(n_groups: int, n_controls: int) -> str | None:
    if n_groups < FEWEST_GROUPS:
        return f"{n_groups} held-out groups have an outcome: {FEWEST_GROUPS - n_groups} more needed"
    if n_controls < FEWEST_CONTROLS:
        return f"there are {n_controls} controls to compare with: {FEWEST_CONTROLS - n_controls} more needed"
    return None


def _mean(
    values: Float[np.ndarray, " sample"], group: Int[np.ndarray, " sample"], *, bounded: bool, level: float
) -> Estimate:
    """Return a mean with Student's interval, its variance over groups.

    Where no answer of so many groups changes, the interval is that of a share of 0 (Clopper and Pearson 1934).
    """
    n, names = len(values), np.unique(group, return_inverse=True)[1]
    n_groups = int(names.max(initial=-1)) + 1
    method = "Student, clustered by group"
    if n_groups < 2:
        mean = float(values.mean()) if n else None
        return Estimate(mean, None, None, level, n, n_groups, method, reason="fewer than two groups: no interval")
    mean = float(values.mean())
    sums = np.bincount(names, weights=values - mean)
    effective = float(effective_groups(np.bincount(names)))
    variance = effective / (effective - 1) * float(sums @ sums) / n**2
    margin = float(stats.t.ppf((1 + level) / 2, effective - 1)) * float(np.sqrt(variance))
    if bounded and not values.any():
        margin = 1.0 - ((1 - level) / 2) ** (1 / effective)
    return Estimate(mean, mean - margin, mean + margin, level, n, n_groups, method)


def _sign_flips(values: Float[np.ndarray, " sample"], group: Int[np.ndarray, " sample"], *, seed: int) -> float:
    """Two-sided p-value of the mean being 0, by signs of whole groups exchanged at random."""
    sums = np.bincount(np.unique(group, return_inverse=True)[1], weights=values)
    signs = np.random.default_rng(seed).integers(0, 2, size=(_N_FLIPS, len(sums)), dtype=np.int8) * 2 - 1
    found = np.abs(signs @ sums)
    return float((1 + np.count_nonzero(found >= abs(sums.sum()) * (1 - 1e-9))) / (1 + _N_FLIPS))


def _beyond(effect: float, size: float, n_controls: int) -> float:
    """Two-sided p-value of an effect being one more of those of the controls, with mean 0 and heavy tails."""
    return float(2 * stats.t.sf(abs(effect) / max(size, _SMALLEST), min(n_controls, _DEGREES)))
