"""What a monitor said of a run, by answer and by label."""

from __future__ import annotations

import numpy as np
import polars as pl

from foretell.monitors.recall import share_by_groups
from foretell.stats.folds import group_codes

__all__ = ["by_answer", "found_rates"]


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
