"""A threshold whose false-alarm rate on new groups is bounded with a stated confidence.

The claim, exactly: let groups be drawn independently from one population. With probability of at least `confidence`
over the draw of the calibration groups, a new group with samples of label 0 has an alarm on any of them, at any moment
that is scored, with a probability of at most `max_false_positive_rate`. It needs no model of the scores and holds for
any number of groups and any ties. A negative sample chosen at random from a random group alarms no more often than
that. It says nothing of groups from another population, of other moments, or of scores that were fitted on the
calibration groups.

    found = alarm_threshold(highest, max_false_positive_rate=0.01, confidence=0.95)
    found.score         # alarm: score > this
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import betaincinv

from foretell.errors import InputError

__all__ = [
    "Threshold",
    "alarm_threshold",
    "allowed_alarms",
    "check_rate",
    "highest_by_group",
    "negatives_needed",
    "upper_bound",
]


@dataclass(frozen=True)
class Threshold:
    """What is known of a threshold from groups that had no part in the scores."""

    score: float | None
    """An alarm is a score above it; None where there is no such threshold."""
    reason: str | None
    """Why there is none."""
    max_false_positive_rate: float
    confidence: float
    n_negative_groups: int
    """Calibration groups with a sample of label 0."""
    n_needed: int
    """The fewest of them with which any threshold can be given."""
    n_false_alarms: int | None
    """How many of them alarm."""
    upper: float | None
    """Upper bound of the rate of such groups at the stated confidence; at most `max_false_positive_rate`."""


def check_rate(max_false_positive_rate: float, confidence: float) -> None:
    """Refuse a rate or a confidence that is none.

    Raises:
        InputError: One of them is not between 0 and 1.
    """
    for name, value in (("max_false_positive_rate", max_false_positive_rate), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise InputError(f"{name} must be between 0 and 1, not {value}")


def upper_bound(n_events: int, n: int, confidence: float) -> float:
    """Return the one-sided upper confidence bound of a probability: the largest that so few events do not contradict.

    Args:
        n_events: Events seen.
        n: Independent trials.
        confidence: How often the bound is above the truth, at least.

    Source:
        Clopper and Pearson (1934); equal to `scipy.stats.binomtest(..., alternative="less")`'s exact interval.

    Example:
        >>> round(upper_bound(0, 299, 0.95), 4)
        0.01
    """
    return 1.0 if n_events >= n else float(betaincinv(n_events + 1, n - n_events, confidence))


def negatives_needed(max_false_positive_rate: float, confidence: float = 0.95) -> int:
    """Return the fewest negative groups with which a threshold can be given: those of which none may alarm.

    Raises:
        InputError: The rate or the confidence is not between 0 and 1.

    Example:
        >>> negatives_needed(0.01), negatives_needed(0.1, 0.9)
        (299, 22)
    """
    check_rate(max_false_positive_rate, confidence)
    n = max(math.ceil(math.log1p(-confidence) / math.log1p(-max_false_positive_rate)) - 1, 1)
    while upper_bound(0, n, confidence) > max_false_positive_rate:
        n += 1
    return n


def allowed_alarms(n: int, *, max_false_positive_rate: float, confidence: float) -> int:
    """Return how many of n groups may alarm, at least `negatives_needed` of which there must be.

    Example:
        >>> [allowed_alarms(n, max_false_positive_rate=0.1, confidence=0.95) for n in (29, 46, 180)]
        [0, 1, 11]
    """
    allowed = 0
    while upper_bound(allowed + 1, n, confidence) <= max_false_positive_rate:
        allowed += 1
    return allowed


def highest_by_group(
    score: Float[np.ndarray, " sample"], group: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, " group"]:
    """Return each group's highest score, in the order of the codes; a group whose scores are all nan has -inf."""
    codes, place = np.unique(group, return_inverse=True)
    highest = np.full(len(codes), -np.inf)
    np.maximum.at(highest, place.reshape(-1), np.where(np.isnan(score), -np.inf, score))
    return highest


def alarm_threshold(
    highest: Float[np.ndarray, " group"], *, max_false_positive_rate: float = 0.01, confidence: float = 0.95
) -> Threshold:
    """Return the smallest threshold whose false-alarm rate is bounded.

    With n groups and k alarms among them, it is the highest score of the group that is the first not to alarm, for the
    largest k whose upper bound is within the rate. As alarms are scores above it, ties only lower their number.

    Args:
        highest: `(group,)` the highest score of any negative sample of each group, at any scored moment.
        max_false_positive_rate: Largest share of new groups that may alarm.
        confidence: Probability, over the draw of the groups, that the share keeps below it.

    Raises:
        InputError: A score is nan, or the rate or the confidence is not between 0 and 1.

    Undefined:
        None with a reason where there are too few groups.

    Source:
        One-sided tolerance limits by order statistics (Wilks 1941), with the exact binomial bound of `upper_bound`.

    Example:
        >>> alarm_threshold(np.arange(22.0), max_false_positive_rate=0.1, confidence=0.9).score
        21.0
    """
    needed = negatives_needed(max_false_positive_rate, confidence)
    if np.isnan(highest).any():
        raise InputError("alarm_threshold: a score is nan; leave that group out")
    n = len(highest)
    if n < needed:
        reason = (
            f"not enough data: {n} groups with a sample of label 0 were left for calibration, and a false-positive "
            f"rate of {max_false_positive_rate:g} at a confidence of {confidence:g} needs {needed}"
        )
        return Threshold(None, reason, max_false_positive_rate, confidence, n, needed, None, None)
    allowed = allowed_alarms(n, max_false_positive_rate=max_false_positive_rate, confidence=confidence)
    score = float(np.sort(highest)[n - 1 - allowed])
    alarms = int((highest > score).sum())
    upper = upper_bound(alarms, n, confidence)
    if score == -np.inf:
        reason = "so many groups of label 0 have no score that every score would be an alarm"
        return Threshold(None, reason, max_false_positive_rate, confidence, n, needed, None, None)
    return Threshold(score, None, max_false_positive_rate, confidence, n, needed, alarms, upper)
