"""Held-out ranks of single conversations, for the browsable list: one number per sample and detector."""

from __future__ import annotations

import polars as pl

from foretell.showing.overview import ALL_BASELINES, families, shown_signal
from foretell.showing.report_data import ReportData
from foretell.showing.run_conversations import SCORE

__all__ = ["RANK", "scored_conversations"]

RANK = "held-out rank, "
"""Prefix of the names of these numbers, which a detector's name follows."""
_ALL_HEADS = "all heads"
"""The detector on attention where the study has no families."""


def scored_conversations(data: ReportData) -> pl.DataFrame | None:
    """Return the conversations of a run with the held-out rank by each family, by all of them, and by all baselines.

    Args:
        data: The study, whose table `held_out_scores` has the ranks, and the conversations.

    Returns:
        The conversations, each rank a column of its own before the other scores; None without any.
    """
    conversations, scores = data.facts.conversations, data.table("held_out_scores")
    if conversations is None or scores.is_empty():
        return conversations
    chosen = [*map(shown_signal, families(data)), ALL_BASELINES]
    chosen = chosen if len(chosen) > 1 else [_ALL_HEADS, *chosen]
    known = set(scores["detector"])
    joined = conversations
    for name in chosen:
        if name in known:
            own = scores.filter(pl.col("detector") == name).select("dataset", "id", pl.col("rank"))
            joined = joined.join(
                own.rename({"rank": f"{SCORE}{RANK}{name}"}), on=["dataset", "id"], how="left", maintain_order="left"
            )
    ranks = [name for name in joined.columns if name.startswith(f"{SCORE}{RANK}")]
    return joined.select(*ranks, *(name for name in joined.columns if name not in ranks))
