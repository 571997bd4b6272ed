"""Conversations of a run for the report page: texts, labels, scores, and a number for each generated token."""

from __future__ import annotations

import polars as pl

from foretell.schema.run_tables import MASSES, SEGMENTS
from foretell.storage.runs import Run

__all__ = ["COLOURED", "SCORE", "run_conversations"]

COLOURED = "token: "
"""Prefix of columns with a list of one number per generated token."""

SCORE = "score: "
"""Prefix of columns with one number per sample."""

_SEGMENT = dict(zip(MASSES, SEGMENTS, strict=True))
_TEXTS = (
    *("id", "dataset", "behaviour", "behavior_label", "label_source", "label_reason", "reason", "messages", "answer"),
)
_MOST_ROWS = 50_000_000
"""Largest number of rows of a table whose means are taken here."""


def run_conversations(run: Run) -> pl.DataFrame:
    """Return one row per sample of a run, in the order of datasets and ids.

    Columns: `id`, `dataset`, `behaviour`, `behavior_label`, `label_source`, `label_reason`, `reason`, `messages`,
    `answer`; `tokens`, the text of each generated token; one list per token for each of log-probability, activity (mean
    over layers) along each direction, and mass per segment where the run keeps it for every token; one number per
    sample for each of these, and for the mean masses of its heads.

    Args:
        run: A run.
    """
    samples = run.sample_columns([*_TEXTS, "mean_logprob", "n_tokens_generated"]).select(
        *_TEXTS,
        pl.col("mean_logprob").alias(f"{SCORE}mean log-probability"),
        pl.col("n_tokens_generated").cast(pl.Float64).alias(f"{SCORE}generated tokens"),
    )
    tokens = run.columns_of("tokens", ["id", "answer_position", "text", "logprob"])
    written = tokens.filter(pl.col("answer_position").is_not_null()).sort("id", "answer_position")
    texts = written.group_by("id", maintain_order=True).agg(
        pl.col("text").alias("tokens"), pl.col("logprob").alias(f"{COLOURED}log-probability")
    )
    joined = samples.join(texts, on="id", how="left")
    for part in (_activity(run), _token_masses(run), _masses(run)):
        if part is not None:
            joined = joined.join(part, on="id", how="left")
    return joined.sort("dataset", "id")


def _activity(run: Run) -> pl.DataFrame | None:
    if not 0 < run.n_rows("activity") <= _MOST_ROWS:
        return None
    by_token = (
        run.columns_of("activity", ["id", "concept", "answer_position", "activity"])
        .group_by("id", "concept", "answer_position")
        .agg(pl.col("activity").mean())
        .sort("concept", "answer_position")
    )
    made: pl.DataFrame | None = None
    for part in by_token.partition_by("concept", maintain_order=True):
        name = f"activity “{part.item(0, 'concept')}”"
        one = part.group_by("id", maintain_order=True).agg(
            pl.col("activity").alias(f"{COLOURED}{name}"), pl.col("activity").mean().alias(f"{SCORE}{name}")
        )
        made = one if made is None else made.join(one, on="id", how="full", coalesce=True)
    return made


def _token_masses(run: Run) -> pl.DataFrame | None:
    """Return the mass of each token's query row per segment, mean over heads; None unless the run keeps such rows."""
    if not 0 < run.n_rows("rows") <= _MOST_ROWS:
        return None
    by_head = run.columns_of("rows", ["id", "answer_position", *MASSES]).filter(pl.col("answer_position").is_not_null())
    means = pl.col(*MASSES).cast(pl.Float64).mean()
    by_token = by_head.group_by("id", "answer_position").agg(means).sort("id", "answer_position")
    return by_token.group_by("id", maintain_order=True).agg(
        pl.col(column).alias(f"{COLOURED}mass on {segment}") for column, segment in _SEGMENT.items()
    )


def _masses(run: Run) -> pl.DataFrame | None:
    if not 0 < run.n_rows("attention") <= _MOST_ROWS:
        return None
    return (
        run.columns_of("attention", ["id", *MASSES])
        .group_by("id")
        .agg(pl.col(column).mean().alias(f"{SCORE}mass on {segment}") for column, segment in _SEGMENT.items())
    )
