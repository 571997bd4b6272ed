"""What is in a run, in a screenful: model, job, datasets with labels, what was not read, tables with their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import polars as pl

from foretell.showing.terminal import say, show_table
from foretell.storage.runs import Run, RunTable

__all__ = ["show_run"]

_COLUMNS = ("id", "dataset", "behaviour", "behavior_label", "reason")
_MOST_REASONS = 8


def show_run(run: Run) -> None:
    """Print what is in a run, from the files of its parts and its samples.

    Args:
        run: A run; its texts are not trusted.
    """
    job, samples = run.job, run.sample_columns(_COLUMNS)
    finished = run.finished
    say(f"run {run.location}: {samples.height} samples, {_state(job, samples.height, finished=finished)}")
    for name, text in _facts(job).items():
        say(f"  {name:<10} {text}")
    columns = ["dataset", "behaviour", "samples", "read", "labelled", "label 1", "base rate"]
    show_table("Datasets", columns, _datasets(samples).rows())
    reasons = samples.get_column("reason").drop_nulls().value_counts(sort=True).rows()
    for reason, count in reasons[:_MOST_REASONS]:
        say(f"  not read: {count} ({reason})", style="yellow")
    if len(reasons) > _MOST_REASONS:
        say(f"  not read: {sum(count for _, count in reasons[_MOST_REASONS:])} for other reasons", style="yellow")
    show_table("Tables", ["table", "rows", "files", "MiB", "what"], _tables(run))


def _state(job: Mapping[str, Any], n_samples: int, *, finished: bool) -> str:
    if finished:
        return "finished"
    expected = job.get("n_conversations")
    return f"unfinished{'' if expected is None else f' ({n_samples} of {expected})'}: the call that began it goes on"


def _facts(job: Mapping[str, Any]) -> dict[str, str]:
    """Return what the job says of the model and of how it was read."""
    names = [f"{name} {job[name]}" for name in ("weights", "template", "tokenizer") if job.get(name)]
    facts = {"model": ", ".join([f"{job.get('model')} ({job.get('dtype')})", *names])}
    if (sampling := job.get("sampling")) is not None:
        settings = ", ".join(f"{key} {value}" for key, value in sampling.items())
        facts["answers"] = f"generated ({settings})"
    elif "answers" in job:
        facts["answers"] = str(job["answers"])
    also = [name for name in ("detail", "rows") if job.get(name)]
    facts["settings"] = ", ".join([f"batch_tokens {job.get('batch_tokens')}", *also])
    if concepts := [str(direction["concept"]) for direction in job.get("directions") or ()]:
        facts["directions"] = ", ".join(concepts)
    if hidden := job.get("hidden"):
        layers = ", ".join(map(str, hidden["layers"]))
        facts["hidden"] = f"layers {layers}; {', '.join(hidden['pools'])}; {hidden['dtype']}"
    return facts


def _datasets(samples: pl.DataFrame) -> pl.DataFrame:
    label = pl.col("behavior_label")
    return (
        samples.group_by("dataset", "behaviour")
        .agg(
            pl.len(),
            pl.col("reason").is_null().sum().alias("read"),
            label.count().alias("labelled"),
            label.cast(pl.Int64).sum().alias("positive"),
            label.mean().alias("rate"),
        )
        .sort("dataset", "behaviour", nulls_last=True)
    )


def _tables(run: Run) -> Sequence[Sequence[object]]:
    meanings: dict[RunTable, str] = {
        "samples": "one row per sample",
        "attention": "mass per segment, by layer and head",
        "checkpoints": "the same after 1, 2, 4, ... tokens",
        "rows": "the same for every generated token",
        "tokens": "tokens with their log-probabilities",
        "activity": "along directions, by layer and token",
        "hidden": "hidden states, by layer and pool",
    }
    rows: list[Sequence[object]] = []
    files = [file for part in run.parts for file in part.files]
    for table in get_args(RunTable):
        own = [file for file in files if file.table == table]
        if own:
            sizes = [file.n_bytes for file in own if file.n_bytes is not None]
            n_mib = round(sum(sizes) / 2**20, 2) if len(sizes) == len(own) else None  # older runs do not say it
            n_rows = sum(file.n_rows or 0 for file in own)
            rows.append([table, n_rows, len(own), n_mib, meanings[table]])
    return rows
