"""The best baseline monitor: what an alarm catches at the same false-positive rate without the model's internals.

It knows what a study's baselines know after each number of tokens: kind of task, lengths, log-probability so far, the
words of prompt and answer, what the answer repeats of the prompt. It is fitted on the groups that the monitor's score
was fitted on, its threshold comes from the same calibration groups, and both are held to the same positive answers.

    scores = baseline_scores(run, samples, held, "checkpoints", seed=0)
    best_baseline(scores, highest, samples, held, threshold)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri

from foretell.monitors.alarm_threshold import Threshold, alarm_threshold, allowed_alarms, highest_by_group
from foretell.monitors.labelled import Labelled, group_mixtures
from foretell.monitors.recall import Share, share_by_groups
from foretell.monitors.run_columns import EVERY, ScoredAt, moments
from foretell.stats.detectors.baselines import ALL_BASELINES, baselines
from foretell.stats.detectors.detector import scores_of_all
from foretell.stats.detectors.held_out_scores import CrossValidation
from foretell.stats.folds import derived_seed
from foretell.stats.signals.run_signals import RunSignals
from foretell.stats.table.dense import sample_strata
from foretell.stats.table.joined import BASELINES
from foretell.storage.runs import Run

__all__ = ["BestBaseline", "baseline_scores", "best_baseline"]

_DRAWS = 1000
_POWER = 0.8


@dataclass(frozen=True)
class BestBaseline:
    """The best baseline monitor beside a monitor, with a threshold by the same rule from the same groups."""

    name: str
    """The one with the highest recall below, of single baselines and all of them together; the choice favours it."""
    recall: Share
    """Of the same positive answers as the monitor's."""
    more: float
    """Recall of the monitor minus that, -1 to 1."""
    more_lower: float | None
    """Lower end of the bootstrap interval over calibration groups, in which both thresholds are found anew; None where
    these groups are so few that none may have a false alarm: the highest score of few groups has no such interval."""
    more_upper: float | None
    detectable: float | None
    """Difference that such an interval shows with 80 % power."""


