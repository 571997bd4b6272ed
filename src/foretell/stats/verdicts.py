"""Verdicts from stated rules: signal, weak signal, no signal found, leak, or not enough data.

A verdict is based on held-out groups only. The docstring of each function states its rules, and `why` gives the numbers
of the rule that applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri

from foretell.stats.auc.fold_auc import nadeau_bengio_factor
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
"""Minimal number of groups per label for any verdict but *not enough data*."""

WEAK_BELOW = 0.6
"""A held-out AUC below this is called weak even where its interval excludes one half."""

NEGLIGIBLE_BELOW = 0.52
"""An AUC below this is not called a signal, even where its interval excludes one half."""

_POWER = 0.8


@dataclass(frozen=True)
class Verdict:
    """The verdict on one signal in one dataset."""

    signal: str
    verdict: VerdictName
    why: str
    """The rule that applied, with its numbers."""
    auc: Estimate | None
    minimal_auc: float | None
    """Minimum detectable AUC with this sample (80 % power); None where not even an AUC of 1 is detectable."""


def minimal_auc(
    n_positive: int,
    n_negative: int,
    *,
    level: float = 0.95,
    power: float = _POWER,
    n_tests: int = 1,
    n_folds: int = 1,
    n_repeats: int = 1,
) -> float | None:
    """Minimum detectable AUC: the smallest true AUC whose interval excludes one half with the given power.

    It is 0.5 + (z(1 - (1 - level) / (2 n_tests)) + z(power)) s, where s is the standard error of the AUC if score and
    label are independent: s squared = (n_positive + n_negative + n_folds) / (12 n_positive n_negative), because pairs
    are compared within a fold. With two or more folds it is multiplied by `nadeau_bengio_factor`, like the interval.

    Args:
        n_positive: Independent groups with label 1.
        n_negative: Independent groups with label 0.
        level: Coverage of the interval.
        power: Probability of detection.
        n_tests: Number of simultaneous tests (Bonferroni).
        n_folds: Folds of the cross-validation; 1 where nothing was fitted.
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
    variance *= nadeau_bengio_factor(n_folds, n_repeats)
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
    """The amount of data behind a verdict."""

    n_positive: int
    n_negative: int
    level: float
    n_folds: int = 1
    n_repeats: int = 1

    @property
    def minimal_auc(self) -> float | None:
        """Minimum detectable AUC."""
        sizes, folds = (self.n_positive, self.n_negative), {"n_folds": self.n_folds, "n_repeats": self.n_repeats}
        return minimal_auc(*sizes, level=self.level, **folds)

    @property
    def power(self) -> str:
        """The minimum detectable AUC, in words."""
        return _detectable(self.minimal_auc, "with this sample")

    def too_few(self, signal: str, reason: str | None) -> Verdict | None:
        """Return the verdict *not enough data* where it applies, or None."""
        if reason is None and min(self.n_positive, self.n_negative) < FEWEST_GROUPS:
            groups = f"{self.n_positive} groups have label 1 and {self.n_negative} label 0"
            reason = f"{groups}; each needs {FEWEST_GROUPS}"
        return None if reason is None else Verdict(signal, "not enough data", reason, None, self.minimal_auc)


def _detectable(smallest: float | None, given: str) -> str:
    if smallest is None:
        return f"not even an AUC of 1 is detectable {given} ({100 * _POWER:.0f} % power)"
    return f"minimum detectable AUC {given}: {smallest:.2f} ({100 * _POWER:.0f} % power)"


def _confounded(within: Estimate) -> str:
    return f"confounded by task type: within one type its AUC is {within.estimate:.2f}"


