"""A monitor on the answers of one run: alarms, and which groups the monitor has seen before.

tried = tried_run(monitor, run)
tried.samples, tried.profile
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32

from foretell.errors import InputError
from foretell.monitors.labelled import read_answers
from foretell.monitors.made_from import SHIFTS, check_run
from foretell.monitors.monitor import Monitor
from foretell.monitors.reference import profiles
from foretell.storage.runs import Run

__all__ = ["NO_REFERENCE", "TriedRun", "check_allowed", "tried_run"]

NO_REFERENCE = "the monitor file was saved without what it was made from; fit the monitor again"


@dataclass(frozen=True)
class TriedRun:
    """The answers of a run that are of the monitor's behaviour."""

    samples: pl.DataFrame
    """Those of the run, with `has_alarm`, and `is_seen`: whether the monitor was made from this group; null where it
    does not say. `group` is the id where there is none."""
    profile: Float32[np.ndarray, "sample number"] | None
    """Numbers as in the monitor's reference; None where it has none."""

    def part(self, chosen: Bool[np.ndarray, " sample"]) -> TriedRun:
        """Return some of the answers."""
        return TriedRun(self.samples.filter(chosen), None if self.profile is None else self.profile[chosen])


def check_allowed(allow: Collection[str]) -> None:
    """Refuse names of differences that there are not.

    Raises:
        InputError: One of them is unknown.
    """
    unknown = sorted(set(allow) - set(SHIFTS)) if not isinstance(allow, str) else [allow]
    if unknown:
        raise InputError(f"allow must be some of {', '.join(map(repr, SHIFTS))}, not {', '.join(map(repr, unknown))}")


def tried_run(monitor: Monitor, run: Run, *, behaviour: str | None = None, allow: Collection[str] = ()) -> TriedRun:
    """Score the answers of a run, and say which groups the monitor was made from.

    Args:
        monitor: The monitor.
        run: The run; it needs no labels.
        behaviour: Which behaviour, or dataset, of the run; None: the monitor's.
        allow: What may differ from the monitor's model.

    Raises:
        InputError: Another model, the run has no such behaviour, or nothing that the monitor looks at.
    """
    check_run(monitor.made_from, run, allow)
    samples = _of_behaviour(run, read_answers(run.samples), behaviour, monitor.made_from.behaviour)
    found = monitor.scored(run, samples)
    if not np.isfinite(found.score).any():
        raise InputError(f"{run.path}: no answer has all the numbers that the monitor looks at")
    alarm = monitor.alarms(found.score, found.rows.n_generated, ended=found.rows.is_end)
    has_alarm = np.zeros(samples.height, dtype=bool)
    np.logical_or.at(has_alarm, found.rows.sample, alarm)
    samples = samples.with_columns(pl.col("group").fill_null(pl.col("id")), has_alarm=pl.Series(has_alarm))
    reference = monitor.reference
    if reference is None:
        return TriedRun(samples.with_columns(is_seen=pl.lit(None, dtype=pl.Boolean)), None)
    is_seen = pl.Series(reference.has_seen(samples.get_column("group").to_list()))
    profile = profiles(monitor.columns, reference.components, found.rows, found.matrix, found.score)
    return TriedRun(samples.with_columns(is_seen=is_seen), profile)


def _of_behaviour(run: Run, samples: pl.DataFrame, wanted: str | None, made: str | None) -> pl.DataFrame:
    """Return the samples of a behaviour: the one that is wanted, or the monitor's."""
    known = samples.get_column("behaviour").drop_nulls().unique().sort().to_list()
    if wanted is not None:
        chosen = samples.filter((pl.col("behaviour") == wanted) | (pl.col("dataset") == wanted))
        what = f"behaviour or dataset {wanted!r}"
    elif made is None or not known:
        chosen, what = samples, "answer that was read"
    else:
        chosen, what = samples.filter(pl.col("behaviour") == made), f"behaviour {made!r}, which is the monitor's"
    if not chosen.height:
        names = ", ".join(map(repr, [*known, *samples.get_column("dataset").unique().sort()])) or "nothing"
        raise InputError(f"{run.path}: has no {what}, but {names}; to try it on another one, name that (behaviour)")
    return chosen.sort("id")
