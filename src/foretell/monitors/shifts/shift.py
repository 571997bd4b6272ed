"""A monitor under shift: recall and false-positive rate on other runs, or parts of them, and whether its rate holds.

table = foretell.shift(monitor, {"sampled": "run-sampled", "half": "run-bfloat16"}, allow=["precision"])
table.select("run", "verdict", "n_more_needed", "false_positive_rate", "recall")
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from jaxtyping import Bool

from foretell.errors import InputError
from foretell.monitors.made_from import check_run, differences
from foretell.monitors.monitor import Monitor
from foretell.monitors.recall import Share, share_by_groups
from foretell.monitors.shifts.drift import drift_of
from foretell.monitors.shifts.rate_verdict import CANNOT_SAY, RateVerdict, rate_verdicts
from foretell.monitors.shifts.tried_run import TriedRun, check_allowed, tried_run
from foretell.schema.tables import SHIFT, conform
from foretell.stats.folds import group_codes
from foretell.storage.runs import Run, open_run

__all__ = ["ALL", "By", "shift"]

By: TypeAlias = str | Mapping[str, str] | None
ALL = "all"
_LENGTH = "length"
_TOKENS = "number of tokens"


def shift(
    monitor: Monitor,
    runs: Run | Path | str | Mapping[str, Run | Path | str],
    *,
    by: By = None,
    behaviour: str | None = None,
    allow: Collection[str] = (),
    keep_seen: bool = False,
    level: float = 0.95,
    n_permutations: int = 999,
    seed: int = 0,
) -> pl.DataFrame:
    """Try a monitor on answers that differ from those it was made from: does its false-positive rate hold there?

    Each row is a shift: a run (another dataset, language or topic, prompts in other words, answers that were sampled,
    half precision, quantised weights, another engine), or a part of one. A false positive is what it is in the
    guarantee: a group with an alarm on any of its answers with label 0, at any scored moment. The verdict is that of
    `foretell.monitors.shifts.rate_verdict.rate_verdicts`:

    * *holds*: at the guarantee's confidence the rate is within the stated one.
    * *breaks*: at the same confidence it is above it.
    * *cannot say yet*: `n_more_needed` more groups with label 0 would decide, if they alarm as often as those so far.

    All rows of a call are held to one error rate: the chance that any of them holds wrongly is at most
    1 - confidence, and so is the chance that any breaks wrongly. Make one call for what is looked at together. Nothing
    is guaranteed of the recall: it may fall where the rate holds, and `recall_change` has its interval.

    Groups that the monitor was made from say too little of new ones, so they are left out and counted.

    Args:
        monitor: A fitted monitor.
        runs: Labelled runs by name; one run has the name of its folder.
        by: Parts of each run: "dataset", "stratum", "length" (answers of at most as many tokens as the median
            calibration answer, or the run's where the monitor does not keep it, and longer ones), another column of its
            samples, or the part of each id. None: none.
        behaviour: Which behaviour, or dataset, of the runs; None: the monitor's.
        allow: "weights" (quantised ones, say, or those of another model), "template", "precision": what may differ from
            the monitor's model. What is not named here is refused, because it is seldom wanted.
        keep_seen: Count groups that the monitor was made from like others, although their rates are too low.
        level: Coverage of the intervals of single rows.
        n_permutations: Of the drift check, see `foretell.drift`.
        seed: Random seed of the drift check.

    Returns:
        The table `shift`, a row per run and part, in order.

    Raises:
        InputError: A run is of another model and that is not allowed, is not finished, has no labels, or there is no
            such part or behaviour.

    Undefined:
        A number is null, with a reason, without groups or answers of its label, and the rate where the monitor has no
        threshold.

    Example:
        >>> import foretell
        >>> monitor = foretell.Monitor.load("m.safetensors")  # doctest: +SKIP
        >>> foretell.shift(monitor, {"sampled": "run-sampled"}, by="length")  # doctest: +SKIP
    """
    check_allowed(allow)
    if not 0.0 < level < 1.0:
        raise InputError(f"level must be between 0 and 1, not {level}")
    opened = _opened(runs)
    for name, run in opened.items():
        # Before any of them is scored.
        check_run(monitor.made_from, run, allow)
        if not run.finished:
            raise InputError(f"{name}: {run.path} is not finished; call `foretell read` again")
    rows: list[dict[str, Any]] = []
    for name, run in opened.items():
        tried = tried_run(monitor, run, behaviour=behaviour, allow=allow)
        if not tried.samples.get_column("behavior_label").count():
            raise InputError(f"{name}: none of its {tried.samples.height} answers has a label; call `foretell label`")
        differs = "; ".join(differences(monitor.made_from, run)) or None
        for part, chosen in _parts(monitor, tried, by):
            found = _row(monitor, tried.part(chosen), keep=keep_seen, level=level)
            drifted = drift_of(monitor, tried.part(chosen), n_permutations=n_permutations, seed=seed)
            about = {"run": name, "part": part, "differs": differs}
            more = {
                "drift_p": drifted.p_value,
                "drift_distance": drifted.distance,
                "drifted": "; ".join(drifted.drifted[:3]) or None,
            }
            reasons = [
                *found.pop("reasons"),
                *([] if drifted.reason is None else [f"no drift check: {drifted.reason}"]),
            ]
            rows.append({**about, **found, **more, "reason": "; ".join(reasons) or None})
    _judge(monitor, rows)
    schema = {name: dtype for name, dtype in SHIFT.dtypes.items() if rows and name in rows[0]}
    return conform(pl.DataFrame(rows, schema=schema), SHIFT)


def _opened(runs: Run | Path | str | Mapping[str, Run | Path | str]) -> dict[str, Run]:
    if not isinstance(runs, Mapping):
        path = runs.path if isinstance(runs, Run) else Path(runs)
        runs = {Path(str(path)).name: runs}
    if not runs:
        raise InputError("shift: give at least one run")
    return {name: run if isinstance(run, Run) else open_run(run) for name, run in runs.items()}


def _parts(monitor: Monitor, tried: TriedRun, by: By) -> Iterator[tuple[str, Bool[np.ndarray, " sample"]]]:
    """Yield the name of each part, and its answers."""
    samples = tried.samples
    if by is None:
        yield ALL, np.ones(samples.height, dtype=bool)
        return
    if isinstance(by, Mapping):
        ids = samples.get_column("id")
        if not set(by) & set(ids):
            raise InputError("by: none of its ids is in the run")
        part = pl.Series([by.get(one) for one in ids], dtype=pl.String)
    elif by == _LENGTH:
        tokens = samples.get_column("n_tokens_generated")
        known = None if isinstance(monitor.scored_at, int) else monitor.reference
        usual = tokens if known is None else known.values[:, known.names.index(_TOKENS)]
        middle = int(np.median(np.asarray(usual)))
        part = pl.Series([f"{'at most' if one <= middle else 'more than'} {middle} tokens" for one in tokens])
    elif by in samples.columns:
        part = samples.get_column(by).cast(pl.String)
    else:
        raise InputError(f'by: samples have no column {by!r}; "{_LENGTH}", or one of {", ".join(samples.columns)}')
    for name in part.drop_nulls().unique().sort():
        yield name, (part == name).fill_null(False).to_numpy()


def _row(monitor: Monitor, tried: TriedRun, *, keep: bool, level: float) -> dict[str, Any]:
    """Return the numbers of one part, without its verdict; "reasons" has those of the undefined ones."""
    samples = tried.samples.filter(pl.col("behavior_label").is_not_null())
    is_seen = samples.filter(pl.col("is_seen"))
    n_seen = None if monitor.reference is None else is_seen.get_column("group").n_unique()
    if not keep:
        samples = samples.filter(~pl.col("is_seen").fill_null(value=False))
    negative, positive = (samples.filter(pl.col("behavior_label") == value) for value in (0, 1))
    groups = negative.group_by("group").agg(pl.col("has_alarm").any())
    named = (("group with label 0", negative), ("answer with label 1", positive))
    reasons = [f"no new {what}" for what, part in named if not part.height]
    if n_seen and not keep:
        reasons.append(f"{n_seen} groups that the monitor was made from are left out")
    rate, recall = _share(groups, level), _share(positive, level)
    change = _change(recall, monitor.recall.share)
    if monitor.threshold.score is None:
        reasons = [f"no threshold: {monitor.threshold.reason}", *reasons]
        rate, recall, change = (Share(None, None, None, level, one.n, one.n_groups) for one in (rate, recall, change))
    return {
        **_named("false_positive_rate", rate),
        **_named("recall", recall),
        **_named("recall_change", change),
        "max_false_positive_rate": monitor.threshold.max_false_positive_rate,
        "n_negative_groups": groups.height,
        "n_false_alarms": int(groups.get_column("has_alarm").sum()),
        "n_negative": negative.height,
        "n_positive": positive.height,
        "n_positive_groups": positive.get_column("group").n_unique(),
        "n_seen_groups": n_seen,
        "reasons": reasons,
    }


def _share(samples: pl.DataFrame, level: float) -> Share:
    codes = group_codes(samples.get_column("group").to_list())
    return share_by_groups(samples.get_column("has_alarm").to_numpy().astype(bool), codes, level)


def _change(here: Share, before: Share) -> Share:
    """Return the difference of two independent shares, with an interval made of theirs.

    Source:
        Newcombe (1998), "Interval estimation for the difference between independent proportions", with the clustered
        intervals in place of Wilson's (Donner and Zou 2012).
    """
    if here.estimate is None or before.estimate is None:
        return Share(None, None, None, here.level, here.n, here.n_groups)
    ends = [float(one) for share in (here, before) for one in (share.lower, share.upper) if one is not None]
    difference = here.estimate - before.estimate
    down = np.hypot(here.estimate - ends[0], ends[3] - before.estimate)
    up = np.hypot(ends[1] - here.estimate, before.estimate - ends[2])
    return Share(difference, difference - down, difference + up, here.level, here.n, here.n_groups)


def _named(name: str, share: Share) -> dict[str, float | None]:
    return {name: share.estimate, f"{name}_lower": share.lower, f"{name}_upper": share.upper}


def _judge(monitor: Monitor, rows: list[dict[str, Any]]) -> None:
    """Add the verdicts, all together."""
    known = monitor.threshold
    if known.score is None:
        found = [RateVerdict(CANNOT_SAY, np.nan, np.nan, None)] * len(rows)
    else:
        counts = [(row["n_false_alarms"], row["n_negative_groups"]) for row in rows]
        rate, confidence = known.max_false_positive_rate, known.confidence
        found = rate_verdicts(counts, max_false_positive_rate=rate, confidence=confidence)
    for row, one in zip(rows, found, strict=True):
        p_values = (None, None) if np.isnan(one.p_holds) else (one.p_holds, one.p_breaks)
        row.update(verdict=one.verdict, n_more_needed=one.n_more_needed, p_holds=p_values[0], p_breaks=p_values[1])
