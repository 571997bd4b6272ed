"""Verdicts from stated rules: signal, weak signal, no signal found, leak, or not enough data.

A signal is judged by what it adds to everything that is known without the model's internals, on held-out groups. All
signals of a study share one error rate. `why` names the number that made the rule apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foretell.stats.auc.intervals import Estimate
from foretell.stats.verdicts.error_rate import adjusted
from foretell.stats.verdicts.minimal_auc import POWER, minimal_auc

__all__ = ["FEWEST_GROUPS", "WEAK_BELOW", "Evidence", "Sizes", "Verdict", "VerdictName", "span", "usable_p", "verdicts"]

VerdictName = Literal["signal", "weak signal", "no signal found", "leak", "not enough data"]

FEWEST_GROUPS = 10
"""Minimal number of groups per label for any verdict but *not enough data*."""

_ROUGH_BELOW = 20
"""Groups of a label below which intervals of increments may cover less than 92 %; see
docs/concepts/held-out-intervals.md."""

WEAK_BELOW = 0.6
"""A held-out AUC below this is called weak even where the increment is significant."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one signal in one dataset."""

    signal: str
    verdict: VerdictName
    why: str
    """The rule that applied, with its numbers."""
    auc: Estimate | None
    """On held-out groups, within strata where there are strata."""
    increment: Estimate
    """Over all baselines; undefined with a reason where the table has none."""
    p_adjusted: float | None
    """Of the increment, adjusted for all signals of the study."""
    minimal_auc: float | None
    """Minimum detectable AUC with this sample (80 % power); None where not even an AUC of 1 is detectable."""


@dataclass(frozen=True)
class Sizes:
    """The amount of data behind a verdict."""

    n_positive: int
    """Independent groups with label 1 that can be compared with some of label 0."""
    n_negative: int
    n_folds: int = 1
    n_repeats: int = 1
    n_columns: int = 1
    """Columns among which one was chosen without being held out."""

    def minimal_auc(self, error_rate: float, n_signals: int) -> float | None:
        """Return the minimum detectable AUC of one of several signals."""
        return minimal_auc(
            self.n_positive,
            self.n_negative,
            level=1 - 2 * error_rate,
            n_tests=n_signals * self.n_columns,
            n_folds=self.n_folds,
            n_repeats=self.n_repeats,
        )

    @property
    def reason(self) -> str | None:
        """Why there are too few groups, or None."""
        if min(self.n_positive, self.n_negative) >= FEWEST_GROUPS:
            return None
        groups = f"{self.n_positive} groups have label 1 and {self.n_negative} label 0"
        return f"{groups} (of what can be compared); each needs {FEWEST_GROUPS}"


@dataclass(frozen=True)
class Evidence:
    """What is known of one signal in one dataset."""

    signal: str
    sizes: Sizes
    auc: Estimate
    """On held-out groups."""
    within: Estimate | None
    """AUC within strata; None where there are no strata."""
    increment: Estimate
    """AUC of baselines and signal minus that of the baselines; undefined where the table has no baseline."""
    p: float | None
    """One-sided p-value of the signal adding something to the baselines; None where it is undefined."""
    kind: str = "a linear detector on these features"
    """Of what detector a null result is said."""
    numbers: str = ""
    """Further numbers for the sentence."""
    leak: str | None = None
    """Why the signal recognises samples instead of behaviour; None where it does not."""
    in_words: str | None = None
    """Why the words of the answers it was read from tell the label by themselves; None where they do not."""
    reason: str | None = None
    """Why there is no result."""
    alternative: str = "other features or a non-linear estimator could still find one"
    """What else could be tried after a null result."""


def span(one: Estimate, name: str) -> str:
    """Return an estimate with its interval, in words; another level than 95 % is named."""
    if one.estimate is None:
        return f"{name} undefined"
    if one.lower is None or one.upper is None:
        return f"{name} {one.estimate:.2f}"
    level = "" if one.level == 0.95 else f", {100 * one.level:g} % interval"
    return f"{name} {one.estimate:.2f} ({one.lower:.2f} to {one.upper:.2f}{level})"


