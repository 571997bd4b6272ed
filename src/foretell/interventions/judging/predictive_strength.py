"""How well one part of a model predicts the label: fitted on training groups, judged on held-out groups.

The columns of a part (logarithms of a head's masses, or the mean projection on a direction) become one score by
ridge logistic regression on the training groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

from foretell.stats.auc.clustered import group_contributions, group_sums
from foretell.stats.auc.intervals import Estimate, auc_interval
from foretell.stats.auc.within_strata import auc_within_strata
from foretell.stats.detectors.logistic import newton
from foretell.stats.verdicts.rules import FEWEST_GROUPS

__all__ = ["JudgedSamples", "Predictive", "predictive_strength"]

_STRENGTH = 1.0
"""Inverse penalty of the regression, on standardised columns."""
_FEWEST_DEGREES = 5


@dataclass(frozen=True)
class JudgedSamples:
    """Labelled samples, some of them held out."""

    label: Int[np.ndarray, " sample"]
    group: Int[np.ndarray, " sample"]
    stratum: Shaped[np.ndarray, " sample"] | None
    held: Bool[np.ndarray, " sample"]
    known: Float[np.ndarray, "sample baseline"]
    """What is known without the model's internals; nan where missing."""

    @cached_property
    def baseline(self) -> Float[np.ndarray, " sample"]:
        """The score of what is known, the same beside every part."""
        return _held_out_score(self.known, self)


@dataclass(frozen=True)
class Predictive:
    """How well a part predicts the label of held-out groups."""

    auc: Estimate
    """Of all held-out samples."""
    within: float | None
    """AUC over pairs of one stratum; None without strata."""
    p: float | None
    """One-sided p-value of the score being higher where the label is 1, within strata where there are strata."""
    p_added: float | None
    """The same beside a model of the baselines."""
    reason: str | None = None


def predictive_strength(
    columns: Float[np.ndarray, "sample column"], samples: JudgedSamples, *, level: float = 0.95
) -> Predictive:
    """Return how well the columns of one part predict the label.

    Args:
        columns: Of all samples; nan where missing.
        samples: Their labels, groups and which are held out.
        level: Coverage of the interval.

    Undefined:
        No p-value, with a reason, where a label has fewer than 10 held-out groups or the score is undefined.

    Source:
        The p-values are of the generalised score test (Boos 1992) of the score in a logistic model of the label, with
        the contributions of a group added up, after nuisance parameters are taken out.
    """
    score = _held_out_score(columns, samples)
    held = samples.held & np.isfinite(score)
    label, group = samples.label[held], samples.group[held]
    stratum = None if samples.stratum is None else samples.stratum[held]
    area = auc_interval(score[held], label, group=group, level=level)
    reason = area.reason or _few_groups(label, group, stratum)
    within = None
    if stratum is not None and held.any():
        found = float(auc_within_strata(score[held][None], label, stratum)[0])
        within = None if np.isnan(found) else found
    if reason is not None:
        return Predictive(area, within, None, None, reason)
    p = _score_test(score[held], label, group, stratum, known=None)
    baseline = samples.baseline[held]
    p_added = None
    if np.isfinite(baseline).all():
        p_added = _score_test(score[held], label, group, stratum, known=baseline)
    return Predictive(area, within, p, p_added, None if p is not None else "too few comparable groups: no p-value")


def _few_groups(
    label: Int[np.ndarray, " sample"], group: Int[np.ndarray, " sample"], stratum: Shaped[np.ndarray, " sample"] | None
) -> str | None:
    """Say how many more groups of a label are needed, of those that can be compared with the other label."""
    for value in (1, 0):
        chosen = label == value
        if stratum is not None:
            chosen &= np.isin(stratum, np.unique(stratum[label != value]))
        n = len(np.unique(group[chosen]))
        if n < FEWEST_GROUPS:
            return f"{n} held-out groups with label {value} can be compared: {FEWEST_GROUPS - n} more needed"
    return None


def _held_out_score(
    columns: Float[np.ndarray, "sample column"], samples: JudgedSamples
) -> Float[np.ndarray, " sample"]:
    """Return the log-odds of a model of the columns that was fitted on training groups; nan where one is missing."""
    present = np.isfinite(columns).all(axis=1)
    train = present & ~samples.held
    score = np.full(len(columns), np.nan)
    if not columns.shape[1] or len(np.unique(samples.label[train])) < 2:
        return score
    centre, scale = columns[train].mean(axis=0), columns[train].std(axis=0)
    spread = scale > 1e-9 * np.maximum(np.abs(centre), 1.0)
    standard = np.where(spread, (columns - centre) / np.where(spread, scale, 1.0), 0.0)
    *weights, intercept = newton(standard[train], samples.label[train], [_STRENGTH])[0]
    score[present] = standard[present] @ np.array(weights) + intercept
    return score


def _score_test(
    score: Float[np.ndarray, " sample"],
    label: Int[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    stratum: Shaped[np.ndarray, " sample"] | None,
    *,
    known: Float[np.ndarray, " sample"] | None,
) -> float | None:
    """One-sided p-value of a score in a model of the label; None where too few degrees of freedom are left."""
    beside = np.empty((len(label), 0)) if known is None else known[:, None]
    coefficients = newton(beside, label, [1e3])[0]
    design = np.column_stack([beside, np.ones(len(label))])
    probability = 1 / (1 + np.exp(-design @ coefficients))
    weight = probability * (1 - probability)
    root = np.sqrt(weight)[:, None]
    left = score - design @ np.linalg.lstsq(root * design, root[:, 0] * score, rcond=None)[0]
    residual = label - probability
    n_nuisance = design.shape[1]
    if stratum is not None:
        for name in np.unique(stratum):
            here = stratum == name
            mixed = len(np.unique(label[here])) == 2
            n_nuisance += int(mixed)
            left[here] = left[here] - left[here].mean() if mixed else 0.0
            residual[here] -= residual[here].mean()
        n_nuisance -= 1
    each = (left * residual)[None]
    contributions = group_contributions(each, group)[0]
    n_groups = int(np.count_nonzero(group_sums(np.abs(each), group)))
    degrees = n_groups - n_nuisance
    if float(np.abs(contributions).max(initial=0.0)) <= 1e-12 * max(float(np.abs(score).max()), 1.0):
        return 1.0
    if degrees < _FEWEST_DEGREES:
        return None
    variance = n_groups / degrees * float(contributions @ contributions)
    return float(stats.t.sf(contributions.sum() / np.sqrt(variance), degrees))
