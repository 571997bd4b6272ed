"""Facts about a run for the report page: the model, an example with its segments, how the answers were made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import polars as pl

from foretell.jobs.attempts import summary_of
from foretell.showing.report_data import ColouredText, RunFacts
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
    )


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