def baseline_scores(
    run: Run, samples: Labelled, held: Bool[np.ndarray, " sample"], scored_at: ScoredAt, *, seed: int
) -> dict[str, Float[np.ndarray, " sample"]]:
    """Return the highest score of each held-out answer by every baseline, and by all together; -inf of the others.

    Each moment has a model of its own, as in a study's early curves; scores are log-odds.

    Args:
        run: The run.
        samples: Its labelled answers.
        held: Those that nothing is fitted on, in whole groups.
        scored_at: The monitor's moments; beside one that scores every token, baselines score the checkpoints.
        seed: Random seed.
    """
    signals = RunSignals(run).of(samples.ids)
    rows = moments(samples.n_generated, "checkpoints" if scored_at == EVERY else scored_at)
    points = np.array(signals.checkpoints[1:] if isinstance(scored_at, str) else [scored_at])
    # An answer that ends between two moments is whole at the later one.
    at = points[np.searchsorted(points, rows.n_generated)]
    facts = pl.DataFrame({"id": samples.ids}).join(run.samples, on="id", how="left", maintain_order="left")
    before = {name: facts[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in BASELINES}
    stratum, prompt = sample_strata(facts), facts["messages"].to_list()
    split = CrossValidation(samples.label, group=samples.group, held=held, seed=derived_seed(seed, "baselines"))
    base = split.nothing().score[0]
    found: dict[str, Float[np.ndarray, " row"]] = {}
    for after in np.unique(at).tolist():
        columns, text = signals.so_far(signals.moment(after))
        known, _ = baselines(stratum, {**before, **columns}, text, prompt, so_far=True)
        scores = {one.name: split.scores(one) for one in known}
        together = scores_of_all(split, known)
        if together is not None:
            scores[ALL_BASELINES] = together
        here = at == after
        for name, one in scores.items():
            # Where a baseline says nothing, the base rate is known.
            found.setdefault(name, base[rows.sample])[here] = one.score[0, rows.sample[here]]
    highest = {name: np.full(len(samples.ids), -np.inf) for name in found}
    for name, score in found.items():
        np.fmax.at(highest[name], rows.sample, score)
        highest[name][~held] = -np.inf
    return highest


def best_baseline(
    scores: Mapping[str, Float[np.ndarray, " sample"]],
    highest: Float[np.ndarray, " sample"],
    samples: Labelled,
    held: Bool[np.ndarray, " sample"],
    threshold: Threshold,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> BestBaseline | None:
    """Compare a monitor with the best baseline.

    Args:
        scores: From `baseline_scores`.
        highest: Highest score of each sample by the monitor.
        samples: All of them.
        held: Those of the calibration groups.
        threshold: Of the monitor.
        level: Coverage of the intervals.
        seed: Random seed of the bootstrap.

    Undefined:
        None where the monitor has no threshold, no positive answer is held out, or there is no baseline.

    Source:
        Percentile bootstrap of groups (Efron and Tibshirani 1993, chapter 13), within groups of the same labels, so
        that every draw has as many negative groups. The detectable difference takes the bootstrap's standard error
        and the normal distribution.
    """
    positive = held & (samples.label == 1)
    if threshold.score is None or not scores or not positive.any():
        return None
    rate = {"max_false_positive_rate": threshold.max_false_positive_rate, "confidence": threshold.confidence}
    caught = {one: _caught(score, samples, held, rate) for one, score in sorted(scores.items())}
    name = max(caught, key=lambda one: caught[one].mean())
    both = np.stack([highest, scores[name]])
    own = _caught(highest, samples, held, rate)
    lower, upper, error = _interval(both, samples, held, rate, level=level, seed=seed)
    detectable = None if error is None else float((ndtri(0.5 + level / 2) + ndtri(_POWER)) * error)
    recall = share_by_groups(caught[name], samples.group[positive], level)
    return BestBaseline(name, recall, float(own.mean() - caught[name].mean()), lower, upper, detectable)


def _interval(
    both: Float[np.ndarray, "monitor sample"],
    samples: Labelled,
    held: Bool[np.ndarray, " sample"],
    rate: dict[str, float],
    *,
    level: float,
    seed: int,
) -> tuple[float | None, float | None, float | None]:
    """Return both ends of the interval of the difference of two recalls, and its standard error."""
    positive, negative = held & (samples.label == 1), held & (samples.label == 0)
    codes = np.unique(samples.group[negative])
    allowed = allowed_alarms(len(codes), **rate)
    if not allowed:
        return None, None, None
    of_group = np.stack([highest_by_group(one[negative], samples.group[negative]) for one in both])
    order = np.argsort(-of_group, axis=1, kind="stable")
    draws = np.empty(_DRAWS)
    for draw, weight in enumerate(_drawn_groups(samples, held, seed=seed)):
        shares = []
        for own, highest_first, score in zip(of_group, order, both, strict=True):
            place = np.searchsorted(np.cumsum(weight[codes[highest_first]]), allowed, side="right")
            alarms = score[positive] > own[highest_first[place]]
            shares.append(np.average(alarms, weights=weight[samples.group[positive]]))
        draws[draw] = shares[0] - shares[1]
    lower, upper = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return float(lower), float(upper), float(draws.std())


def _caught(
    highest: Float[np.ndarray, " sample"],
    samples: Labelled,
    held: Bool[np.ndarray, " sample"],
    rate: dict[str, float],
) -> Bool[np.ndarray, " positive"]:
    """Return which of the held-out positive answers alarm, with the threshold of the held-out negative groups."""
    negative, positive = held & (samples.label == 0), held & (samples.label == 1)
    found = alarm_threshold(highest_by_group(highest[negative], samples.group[negative]), **rate).score
    return np.asarray(highest[positive] > (np.inf if found is None else found))


def _drawn_groups(samples: Labelled, held: Bool[np.ndarray, " sample"], *, seed: int) -> Int[np.ndarray, "draw group"]:
    """Return how often each group is drawn, with as many of each mixture of labels as are held out."""
    mixture, generator = group_mixtures(samples), np.random.default_rng(derived_seed(seed, "best baseline"))
    is_held = np.isin(np.arange(len(mixture)), samples.group[held])
    weight = np.zeros((_DRAWS, len(mixture)), dtype=np.int64)
    for value in np.unique(mixture[is_held]):
        members = np.flatnonzero(is_held & (mixture == value))
        weight[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), _DRAWS)
    return weight
