"""The difference of two detectors' held-out AUCs, each for the labels of its own side."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from foretell.stats.auc.fold_auc import auc_with_influence, nadeau_bengio_factor
from foretell.stats.auc.intervals import effective_groups
from foretell.stats.comparison.clustered_contrasts import Contrast
from foretell.stats.comparison.sides import Pair, Side
from foretell.stats.detectors.held_out_scores import HeldOutScores
from foretell.stats.folds import group_codes

__all__ = ["held_out_contrast"]


def held_out_contrast(pair: Pair, first: HeldOutScores, second: HeldOutScores) -> tuple[Contrast, str | None]:
    """Return the difference of two AUCs over pairs of one fold, and why it is undefined.

    Where both sides have strata, pairs of one stratum are compared, as in the verdicts of a study. The variance is
    corrected for overlapping training sets as in `foretell.stats.auc.fold_auc`. That of the difference between repeats
    of the folds is added, because both sides have chosen and fitted something, each on folds of its own.

    Args:
        pair: A data set.
        first: Scores of its first side.
        second: Scores of its second side.

    Undefined:
        nan where no fold of a side has both labels; the error is nan where a label has one group.
    """
    within = pair.first.stratum is not None and pair.second.stratum is not None
    sides = [
        _by_repeat(side, scores, codes, within=within)
        for side, scores, codes in zip((pair.first, pair.second), (first, second), pair.codes, strict=True)
    ]
    areas = [np.array([area for area, _ in one]) for one in sides]
    nothing, reason = np.zeros((1, pair.n_groups)), None
    sizes = [
        float(effective_groups(np.bincount(codes[side.label == label])))
        for side, codes in zip((pair.first, pair.second), pair.codes, strict=True)
        for label in (0, 1)
        if (side.label == label).any()
    ]
    if any(np.isnan(one).all() for one in areas) or len(sizes) < 4:
        reason = "no held-out fold of a side has both labels"
    first_auc, second_auc = (np.nan if reason else float(np.nanmean(one)) for one in areas)
    errors = [
        np.bincount(pair.codes[0], weights=left, minlength=pair.n_groups)
        - np.bincount(pair.codes[1], weights=right, minlength=pair.n_groups)
        for (_, left), (_, right) in zip(*sides, strict=False)
    ]
    inflation = max(nadeau_bengio_factor(one.n_folds, one.n_repeats) for one in (first, second))
    defined = bool(errors) and reason is None
    variance = inflation * float(np.mean([error @ error for error in errors])) if defined else np.nan
    changes = areas[0][: len(errors)] - areas[1][: len(errors)]
    if np.isfinite(changes).sum() > 1:
        variance += float(np.nanvar(changes, ddof=1))
    if variance == 0.0:
        # Of a difference that no sample contradicts it is that of independent scores; without one there is no interval.
        independent = inflation * (sum(sizes) + 2) / (12 * float(np.prod(sizes)) ** 0.5)
        variance = np.nan if first_auc == second_auc else independent
    degrees = max(min(sizes, default=2.0) - 1.0, 1.0)
    difference = np.array([first_auc - second_auc])
    error = np.sqrt(np.array([variance]))
    sides_auc = np.array([first_auc]), np.array([second_auc])
    return Contrast(*sides_auc, difference, difference, error, np.array([degrees]), nothing), reason


def _by_repeat(
    side: Side, scores: HeldOutScores, codes: Int[np.ndarray, " sample"], *, within: bool
) -> list[tuple[float, Float[np.ndarray, " sample"]]]:
    """Return the AUC of every repeat of the folds, and the influence of each sample on it."""
    strata = group_codes(side.stratum) if within and side.stratum is not None else np.zeros(len(codes), dtype=np.int64)
    label = side.label.astype(np.int64)
    found = []
    for score, fold in zip(scores.score, scores.fold, strict=True):
        one = auc_with_influence(score, label, within=fold * (int(strata.max(initial=0)) + 1) + strata, group=codes)
        found.append((one.auc, one.influence))
    return found