def detector_verdict(detector: Detector, *, n_positive: int, n_negative: int) -> Verdict:
    """Verdict on a detector with one score per sample.

    Rules, the first that applies:

    1. *not enough data*: it has no scores, or a label has fewer than 10 groups;
    2. *no signal found*: the interval of its held-out AUC includes one half, or the AUC is below 0.52;
    3. *no signal found*: the interval excludes one half, that of the AUC within strata does not, and the AUC within
       strata is below 0.6: it is confounded by task type; *weak signal* if the AUC within strata is 0.6 or more;
    4. *weak signal*: the interval of the increment over all baselines together includes 0: no improvement over the
       baselines is shown;
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

    why = f"held-out {_span(area)}"
    if not _above(area, 0.5):
        return say("no signal found", f"{why} is not significantly above 0.5; {data.power}")
    if _negligible(area):
        return say("no signal found", f"{why} is above 0.5 by a negligible amount")
    if within.estimate is not None:
        why += f", within task types {_span(within)}"
        if not _above(within, 0.5):
            if within.estimate < WEAK_BELOW:
                return say("no signal found", f"{why}: {_confounded(within)}")
            return say("weak signal", f"{why}, not significantly above 0.5: possibly {_confounded(within)}")
    return say(*_against_baselines(why, area, within, gain))


def _against_baselines(why: str, area: Estimate, within: Estimate, gain: Estimate) -> tuple[VerdictName, str]:
    """Return verdict and reason of a detector whose AUC exceeds one half, also within strata: rules 4 to 6."""
    if gain.estimate is None:
        why += "; the table has no baseline to compare with"
    else:
        why += f"; {_span(gain, 'increment over all baselines')}"
        if not _above(gain, 0.0):
            return "weak signal", f"{why}: no improvement over the baselines is shown"
    lowest = min(one.estimate for one in (area, within) if one.estimate is not None)
    if lowest < WEAK_BELOW:
        return "weak signal", f"{why}: above 0.5, but below {WEAK_BELOW}"
    return "signal", why


def forest_verdict(results: Mapping[Protocol, ForestResult], *, n_positive: int, n_negative: int) -> Verdict:
    """Verdict on the forest on rows.

    Rules, the first that applies:

    1. *not enough data*: the grouped protocol has no scores, or a label has fewer than 10 groups;
    2. *no signal found*: the interval of the grouped AUC is above one half and the AUC is at least 0.52, but the
       interval of the grouped AUC within strata includes one half and that AUC is below 0.6: it is confounded by task
       type; *weak signal* if the AUC within strata is 0.6 or more;
    3. *signal*: the interval of the grouped AUC is above one half and the AUC, also within strata, is at least 0.6
       (*weak signal* at least 0.52);
    4. *leak*: none of these holds, while the intervals of the row split and of the placebo, whose labels were permuted
       between samples, are above one half: the forest recognises samples;
    5. *no signal found*.

    Args:
        results: Results by protocol; `grouped` must be present.
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

    why = f"{_span(grouped.auc)} on held-out groups"
    within = grouped.within
    if within.estimate is not None:
        why += f", within task types {_span(within)}"
    leaks = False
    if rows is not None and placebo is not None and rows.auc.estimate is not None:
        why += f", {_span(rows.auc)} with a random split of rows, {_span(placebo.auc)} with placebo labels"
        leaks = _above(rows.auc, 0.5) and _above(placebo.auc, 0.5)
    if _above(grouped.auc, 0.5) and not _negligible(grouped.auc):
        lowest = min(one.estimate for one in (grouped.auc, within) if one.estimate is not None)
        if within.estimate is not None and not _above(within, 0.5):
            if within.estimate < WEAK_BELOW:
                return say("no signal found", f"{why}: {_confounded(within)}")
            return say("weak signal", f"{why}: possibly {_confounded(within)}")
        why += ": the AUC of the row split is inflated by leakage" if leaks else ""
        return say("weak signal" if lowest < WEAK_BELOW else "signal", why)
    if leaks:
        return say("leak", f"{why}: with a random split of rows the forest recognises samples, not the behaviour")
    return say("no signal found", f"{why}; {data.power}")


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

    Rules, the first that applies:

    1. *not enough data*: no column has a p-value, or a label has fewer than 10 groups;
    2. *signal*: the smallest max-statistic permutation p-value is at most 1 - level (*weak signal* if the AUC is within
       0.1 of one half);
    3. *weak signal*: only the smallest false discovery rate is at most 1 - level, and there are no strata: the false
       discovery rate ignores task types, while labels are permuted within them;
    4. *no signal found*.

    The AUC of the best of many columns is optimistic; the detector "best single head" shows its held-out AUC.

    Args:
        best: The association row with the smallest p_max, then q_value.
        n_tests: Number of columns tested.
        n_positive: Groups with label 1.
        n_negative: Groups with label 0.
        within_strata: Whether labels were permuted within task types.
        level: 1 minus the accepted false-positive rate.
    """
    signal = "any single head"
    reason = "no column has a p-value" if best is None or best["auc"] is None else None
    few = _Data(n_positive, n_negative, level).too_few(signal, reason)
    if few is not None or best is None:
        return few or Verdict(signal, "not enough data", str(reason), None, None)
    smallest = minimal_auc(n_positive, n_negative, level=level, n_tests=n_tests)
    area = Estimate(
        best["auc"], best["auc_lower"], best["auc_upper"], level, int(best["n"]), n_positive + n_negative, "association"
    )
    p_max, q_value = best["p_max"], best["q_value"]
    why = (
        f"layer {best['layer']} head {best['head']} {best['metric']} is the strongest of {n_tests}: {_span(area)}, "
        f"max-statistic p {_p(p_max)}{' (labels permuted within task types)' * within_strata}, "
        f"false discovery rate {_p(q_value)}"
    )
    if p_max is not None and p_max <= 1 - level:
        weak = abs(best["auc"] - 0.5) < WEAK_BELOW - 0.5
        return Verdict(signal, "weak signal" if weak else "signal", why, area, smallest)
    found_pooled = q_value is not None and q_value <= 1 - level
    if found_pooled and within_strata:
        why += ": confounded by task type: no head is associated with the label within types"
    elif found_pooled:
        return Verdict(signal, "weak signal", why, area, smallest)
    why += f"; {_detectable(smallest, f'among {n_tests} tests')}"
    return Verdict(signal, "no signal found", why, area, smallest)


def _p(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"
