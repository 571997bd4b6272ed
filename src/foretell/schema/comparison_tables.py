"""The tables of a comparison of two studies or runs."""

from __future__ import annotations

import polars as pl

from foretell.schema.columns import DATASET, HEAD, LAYER, REASON, Column, Table, count, fraction, number

__all__ = ["COMPARISON", "COMPARISON_HEADS"]

_KINDS = "attention (mean of the metric over samples) or head AUC (of the metric for the label)"

_NUMBERS = (
    number("first", "on the first side"),
    number("second", "on the second side"),
    number("difference", "first minus second"),
    number("lower", "lower end of its interval over groups"),
    number("upper", "upper end"),
)

COMPARISON = Table(
    "comparison",
    ("dataset", "kind", "what"),
    (
        DATASET,
        Column("behaviour", pl.String(), "what label 1 means", null="not given, or another on the other side"),
        Column("kind", pl.String(), "label rate, detector AUC, attention or head AUC"),
        Column("what", pl.String(), "the detector, or the head and metric with the clearest difference of all"),
        *_NUMBERS,
        fraction("p", "two-sided p-value; of heads that of the max-statistic over all of them"),
        fraction("p_adjusted", "adjusted for all rows of the table (Hommel)"),
        Column("paired", pl.Boolean(), "whether both sides are the same samples, joined by id"),
        count("n_first", "samples on the first side"),
        count("n_second", "samples on the second side"),
        count("n_groups", "groups of dependent samples, of both sides"),
        REASON,
    ),
)

COMPARISON_HEADS = Table(
    "comparison_heads",
    ("dataset", "kind", "layer", "head", "metric"),
    (
        DATASET,
        Column("kind", pl.String(), _KINDS),
        LAYER,
        HEAD,
        Column("metric", pl.String(), "the metric"),
        *_NUMBERS,
        fraction("p", "two-sided p-value of this head alone"),
        fraction("p_max", "p-value of the max-statistic over all heads and metrics of the kind"),
        REASON,
    ),
)
