"""Verdicts from stated rules: signal, weak signal, no signal found, leak, or not enough data.

verdict = detector_verdict(found, n_positive=40, n_negative=60)
verdict.verdict, verdict.why

A verdict rests on held-out groups only. Every rule is written out in the docstring of its function, and `why` carries
the numbers that made it fire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri

from foretell.stats.auc.fold_auc import shared_fits
from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.detector import Detector
from foretell.stats.forest.random_forest import ForestResult, Protocol

__all__ = [
    "FEWEST_GROUPS",
    "NEGLIGIBLE_BELOW",
    "WEAK_BELOW",
    "Verdict",
    "VerdictName",
    "detector_verdict",
    "family_verdict",
    "forest_verdict",
    "minimal_auc",
]

VerdictName = Literal["signal", "weak signal", "no signal found", "leak", "not enough data"]

FEWEST_GROUPS = 10
"""Groups that each label needs before anything is said."""

WEAK_BELOW = 0.6
"""A held-out AUC below this is called weak even where its interval excludes one half."""


NEGLIGIBLE_BELOW = 0.52
"""An AUC below this is no signal, even where many rows make its interval exclude one half."""

_KIND_TOLD = "it told the kind of task, not the behaviour"


@dataclass(frozen=True)
class Verdict:
    """What the numbers allow to say about one signal in one dataset."""

    signal: str
    verdict: VerdictName
    why: str
    """The rule that fired, with its numbers."""
    auc: Estimate | None
    minimal_auc: float | None
    """Smallest true AUC that as many samples would have shown; None where even an AUC of 1 would not."""


def minimal_auc(
    n_positive: int,
    n_negative: int,
    *,
    level: float = 0.95,
    power: float = 0.8,
    n_tests: int = 1,
    n_folds: int = 1,
    n_repeats: int = 1,
) -> float | None:
    """Smallest true AUC whose interval would exclude one half with the given power.

    It is 0.5 + (z(1 - (1 - level) / (2 n_tests)) + z(power)) s, where s is the standard error of the AUC if score and
    label are independent: s squared = (n_positive + n_negative + n_folds) / (12 n_positive n_negative), because pairs
    are compared within a fold. With two or more folds it is multiplied by `shared_fits`, as the interval is.

    Args:
        n_positive: Independent groups with label 1.
        n_negative: Independent groups with label 0.
        level: Coverage of the interval.
        power: Chance to find it.
        n_tests: Scores that are looked at together, each held to the stricter level (Bonferroni).
        n_folds: Folds in which scores were held out; 1 where nothing was learnt.
        n_repeats: Repeats of the folds.

    Undefined:
        None where a class is missing, or where the formula gives more than 1.

    Source:
        Null variance of the Mann-Whitney statistic (Mann and Whitney 1947), of folds of one size.

    Example:
        >>> round(minimal_auc(50, 50), 3), round(minimal_auc(50, 50, n_folds=5, n_repeats=5), 3)
        (0.663, 0.7)
    """
    if not n_positive or not n_negative:
        return None
    variance = (n_positive + n_negative + n_folds) / (12.0 * n_positive * n_negative)
    variance *= shared_fits(n_folds, n_repeats)
    z = float(ndtri(1 - (1 - level) / (2 * n_tests)) + ndtri(power))
    smallest = 0.5 + z * float(np.sqrt(variance))
    return smallest if smallest <= 1 else None


def _span(one: Estimate, name: str = "AUC") -> str:
    if one.estimate is None:
        return f"{name} undefined"
    if one.lower is None or one.upper is None:
        return f"{name} {one.estimate:.2f}"
    return f"{name} {one.estimate:.2f} ({one.lower:.2f} to {one.upper:.2f})"


def _above(one: Estimate, bar: float) -> bool:
    return one.lower is not None and one.lower > bar


def _negligible(one: Estimate) -> bool:
    return one.estimate is not None and one.estimate < NEGLIGIBLE_BELOW


@dataclass(frozen=True)
class _Data:
    """How much a verdict rests on."""

    n_positive: int
    n_negative: int
    level: float
    n_folds: int = 1
    n_repeats: int = 1

    @property
    def minimal_auc(self) -> float | None:
        """Smallest true AUC that would have been found."""
        sizes, folds = (self.n_positive, self.n_negative), {"n_folds": self.n_folds, "n_repeats": self.n_repeats}
        return minimal_auc(*sizes, level=self.level, **folds)

    @property
    def power(self) -> str:
        """What could have gone unseen, in words."""
        if self.minimal_auc is None:
            return "so few samples could not have shown even an AUC of 1"
        return f"a true AUC below {self.minimal_auc:.2f} could have gone unseen with so few samples"

    def too_few(self, signal: str, reason: str | None) -> Verdict | None:
        """Return the verdict for what cannot be judged, or None."""
        if reason is None and min(self.n_positive, self.n_negative) < FEWEST_GROUPS:
            groups = f"{self.n_positive} groups have label 1 and {self.n_negative} label 0"
            reason = f"{groups}; each needs {FEWEST_GROUPS}"
        return None if reason is None else Verdict(signal, "not enough data", reason, None, self.minimal_auc)


def _too_few(signal: str, n_positive: int, n_negative: int, reason: str | None, level: float) -> Verdict | None:
    """Return the verdict for what was not held out and cannot be judged, or None."""
    return _Data(n_positive, n_negative, level).too_few(signal, reason)


def detector_verdict(detector: Detector, *, n_positive: int, n_negative: int) -> Verdict:
    """Verdict on a detector with one score per sample.

    Rules, the first that fits:

    1. *not enough data*: it has no scores, or a label has fewer than 10 groups;
    2. *no signal found*: the interval of its held-out AUC reaches one half, or the AUC is below 0.52;
    3. *no signal found*: the interval excludes one half, that of the AUC within strata does not, and the AUC within
       strata is below 0.6: it told the kind of task, not the behaviour; *weak signal* if it is 0.6 or more;
    4. *weak signal*: the increment over all baselines together does not exceed 0 with its interval: it says no more
       than what can be known without looking inside;
    5. *weak signal*: the held-out AUC, or that within strata, is below 0.6;
    6. *signal*.

    Args:
        detector: From `judge_detectors`.
        n_positive: Groups with label 1.
        n_negative: Groups with label 0.
    """
    area, within, gain = detector.auc, detector.within_strata, detector.increment_over_all
    folds = (detector.heldout.n_folds, max(detector.heldout.n_repeats, 1))
    data = _Data(n_positive, n_negative, area.level, *folds)
    few = data.too_few(detector.name, detector.reason)
    if few is not None:
        return few

    def say(verdict: VerdictName, why: str) -> Verdict:
        return Verdict(detector.name, verdict, why, area, data.minimal_auc)

    told = f"held-out {_span(area)}"
    if not _above(area, 0.5):
        return say("no signal found", f"{told} does not exceed 0.5; {data.power}")
    if _negligible(area):
        return say("no signal found", f"{told} exceeds 0.5 by next to nothing")
    if within.estimate is not None:
        told += f", within one kind of task {_span(within)}"
        if not _above(within, 0.5):
            if within.estimate < WEAK_BELOW:
                return say("no signal found", f"{told}: {_KIND_TOLD}")
            return say("weak signal", f"{told}, which does not exceed 0.5 for certain: perhaps {_KIND_TOLD}")
    return say(*_compared(told, area, within, gain))


def _compared(told: str, area: Estimate, within: Estimate, gain: Estimate) -> tuple[VerdictName, str]:
    """Return what is left to say once a detector's AUC exceeds one half, also within strata: rules 4 to 6."""
    if gain.estimate is None:
        told += "; the table has no baseline to compare it with"
    else:
        told += f"; {_span(gain, 'increment over all baselines')}"
        if not _above(gain, 0.0):
            return "weak signal", f"{told}: no more than what is known without looking inside"
    lowest = min(one.estimate for one in (area, within) if one.estimate is not None)
    if lowest < WEAK_BELOW:
        return "weak signal", f"{told}: above 0.5, but below {WEAK_BELOW}"
    return "signal", told