def verdicts(evidence: Mapping[str, Sequence[Evidence]], *, error_rate: float = 0.05) -> dict[str, list[Verdict]]:
    """Return verdicts by dataset; the p-values of all signals of all datasets are adjusted together.

    Rules, the first that applies:

    1. *not enough data*: it has no result, or a label has fewer than 10 groups that can be compared, within strata
       where there are strata;
    2. *signal*: the adjusted p-value of its increment is at most `error_rate`, its AUC, also within strata, is at least
       0.6, and the words of the answers that it was read from do not tell the label by themselves; *weak signal*: the
       AUC is lower;
    3. *leak*: a random split of rows has a higher AUC than whole held-out groups, by 0.05 or more, and so has the
       placebo (forest on rows only);
    4. *no signal found*.

    Args:
        evidence: By dataset.
        error_rate: Share of studies of noise that say *signal* or *weak signal* anywhere.

    Source:
        `foretell.stats.verdicts.error_rate.adjusted`.
    """
    flat = [(dataset, one) for dataset, several in evidence.items() for one in several]
    together = adjusted(np.array([usable_p(one) for _, one in flat], dtype=np.float64))
    n_signals = max(int(np.isfinite(together).sum()), 1)
    found: dict[str, list[Verdict]] = {dataset: [] for dataset in evidence}
    for (dataset, one), value in zip(flat, together, strict=True):
        p = None if np.isnan(value) else float(value)
        found[dataset].append(_verdict(one, p, error_rate, n_signals))
    return found


def usable_p(one: Evidence) -> float:
    """Return the p-value of a signal; nan where there are too few data, so that it takes no part in the adjustment."""
    return one.p if _too_few(one) is None and one.p is not None else float("nan")


def _too_few(one: Evidence) -> str | None:
    if one.reason is not None:
        return one.reason
    if one.sizes.reason is None and one.auc.estimate is None:
        return one.auc.reason
    if one.sizes.reason is None and one.within is not None and one.within.estimate is None:
        return f"within task types: {one.within.reason}"
    return one.sizes.reason


def _verdict(one: Evidence, p: float | None, error_rate: float, n_signals: int) -> Verdict:
    smallest = one.sizes.minimal_auc(error_rate, n_signals)
    area = one.auc if one.within is None else one.within

    def say(verdict: VerdictName, why: str) -> Verdict:
        return Verdict(one.signal, verdict, why, area, one.increment, p, smallest)

    reason = _too_few(one)
    if reason is None and p is None:
        reason = "the increment has no interval"
    if reason is not None or p is None:
        return Verdict(one.signal, "not enough data", str(reason), None, one.increment, None, smallest)
    numbers = _numbers(one)
    chance = f"adjusted p {p:.2g}"
    if p <= error_rate and one.in_words is None:
        if _reach(one) < WEAK_BELOW:
            return say("weak signal", f"{numbers}, {chance}: significant, but its AUC is below {WEAK_BELOW}")
        return say("signal", f"{numbers}, {chance}")
    if one.leak is not None:
        return say("leak", f"{one.leak}; {numbers}, {chance}")
    if one.in_words is not None:
        return say("no signal found", f"{numbers}, {chance}, of whole answers: {one.in_words}")
    return say("no signal found", f"{numbers}, {chance}{_meaning(one)}; {_detectable(smallest)} of {one.kind}")


def _reach(one: Evidence) -> float:
    """Return the lower of the AUC and that within strata."""
    return min(_sided(one, value.estimate) for value in (one.auc, one.within) if value and value.estimate is not None)


def _sided(one: Evidence, area: float) -> float:
    """Return an AUC in the direction of the signal: single heads have either, a fitted detector has one."""
    return max(area, 1 - area) if one.sizes.n_columns > 1 else area


def _numbers(one: Evidence) -> str:
    parts = [span(one.auc, "held-out AUC" if one.sizes.n_columns == 1 else "AUC")]
    if one.within is not None:
        parts.append(span(one.within, "within task types"))
    if one.increment.estimate is not None:
        rough = ", its interval rough" if min(one.sizes.n_positive, one.sizes.n_negative) < _ROUGH_BELOW else ""
        parts.append(span(one.increment, "increment over all baselines") + rough)
    return ", ".join([*parts, *([one.numbers] if one.numbers else [])])


def _meaning(one: Evidence) -> str:
    """Return what a null result means where the AUC by itself is above one half."""
    if one.within is not None and _above(one, one.auc) and not _above(one, one.within):
        return f": confounded by task type: within one type its AUC is {one.within.estimate:.2f}"
    if one.increment.estimate is not None and _above(one, one.auc):
        return ": put together with the baselines it adds nothing that is significant"
    return f": {one.alternative}"


def _above(one: Evidence, area: Estimate) -> bool:
    """Tell whether the interval of an AUC is on the signal's side of one half; without one, whether it is not weak."""
    if area.lower is None or area.upper is None:
        return area.estimate is not None and _sided(one, area.estimate) >= WEAK_BELOW
    return area.lower > 0.5 or (one.sizes.n_columns > 1 and area.upper < 0.5)


def _detectable(smallest: float | None) -> str:
    if smallest is None:
        return f"not even an AUC of 1 is detectable with this sample ({100 * POWER:.0f} % power)"
    return f"minimum detectable AUC with this sample: {smallest:.2f} ({100 * POWER:.0f} % power)"
