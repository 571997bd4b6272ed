"""A planned run: what is known of it before its first batch, and having read what it does not have yet.

read_missing(run, plan, partial(map, read_part))
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from foretell.errors import InputError, UnfinishedError
from foretell.jobs.attempts import summary_of
from foretell.jobs.batches import Part
from foretell.jobs.progress_bar import progress_bar
from foretell.jobs.reading_settings import Settings
from foretell.storage.answered import Unread
from foretell.storage.location.disk_space import require_space
from foretell.storage.runs import Run
from foretell.storage.sample_rows import tables
from foretell.storage.upkeep.repair import remove_parts

__all__ = ["Plan", "commonest", "forget_failed", "read_missing"]

_UNREAD_PART = "unread"
"""The part of the samples that were known to be unreadable before anything was read."""


@dataclass(frozen=True)
class Plan:
    """All that is known before the first batch: plain data, so that another process may find it out."""

    job: dict[str, Any]
    """What fixes the numbers of a run, as plain JSON."""
    settings: Settings
    parts: tuple[Part[Any], ...]
    unread: tuple[Unread, ...]
    n_bytes: tuple[int, ...]
    """That each part takes at least."""
    size: str | None
    """Of the hidden states, in words."""


def read_missing(
    run: Run,
    plan: Plan,
    read_parts: Callable[[Sequence[Part[Any]]], Iterable[tuple[int, int]]],
    *,
    progress: bool | None,
) -> None:
    """Have every batch read that the run does not have yet, and mark the run as complete.

    Args:
        run: A run that this process writes.
        plan: Of its job.
        read_parts: Reads batches into parts of the run, and yields how many samples each had and how many of them could
            not be read.
        progress: See `foretell.read`.

    Raises:
        UnfinishedError: None of the samples could be read.
        InputError: The disk is too small.
    """
    done = run.part_names
    if run.remote is None:
        space = zip(plan.parts, plan.n_bytes, strict=True)
        require_space(run.path, sum(n_bytes for part, n_bytes in space if part.name not in done))
    if plan.unread and _UNREAD_PART not in done:
        ordered = sorted(plan.unread, key=lambda item: item.conversation.id)
        unread = tables([], ordered, model=run.job["model"], concepts=(), given=plan.settings.given)
        run.append(_UNREAD_PART, unread)
    missing = [part for part in plan.parts if part.name not in done]
    total, left = (sum(len(part.items) for part in parts) for parts in (plan.parts, missing))
    n_failed = 0
    with progress_bar(total=total, done=total - left, desc="reading", unit="sample", progress=progress) as bar:
        if plan.size is not None and not bar.disable:
            bar.write(plan.size, file=sys.stderr)
        for n_samples, n_unread in read_parts(missing):
            n_failed += n_unread
            if n_failed:
                bar.set_postfix_str(f"{n_failed} not read", refresh=False)
            bar.update(n_samples)
    reasons = run.sample_columns(["reason"]).get_column("reason")
    if reasons.null_count() == 0:
        reason, count = summary_of(reasons.to_list())[0]
        raise UnfinishedError(f"none of the {len(reasons)} conversations could be read: {reason} ({count} of them)")
    run.finish()


def forget_failed(run: Run, planned: Collection[str]) -> None:
    """Remove the parts of a run that hold samples which could not be read, so that they are read again.

    Args:
        run: A run that this process writes.
        planned: Names of the parts that can be read again; what was known to be unreadable before is in none of them.

    Raises:
        InputError: Such a part was compacted into one with others.
    """
    failed = set(run.sample_columns(["id", "reason"]).drop_nulls("reason").get_column("id"))
    parts = [part for part in run.parts if not failed.isdisjoint(part.ids or ()) and part.name != _UNREAD_PART]
    compacted = [part.name for part in parts if part.name not in planned]
    if compacted:
        raise InputError(
            f"{run.location}: samples that could not be read are in the compacted part {compacted[0]!r}, and cannot be "
            "read again there; read into a new folder"
        )
    remove_parts(run, [part.name for part in parts])


def commonest(unread: Sequence[Unread]) -> str:
    """Return the reason that most samples have for not being read, with one of them."""
    reason, count = Counter(item.reason for item in unread).most_common(1)[0]
    first = next(item.conversation.id for item in unread if item.reason == reason)
    return f"{reason} ({count} of them, such as {first!r})"