def forest_verdict(results: Mapping[Protocol, ForestResult], *, n_positive: int, n_negative: int) -> Verdict:
    """Verdict on the forest on rows.

    Rules, the first that fits:

    1. *not enough data*: the grouped protocol has no scores, or a label has fewer than 10 groups;
    2. *no signal found*: the interval of the grouped AUC lies above one half and the AUC is at least 0.52, but the
       interval of the grouped AUC within strata reaches one half and that AUC is below 0.6: it told the kind of task,
       not the behaviour; *weak signal* if it is 0.6 or more;
    3. *signal*: the interval of the grouped AUC lies above one half and the AUC, also within strata, is at least 0.6
       (*weak signal* at least 0.52);
    4. *leak*: none of these holds, while the intervals of the row split and of the placebo, whose labels were dealt
       anew to the samples, lie above one half: the forest recognises samples;
    5. *no signal found*.

    Args:
        results: Results by protocol; `grouped` must be there.
        n_positive: Groups with label 1.
        n_negative: Groups with label 0.
    """
    signal = "forest on rows"
    grouped, rows, placebo = results["grouped"], results.get("rows"), results.get("placebo")
    repeats = max(len(np.unique(grouped.repeat)), 1)
    data = _Data(n_positive, n_negative, grouped.auc.level, grouped.n_folds, repeats)
    few = data.too_few(signal, grouped.reason or grouped.auc.reason)
    if few is not None:
        return few

    def say(verdict: VerdictName, why: str) -> Verdict:
        return Verdict(signal, verdict, why, grouped.auc, data.minimal_auc)

    told = f"{_span(grouped.auc)} on held-out groups"
    within = grouped.within
    if within.estimate is not None:
        told += f", within one kind of task {_span(within)}"
    leaks = False
    if rows is not None and placebo is not None and rows.auc.estimate is not None:
        told += f", {_span(rows.auc)} with rows split at random, {_span(placebo.auc)} with placebo labels"
        leaks = _above(rows.auc, 0.5) and _above(placebo.auc, 0.5)
    if _above(grouped.auc, 0.5) and not _negligible(grouped.auc):
        lowest = min(one.estimate for one in (grouped.auc, within) if one.estimate is not None)
        if within.estimate is not None and not _above(within, 0.5):
            if within.estimate < WEAK_BELOW:
                return say("no signal found", f"{told}: {_KIND_TOLD}")
            return say("weak signal", f"{told}: perhaps {_KIND_TOLD}")
        told += ": part of what the row split shows is recognition of samples" if leaks else ""
        return say("weak signal" if lowest < WEAK_BELOW else "signal", told)
    if leaks:
        return say("leak", f"{told}: the row split recognises samples, it does not foretell the label")
    return say("no signal found", f"{told}; {data.power}")


