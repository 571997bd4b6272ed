"""Facts about a run for the report page: the model, an example with its segments, how the answers were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import polars as pl

from foretell.jobs.attempts import summary_of
from foretell.showing.report_data import ColouredText, RunFacts
from foretell.showing.run_conversations import run_conversations
from foretell.storage.runs import Run

__all__ = ["run_facts"]


def run_facts(run: Run, *, commands: Sequence[str] = ()) -> RunFacts:
    """Return the facts about a run that the report page shows.

    Args:
        run: A run with at least one sample.
        commands: Command lines that reproduce the report.
    """
    job, samples = run.manifest["job"], run.samples
    given = job["answers"] == "given"
    notes = [
        "answers were given" if given else f"answers were generated, up to {job['sampling']['max_new_tokens']} tokens"
    ]
    truncated = samples["truncated"].sum()
    if truncated:
        notes.append(f"{truncated} answers were cut at the token limit and labelled as they are")
    notes += [
        f"{count} samples were not read: {reason}"
        for reason, count in summary_of(samples["reason"].drop_nulls().to_list())
    ]
    return RunFacts(
        model=f"{job['model']} ({job['dtype']})",
        n_conversations=samples.height,
        example=_example(run, samples),
        commands=tuple(commands),
        notes=tuple(notes),
        provenance=_provenance(job),
        conversations=run_conversations(run),
    )


def _provenance(job: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what determines a run's numbers: checksums of weights and texts, numbers' type, sampling with its seed."""
    facts = {name: job.get(name) for name in ("model", "weights", "template", "tokenizer", "dtype", "device")}
    facts["conversations (SHA-256)"] = job.get("conversations")
    if isinstance(sampling := job.get("sampling"), Mapping):
        facts["answers"] = ", ".join(f"{name} {value}" for name, value in sampling.items())
    for direction in job.get("directions") or ():
        facts[f"direction “{direction['concept']}” (SHA-256)"] = direction.get("vectors")
    return tuple((name, str(value)) for name, value in facts.items() if value is not None)


def _example(run: Run, samples: pl.DataFrame) -> tuple[ColouredText, ...]:
    """Return the shortest sample that has every segment, or else the shortest, as spans of one segment each."""
    read = samples.filter(pl.col("reason").is_null())
    if read.is_empty():
        return ()
    counts = pl.selectors.starts_with("n_tokens_")
    ranked = read.select(
        "id", pl.min_horizontal(counts).clip(0, 1).alias("complete"), pl.sum_horizontal(counts).alias("length")
    ).sort("complete", "length", "id", descending=[True, False, False])
    tokens = run.tokens.filter(pl.col("id") == ranked["id"][0]).select("text", "segment").rows()
    return tuple(
        ColouredText("".join(text for text, _ in span), segment)
        for segment, span in groupby(tokens, key=lambda token: token[1])
    )
