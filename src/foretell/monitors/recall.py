"""How many samples alarm, by label, with an interval over groups; what is caught, and after how many tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from scipy.special import betaincinv

from foretell.stats.folds import group_codes

__all__ = ["Recall", "Share", "by_answer", "found_rates", "recall", "share_by_groups"]


@dataclass(frozen=True)
class Share:
    """A share of samples, with an interval over groups."""

    estimate: float | None
    """0 to 1; None without samples."""
    lower: float | None
    upper: float | None
    level: float
    n: int
    """Samples."""
    n_groups: int


@dataclass(frozen=True)
class Recall:
    """Positive samples of calibration groups that a monitor catches."""

    share: Share
    caught_by: dict[int, float]
    """Share of the positive samples that have had an alarm after so many tokens, up to the longest answer."""
    median_first_alarm: float | None
    """Median number of tokens at the first alarm, among those caught; None where none is."""
    median_share_of_answer: float | None
    """Median of that number over the tokens of the whole answer."""


def share_by_groups(
    event: Bool[np.ndarray, " sample"], group: Int[np.ndarray, " sample"], level: float = 0.95
) -> Share:
    """Return the share of samples with an event, and its interval when samples of one group depend on each other.

    The exact binomial interval for an effective number of samples: that whose binomial variance is the variance over
    groups, at most the number of samples, and the number of groups where all samples are alike.

    Args:
        event: `(sample,)`.
        group: Codes of groups.
        level: Coverage of the interval.

    Undefined:
        None without samples.

    Source:
        Korn and Graubard (1998), "Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data". With groups of one sample it is Clopper and Pearson's interval.

    Example:
        >>> found = share_by_groups(np.array([True, False, True]), np.array([0, 1, 2]))
        >>> round(found.lower, 3), round(found.upper, 3)
        (0.094, 0.992)
    """
    n = len(event)
    codes = np.unique(group, return_inverse=True)[1].reshape(-1)
    n_groups = int(codes.max(initial=-1)) + 1
    if not n:
        return Share(None, None, None, level, 0, 0)
    estimate = float(event.mean())
    effective = float(n)
    if n_groups < n:
        deviations = np.bincount(codes, weights=event - estimate)
        variance = n_groups / max(n_groups - 1, 1) * float(deviations @ deviations) / n**2
        effective = float(n_groups)
        if 0.0 < estimate < 1.0 and variance > 0:
            effective = min(max(estimate * (1 - estimate) / variance, 1.0), float(n))
    events, tail = estimate * effective, (1 - level) / 2
    lower = 0.0 if estimate == 0.0 else float(betaincinv(events, effective - events + 1, tail))
    upper = 1.0 if estimate == 1.0 else float(betaincinv(events + 1, effective - events, 1 - tail))
    return Share(estimate, lower, upper, level, n, n_groups)


def recall(
    first_alarm: Float[np.ndarray, " sample"],
    n_generated: Int[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    level: float = 0.95,
) -> Recall:
    """Return how many positive samples have an alarm, and how early.

    Args:
        first_alarm: Tokens at the first alarm; nan where there is none.
        n_generated: Tokens of the whole answers.
        group: Codes of groups.
        level: Coverage of the interval.
    """
    caught = np.isfinite(first_alarm)
    longest = int(n_generated.max(initial=0))
    moments = sorted({*(1 << power for power in range(longest.bit_length())), longest} - {0})
    caught_by = {moment: float((first_alarm <= moment).mean()) for moment in moments}
    median = float(np.median(first_alarm[caught])) if caught.any() else None
    part = float(np.median(first_alarm[caught] / n_generated[caught])) if caught.any() else None
    return Recall(share_by_groups(caught, group, level), caught_by, median, part)


def by_answer(scores: pl.DataFrame) -> pl.DataFrame:
    """Return each answer's highest score, its probability, and tokens at the first alarm (null: none), highest first.

    Args:
        scores: From `Monitor.apply`.
    """
    found = scores.group_by("id", maintain_order=True).agg(
        pl.col("score", "probability").max(), first_alarm=pl.col("n_generated").filter(pl.col("alarm")).min()
    )
    return found.sort("score", "id", descending=[True, False], nulls_last=True)


def found_rates(answers: pl.DataFrame, samples: pl.DataFrame) -> list[tuple[str | float | None, ...]]:
    """Return the share of answers with an alarm by label, with its interval over groups; of labels that occur.

    Args:
        answers: From `by_answer`.
        samples: The run's.
    """
    joined = answers.join(samples.select("id", "behavior_label", "group"), on="id", how="left")
    rows: list[tuple[str | float | None, ...]] = []
    for label, name in ((1, "label 1 (recall)"), (0, "label 0 (false alarms)")):
        own = joined.filter(pl.col("behavior_label") == label)
        if own.height:
            rang = np.asarray(own["first_alarm"].is_not_null().to_numpy(), dtype=bool)
            share = share_by_groups(rang, group_codes(own["group"].fill_null(own["id"]).to_list()))
            rows.append((name, share.estimate, share.lower, share.upper, share.n, share.n_groups))
    return rows