def family_verdict(
    best: Mapping[str, Any] | None,
    *,
    n_tests: int,
    n_positive: int,
    n_negative: int,
    within_strata: bool = False,
    level: float = 0.95,
) -> Verdict:
    """Verdict on whether any single head and metric is associated with the label.

    Rules, the first that fits:

    1. *not enough data*: no column has a p-value, or a label has fewer than 10 groups;
    2. *signal*: the smallest max-statistic permutation p-value is at most 1 - level (*weak signal* if the AUC is within
       0.1 of one half);
    3. *weak signal*: only the smallest false discovery rate is at most 1 - level, and there are no strata: the false
       discovery rate does not know the kind of task, the permutations exchange labels within it;
    4. *no signal found*.

    The AUC of the best of many columns flatters it; the detector "best single head" shows what is left of it on
    held-out groups.

    Args:
        best: The association row with the smallest p_max, then q_value.
        n_tests: Columns looked at.
        n_positive: Groups with label 1.
        n_negative: Groups with label 0.
        within_strata: Whether labels were permuted within kinds of task.
        level: 1 minus the accepted chance of a false alarm.
    """
    signal = "any single head"
    reason = "no column has a p-value" if best is None or best["auc"] is None else None
    few = _too_few(signal, n_positive, n_negative, reason, level)
    if few is not None or best is None:
        return few or Verdict(signal, "not enough data", str(reason), None, None)
    smallest = minimal_auc(n_positive, n_negative, level=level, n_tests=n_tests)
    area = Estimate(
        best["auc"], best["auc_lower"], best["auc_upper"], level, int(best["n"]), n_positive + n_negative, "association"
    )
    p_max, q_value = best["p_max"], best["q_value"]
    told = (
        f"layer {best['layer']} head {best['head']} {best['metric']} is the best of {n_tests}: {_span(area)}, p "
        f"{_p(p_max)} against the best of as many with labels permuted{' within kinds of task' * within_strata}, false "
        f"discovery rate {_p(q_value)}"
    )
    if p_max is not None and p_max <= 1 - level:
        weak = abs(best["auc"] - 0.5) < WEAK_BELOW - 0.5
        return Verdict(signal, "weak signal" if weak else "signal", told, area, smallest)
    found_pooled = q_value is not None and q_value <= 1 - level
    if found_pooled and within_strata:
        told += ": heads tell the kind of task, within which none tells the label"
    elif found_pooled:
        return Verdict(signal, "weak signal", told, area, smallest)
    missed = "no AUC" if smallest is None else f"only an AUC from {smallest:.2f} on"
    return Verdict(signal, "no signal found", f"{told}; {missed} would have stood out among as many", area, smallest)


def _p(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"
