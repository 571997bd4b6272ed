"""What detectors, the forest on rows and single heads show, in the form that verdicts are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from foretell.schema.study_tables import LEAK
from foretell.stats.auc.intervals import Estimate
from foretell.stats.auc.within_strata import NO_STRATUM, NO_STRATUM_WITH_BOTH
from foretell.stats.detectors.detector import Detector
from foretell.stats.forest.random_forest import ForestResult, Protocol
from foretell.stats.verdicts.rules import Evidence, Sizes, span

__all__ = ["FAMILY", "FOREST", "detector_evidence", "family_evidence", "forest_evidence", "undefined_evidence"]

FOREST = "forest on rows"
FAMILY = "any single head"

_NO_INCREMENT = Estimate(
    None, None, None, 0.95, 0, 0, "none", reason="of single heads there is a permutation p-value instead"
)
_KINDS = {
    "all heads": "a linear detector on all heads",
    "best single head": "the head that is best on training groups",
    "mean over heads": "a linear detector on the mean over heads",
}


def detector_evidence(detector: Detector, *, n_positive: int, n_negative: int, has_strata: bool) -> Evidence:
    """Return what a detector with one score per sample shows.

    Args:
        detector: From `judge_detectors`.
        n_positive: Groups with label 1 that can be compared with some of label 0.
        n_negative: Groups with label 0.
        has_strata: Whether samples are compared within strata.
    """
    return Evidence(
        signal=detector.name,
        sizes=Sizes(n_positive, n_negative, detector.heldout.n_folds, max(detector.heldout.n_repeats, 1)),
        auc=detector.auc,
        within=detector.within_strata if has_strata else None,
        increment=detector.increment,
        p=detector.evidence.p_above,
        kind=_KINDS.get(detector.name, detector.name),
        reason=detector.reason or detector.evidence.reason,
    )


def undefined_evidence(signal: str, reason: str, *, n_positive: int, n_negative: int) -> Evidence:
    """Return that a signal is undefined, and why."""
    nothing = Estimate(None, None, None, 0.95, 0, n_positive + n_negative, "none", reason=reason)
    return Evidence(signal, Sizes(n_positive, n_negative), nothing, None, nothing, None, reason=reason)


def forest_evidence(
    results: Mapping[Protocol, ForestResult],
    evidence: Estimate,
    *,
    n_positive: int,
    n_negative: int,
    has_strata: bool,
    has_baselines: bool,
) -> Evidence:
    """Return what the forest on rows shows.

    It leaks where the AUC of the row split is above that of whole held-out groups by `LEAK` or more, while the placebo,
    whose labels were dealt anew, has an AUC of 0.5 + `LEAK` or more with an interval above one half.

    Args:
        results: Results by protocol; `grouped` must be present.
        evidence: From `forest_increment`.
        n_positive: Groups with label 1 that can be compared with some of label 0.
        n_negative: Groups with label 0.
        has_strata: Whether samples are compared within strata.
        has_baselines: Whether `evidence` is an increment over baselines.
    """
    grouped, rows, placebo = results["grouped"], results.get("rows"), results.get("placebo")
    leak, numbers = None, ""
    if rows is not None and placebo is not None and rows.auc.estimate is not None and grouped.auc.estimate is not None:
        gap = rows.auc.estimate - grouped.auc.estimate
        numbers = f"{span(rows.auc, 'AUC with a random split of rows')}, {span(placebo.auc, 'with placebo labels')}"
        recognises = placebo.auc.estimate is not None and placebo.auc.estimate >= 0.5 + LEAK
        if recognises and placebo.auc.lower is not None and placebo.auc.lower > 0.5 and gap >= LEAK:
            leak = f"a random split of rows gains {gap:.2f} of AUC by recognising samples, not the behaviour"
    repeats = max(len(np.unique(grouped.repeat)), 1)
    # All rows that one forest scored are of one stratum where there is only one.
    within = grouped.auc if grouped.within.reason == NO_STRATUM else grouped.within
    return Evidence(
        signal=FOREST,
        sizes=Sizes(n_positive, n_negative, max(grouped.n_folds, 1), repeats),
        auc=grouped.auc,
        within=within if has_strata else None,
        increment=evidence if has_baselines else replace(_NO_INCREMENT, reason="the table has no baseline"),
        p=evidence.p_above,
        kind="a random forest on rows",
        numbers=numbers,
        leak=leak,
        reason=grouped.reason or grouped.auc.reason or evidence.reason,
        alternative="one row per sample with all heads as features keeps what rows average away",
    )


def family_evidence(
    best: Mapping[str, Any] | None,
    *,
    n_tests: int,
    n_positive: int,
    n_negative: int,
    has_strata: bool,
    has_baselines: bool,
    level: float = 0.95,
) -> Evidence:
    """Return what the strongest single head shows.

    The AUC of the best of many columns is optimistic; the detector "best single head" shows its held-out AUC.

    Args:
        best: The association row with the strongest evidence; None where no column has a p-value.
        n_tests: Number of columns tested.
        n_positive: Groups with label 1 that can be compared with some of label 0.
        n_negative: Groups with label 0.
        has_strata: Whether labels were permuted within strata.
        has_baselines: Whether what the baselines explain of the label was taken out.
        level: Coverage of the intervals in `best`.
    """
    n_groups = n_positive + n_negative
    sizes = Sizes(n_positive, n_negative, n_columns=max(n_tests, 1))
    if best is None or best["auc"] is None or best["p_max"] is None:
        reason = "no column has a p-value" if best is None else best.get("reason") or "no column has a p-value"
        undefined = Estimate(None, None, None, level, 0, n_groups, "association", reason=reason)
        return Evidence(FAMILY, sizes, undefined, None, _NO_INCREMENT, None, reason=reason)
    area = Estimate(best["auc"], best["auc_lower"], best["auc_upper"], level, int(best["n"]), n_groups, "association")
    within = None
    if has_strata:
        why = NO_STRATUM_WITH_BOTH if best["auc_within"] is None else None
        within = Estimate(best["auc_within"], None, None, level, int(best["n"]), n_groups, "association", reason=why)
    how = " within task types" * has_strata + " of what the baselines leave of the label" * has_baselines
    numbers = (
        f"layer {best['layer']} head {best['head']} {best['metric']} is the strongest of {n_tests} by a permutation"
        f"{how}: max-statistic p {best['p_max']:.2g}"
    )
    return Evidence(
        signal=FAMILY,
        sizes=sizes,
        auc=area,
        within=within,
        increment=_NO_INCREMENT,
        p=best["p_max"],
        kind="any single head",
        numbers=numbers,
        alternative="a detector on all heads can add up what single heads do not show",
    )
