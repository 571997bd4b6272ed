"""Whether a false-positive rate keeps to what a monitor states, for several shifts together.

[found] = rate_verdicts([(1, 60)], max_false_positive_rate=0.1, confidence=0.95)
found.verdict       # "holds"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

from foretell.stats.verdicts.error_rate import holm

__all__ = ["BREAKS", "CANNOT_SAY", "HOLDS", "RateVerdict", "adjusted_p_values", "rate_verdicts"]

HOLDS, BREAKS, CANNOT_SAY = "holds", "breaks", "cannot say yet"
_MOST_MORE = 100_000
"""Groups beyond which a verdict is called out of reach."""


@dataclass(frozen=True)
class RateVerdict:
    """What is known of the rate under one shift."""

    verdict: str
    p_holds: float
    """Holm-adjusted p-value against a rate above the stated one: small is evidence that the guarantee holds."""
    p_breaks: float
    """Holm-adjusted p-value against a rate of at most the stated one: small is evidence that it breaks."""
    n_more_needed: int | None
    """Groups until the verdict falls; 0 with a verdict, None where it is out of reach."""


def rate_verdicts(
    counts: Sequence[tuple[int, int]], *, max_false_positive_rate: float, confidence: float
) -> list[RateVerdict]:
    """Return a verdict per shift, at the confidence of the monitor's guarantee.

    * *holds*: that the rate is above the stated one is rejected. For a single shift this is the rule by which the
      threshold was found: the exact upper bound at the confidence is within the rate.
    * *breaks*: that the rate is at most the stated one is rejected.
    * *cannot say yet*: neither.

    The chance that any shift is said to hold although it breaks is at most 1 - confidence, and so is the chance that
    any is said to break although it holds: each of the two kinds of p-value is adjusted by Holm's method, which needs
    no assumption on how the shifts depend on each other.

    How many more groups are needed: the fewest with which the verdict falls, for this shift beside as many as now, if
    later groups alarm as often as those so far (rounded against the verdict; none so far: never). Where the rate is so
    near the stated one that 100,000 do not suffice, None.

    Args:
        counts: Groups with a false alarm, and all groups with label 0, by shift.
        max_false_positive_rate: The stated rate.
        confidence: That of the guarantee.

    Source:
        Clopper and Pearson (1934) for one shift; Holm (1979), Scandinavian Journal of Statistics 6.

    Example:
        >>> found = rate_verdicts([(0, 40), (12, 40), (0, 20)], max_false_positive_rate=0.1, confidence=0.9)
        >>> [one.verdict for one in found], found[2].n_more_needed
        (['holds', 'breaks', 'cannot say yet'], 13)
    """
    p_holds, p_breaks = adjusted_p_values(counts, max_false_positive_rate)
    error = 1 - confidence
    # An upper bound that is the rate itself is within it, as for the threshold.
    most = error * (1 + 1e-9)
    found = []
    for (k, size), held, broken in zip(counts, p_holds, p_breaks, strict=True):
        verdict = HOLDS if held <= most else BREAKS if broken <= most else CANNOT_SAY
        more: int | None = 0
        if verdict == CANNOT_SAY:
            more = _more_needed(k, size, max_false_positive_rate, error / len(counts))
        found.append(RateVerdict(verdict, float(held), float(broken), more))
    return found


def adjusted_p_values(counts: Sequence[tuple[int, int]], rate: float) -> Float[np.ndarray, "2 shift"]:
    """Return the p-values against a rate above the stated one, and against one within it, adjusted for all shifts."""
    alarms, n = np.array(counts, dtype=np.int64).reshape(-1, 2).T
    p_values = (binom.cdf(alarms, n, rate), binom.sf(alarms - 1, n, rate))
    return np.stack([holm(np.asarray(one)) for one in p_values])


def _more_needed(alarms: int, n: int, rate: float, error: float) -> int | None:
    share = alarms / n if n else 0.0
    first, size = 1, 256
    while first <= _MOST_MORE:
        more = np.arange(first, first + size)
        if share <= rate:
            p_value = binom.cdf(np.ceil(alarms + more * share - 1e-9), n + more, rate)
        else:
            p_value = binom.sf(np.floor(alarms + more * share + 1e-9) - 1, n + more, rate)
        is_enough = np.asarray(p_value <= error * (1 + 1e-9))
        if is_enough.any():
            found = int(more[np.argmax(is_enough)])
            return found if found <= _MOST_MORE else None
        first, size = first + size, 2 * size
    return None
