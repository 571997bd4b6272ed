"""Fit a monitor: a score on some groups of a run, and a threshold with a guarantee on the others.

monitor = fit_monitor(run, max_false_positive_rate=0.01, confidence=0.95)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from foretell.errors import InputError
from foretell.jobs.readable_direction import ReadableDirection
from foretell.monitors.alarm_threshold import Threshold, alarm_threshold, check_rate, highest_by_group, negatives_needed
from foretell.monitors.baseline_monitor import baseline_scores, best_baseline
from foretell.monitors.fitted_score import Choice, FittedScore, fit_score
from foretell.monitors.labelled import Labelled, calibration_samples, labelled_samples, names_hash
from foretell.monitors.made_from import MadeFrom
from foretell.monitors.monitor import Monitor, StoredDirections
from foretell.monitors.monitor_columns import Columns, linear_score
from foretell.monitors.recall import Recall, recall
from foretell.monitors.reference import (
    Reference,
    components_of,
    drawn_answers,
    group_hashes,
    names_of,
    profiles,
)
from foretell.monitors.run_columns import EVERY, Moments, RunColumns, ScoredAt, check_moments, moments
from foretell.stats.auc.intervals import auc
from foretell.stats.per_run import run_of
from foretell.stats.signals.activity_so_far import ACTIVITY
from foretell.stats.signals.answer_tokens_so_far import CONFIDENCE
from foretell.stats.signals.attention_so_far import ATTENTION
from foretell.stats.signals.hidden_so_far import HIDDEN_STATES
from foretell.stats.signals.run_signals import FAMILIES
from foretell.stats.study import Study
from foretell.storage.runs import Run

__all__ = ["fit_monitor"]


def fit_monitor(  # noqa: PLR0913 - what it looks at, what it promises, and how that is found out
    source: Run | Study | Path | str,
    behaviour: str | None = None,
    *,
    signals: Sequence[str] | None = None,
    directions: Sequence[ReadableDirection] = (),
    scored_at: ScoredAt = "checkpoints",
    max_false_positive_rate: float = 0.01,
    confidence: float = 0.95,
    max_heads: int = 16,
    max_layers: int = 2,
    calibration: float = 0.4,
    baseline: bool = True,
    allow_no_threshold: bool = True,
    level: float = 0.95,
    seed: int = 0,
    progress: bool | None = None,
) -> Monitor:
    """Fit a detector that can be saved and run on new answers, with a threshold whose false-alarm rate is bounded.

    The groups are split at random: the score is chosen, fitted and turned into a probability on one part, whole groups
    held out in turn; the threshold comes from the other part, which the score has not seen. What the bound says,
    exactly: `foretell.monitors.alarm_threshold`. It is of whole groups: one false alarm, on any sample of label 0 of a
    group and at any moment that `scored_at` names, makes the group a false positive.

    Args:
        source: A finished, labelled run, its folder, or a study of one, whose labels and groups are then taken.
        behaviour: Which behaviour, or dataset, of the run; None: the only one that it has.
        signals: Families it may look at, of "attention", "hidden states", "activity" and "confidence"; None: all that
            the run has, and activity if its directions are given.
        directions: Those that the run was read with; needed for activity, because the monitor keeps what it needs of
            them.
        scored_at: "checkpoints": after 1, 2, 4, 8, ... tokens and at the end of an answer. A number of these: only
            then, or at the end of a shorter answer. "every token": after each, which needs `read(..., rows=True)` and
            has no hidden states.
        max_false_positive_rate: Largest share of new groups with a false alarm.
        confidence: Probability that the share is within that, over the draw of the groups. `negatives_needed` gives
            the groups of label 0 that the two need among those for calibration.
        max_heads: Most heads whose attention is read.
        max_layers: Most layers whose hidden states are read, and most activities.
        calibration: Share of the groups that the threshold is found on.
        baseline: Also find what the best baseline catches at the same false-positive rate (`monitor.baseline`).
        allow_no_threshold: Fit a monitor without a threshold where there are too few negative groups; False refuses.
        level: Coverage of the interval of the recall.
        seed: Fixes the split and the folds.
        progress: Show a bar; None shows it on a terminal and in a notebook.

    Raises:
        InputError: No run, not finished, no labels, one label only, a setting out of range, a signal that the run does
            not have, or too few negative groups where that is not allowed.

    Example:
        >>> import foretell
        >>> monitor = foretell.fit_monitor("run", max_false_positive_rate=0.05)  # doctest: +SKIP
    """
    check_rate(max_false_positive_rate, confidence)
    check_moments(scored_at)
    if min(max_heads, max_layers) < 1 or not 0.0 < calibration < 1.0:
        raise InputError(
            f"max_heads and max_layers must be at least 1, and calibration between 0 and 1; not {max_heads}, "
            f"{max_layers} and {calibration}"
        )
    run, samples = _source(source, behaviour)
    held = calibration_samples(samples, calibration, seed=seed)
    negative = len(np.unique(samples.group[held & (samples.label == 0)]))
    needed = negatives_needed(max_false_positive_rate, confidence)
    if negative < needed and not allow_no_threshold:
        raise InputError(
            f"{run.path}: not enough data for a false-positive rate of {max_false_positive_rate:g} at a confidence of "
            f"{confidence:g}: {needed} groups with label 0 are needed for calibration, and {negative} of the "
            f"{len(np.unique(samples.group[samples.label == 0]))} are held out for it; label more answers, allow a "
            "higher rate, or fit without a threshold (--allow-no-threshold; in Python: allow_no_threshold=True)"
        )
    rows = moments(samples.n_generated, scored_at)
    columns = RunColumns(run, samples.ids, rows, scored_at)
    known = _signals(run, columns, signals, directions)
    job = run.manifest["job"]
    choice = Choice(
        signals=known,
        max_heads=max_heads,
        max_layers=max_layers,
        concepts=tuple(one.concept for one in directions),
        state_dtype=str((job.get("hidden") or {}).get("dtype", "float32")),
        seed=seed,
    )
    fitted = fit_score(columns, samples.label, samples.group, ~held, choice, progress=progress)
    matrix = fitted.columns.matrix(columns.numbers(fitted.columns))
    score = linear_score(matrix, fitted.centre, fitted.weight, fitted.intercept)
    threshold = _threshold(score, columns, samples, held, (max_false_positive_rate, confidence))
    beside = None
    if baseline and threshold.score is not None:
        highest = np.full(len(samples.ids), -np.inf)
        np.fmax.at(highest, rows.sample, score)
        known_by = baseline_scores(run, samples, held, scored_at, seed=seed)
        beside = best_baseline(known_by, highest, samples, held, threshold, level=level, seed=seed)
    return Monitor(
        columns=fitted.columns,
        centre=fitted.centre,
        weight=fitted.weight,
        intercept=fitted.intercept,
        slope=fitted.slope,
        shift=fitted.shift,
        scored_at=scored_at,
        threshold=threshold,
        recall=_recall(score, columns, samples, held, threshold, level=level),
        made_from=_made_from(columns, samples, held, fitted, known, seed=seed),
        directions=_stored(fitted, directions),
        reference=_reference(fitted.columns, rows, samples, held, (matrix, score)),
        baseline=beside,
    )


def _source(source: Run | Study | Path | str, behaviour: str | None) -> tuple[Run, Labelled]:
    if isinstance(source, Study):
        run = None if source.signals is None else source.signals.run
        known = source.table.samples.select("id", "behavior_label", "group")
    else:
        run, known = run_of(source), None
    if run is None:
        raise InputError(
            f"fit_monitor needs a run, its folder, or a study of a run, not {source!r}: attention of whole answers "
            "alone says nothing of answers that are being written"
        )
    return run, labelled_samples(run, behaviour, known)


def _signals(
    run: Run, columns: RunColumns, wanted: Sequence[str] | None, directions: Sequence[ReadableDirection]
) -> tuple[str, ...]:
    """Return the families that the monitor may look at.

    Raises:
        InputError: One is unknown, or the run does not have it.
    """
    _check_directions(run, directions)
    unknown = sorted(set(wanted or ()) - set(FAMILIES))
    if unknown or (wanted is not None and not wanted) or isinstance(wanted, str):
        raise InputError(f"signals must be some of {', '.join(map(repr, FAMILIES))}, not {wanted!r}")
    lacking = {
        ATTENTION: None
        if columns.heads
        else "it has no attention at the moments to be scored (for every token: read with rows=True)",
        HIDDEN_STATES: None if columns.pool else f'none of the answer is stored (hidden="all"; not for "{EVERY}")',
        ACTIVITY: None
        if columns.activity_places([one.concept for one in directions])
        else "give the directions that it was read with",
        CONFIDENCE: None if np.isfinite(columns.logprob).any() else "it has no log-probabilities",
    }
    for name in wanted or ():
        if lacking[name] is not None:
            raise InputError(f"{run.path}: {name}: {lacking[name]}")
    return tuple(name for name in FAMILIES if lacking[name] is None and (wanted is None or name in wanted))


def _check_directions(run: Run, directions: Sequence[ReadableDirection]) -> None:
    read = _read_with(run)
    for one in directions:
        if read.get(one.concept) != sha256(one.vectors.tobytes()).hexdigest():
            raise InputError(f'{run.path}: was not read with this direction "{one.concept}" (it has {sorted(read)})')


def _read_with(run: Run) -> dict[str, str]:
    """Return the hash of the vectors of each direction that a run was read with, by concept."""
    return {one["concept"]: one["vectors"] for one in run.manifest["job"].get("directions", ())}


def _threshold(
    score: Float[np.ndarray, " row"],
    columns: RunColumns,
    samples: Labelled,
    held: Bool[np.ndarray, " sample"],
    asked: tuple[float, float],
) -> Threshold:
    sample = columns.rows.sample
    here = (held & (samples.label == 0))[sample]
    highest = highest_by_group(score[here], samples.group[sample[here]])
    return alarm_threshold(highest, max_false_positive_rate=asked[0], confidence=asked[1])


def _recall(
    score: Float[np.ndarray, " row"],
    columns: RunColumns,
    samples: Labelled,
    held: Bool[np.ndarray, " sample"],
    threshold: Threshold,
    *,
    level: float,
) -> Recall:
    """Return the recall on the positive samples of calibration groups; of none where there is no threshold."""
    first = np.full(len(samples.ids), np.nan)
    if threshold.score is not None:
        rings = score > threshold.score
        np.fmin.at(first, columns.rows.sample[rings], columns.rows.n_generated[rings].astype(np.float64))
    chosen = held & (samples.label == 1) & (threshold.score is not None)
    return recall(first[chosen], samples.n_generated[chosen], samples.group[chosen], level)


def _made_from(
    columns: RunColumns,
    samples: Labelled,
    held: Bool[np.ndarray, " sample"],
    fitted: FittedScore,
    signals: tuple[str, ...],
    *,
    seed: int,
) -> MadeFrom:
    job: dict[str, Any] = columns.run.manifest["job"]
    used = {concept for concept, _ in fitted.columns.activity}
    layers = [layer for layer, _ in columns.heads] + columns.stored.get_column("layer").to_list()
    in_training = samples.label[~held]
    highest = np.full(len(samples.ids), -np.inf)
    np.fmax.at(highest, columns.rows.sample[fitted.rows], fitted.held_out)
    names = [np.array(samples.group_names)[np.unique(samples.group[part])].tolist() for part in (~held, held)]
    return MadeFrom(
        model=str(job.get("model", "")),
        weights=str(job.get("weights", "")),
        template=str(job.get("template") or ""),
        dtypes=(str(job.get("dtype", "")),),
        n_layers=1 + max(layers, default=-1),
        n_heads=columns.n_heads,
        behaviour=samples.behaviour,
        signals=signals,
        directions=tuple(
            (one["concept"], one["vectors"]) for one in job.get("directions", ()) if one["concept"] in used
        ),
        n_training_samples=int((~held).sum()),
        n_training_groups=len(names[0]),
        training_groups=names_hash(names[0]),
        n_calibration_samples=int(held.sum()),
        n_calibration_groups=len(names[1]),
        calibration_groups=names_hash(names[1]),
        held_out_auc=auc(highest[~held], in_training),
        sampling=json.dumps({"answers": job.get("answers"), "sampling": job.get("sampling")}),
        seed=seed,
        date=datetime.now(UTC).date().isoformat(),
        version=version("foretell"),
    )


def _reference(
    columns: Columns,
    rows: Moments,
    samples: Labelled,
    held: Bool[np.ndarray, " sample"],
    known: tuple[Float[np.ndarray, "row column"], Float[np.ndarray, " row"]],
) -> Reference:
    """Return what is kept of the answers.

    Args:
        columns: What the monitor looks at.
        rows: Moments of all answers.
        samples: The answers.
        held: Those that the threshold was found on.
        known: The columns and the score at the moments.
    """
    matrix, score = known
    components = components_of(columns, matrix[rows.last[~held]])
    every = profiles(columns, components, rows, matrix, score)
    calibration = np.flatnonzero(held)
    drawn = calibration[drawn_answers([samples.ids[one] for one in calibration], samples.group[held])]
    names = np.array(samples.group_names, dtype=object)
    hashes = [group_hashes(names[np.unique(samples.group[part])].tolist()) for part in (~held, held)]
    return Reference(names_of(columns), every[drawn], components, *(np.sort(one) for one in hashes))


def _stored(fitted: FittedScore, directions: Sequence[ReadableDirection]) -> StoredDirections:
    """Return what the monitor needs of the directions of its activities."""
    by_concept = {one.concept: one for one in directions}
    places = [(by_concept[concept], layer) for concept, layer in fitted.columns.activity]
    width = next((one.vectors.shape[1] for one, _ in places), 0)
    vectors = np.array([one.vectors[layer] for one, layer in places], dtype=np.float32).reshape(len(places), width)
    mean, deviation = (
        np.array([getattr(one, name)[layer] for one, layer in places], dtype=np.float64)
        for name in ("mean", "standard_deviation")
    )
    return StoredDirections(vectors, mean, deviation)
