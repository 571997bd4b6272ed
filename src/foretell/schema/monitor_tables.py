"""The tables of monitors on other answers than those they were made from."""

from __future__ import annotations

import polars as pl

from foretell.schema.columns import REASON, Column, Table, count, fraction, number

__all__ = ["DRIFT", "SHIFT"]

_EXACT = "of the exact interval"
_CLUSTERED = "of the interval, clustered by group"

SHIFT = Table(
    "shift",
    ("run", "part"),
    (
        Column("run", pl.String(), "name of the run"),
        Column("part", pl.String(), "part of it; all: the whole run"),
        Column(
            "differs", pl.String(), "how it was made otherwise than what the monitor was made from", null="it was not"
        ),
        Column("verdict", pl.String(), "of the false-positive rate: holds, breaks, cannot say yet"),
        Column(
            "n_more_needed",
            pl.Int64(),
            "groups with label 0 until the verdict falls if they alarm as often as those so far; 0 with a verdict",
            0,
            null="100,000 do not suffice, or there is no threshold",
        ),
        fraction("false_positive_rate", "share of the groups with label 0 that have an alarm on such an answer"),
        fraction("false_positive_rate_lower", f"lower end {_EXACT}"),
        fraction("false_positive_rate_upper", f"upper end {_EXACT}"),
        fraction("max_false_positive_rate", "what the monitor states"),
        fraction("p_holds", "p-value against a rate above that, adjusted for all rows (Holm)"),
        fraction("p_breaks", "p-value against a rate within that, adjusted for all rows (Holm)"),
        fraction("recall", "share of the answers with label 1 that have an alarm"),
        fraction("recall_lower", f"lower end {_CLUSTERED}"),
        fraction("recall_upper", f"upper end {_CLUSTERED}"),
        number("recall_change", "recall minus that of the calibration groups", -1, 1),
        number("recall_change_lower", f"lower end {_CLUSTERED}", -1, 1),
        number("recall_change_upper", f"upper end {_CLUSTERED}", -1, 1),
        count("n_negative_groups", "groups with an answer of label 0"),
        count("n_false_alarms", "those with an alarm on such an answer"),
        count("n_negative", "answers with label 0"),
        count("n_positive", "answers with label 1"),
        count("n_positive_groups", "their groups"),
        Column(
            "n_seen_groups",
            pl.Int64(),
            "labelled groups that the monitor was made from; left out unless they are asked for",
            0,
            null="the monitor's file does not say",
        ),
        fraction("drift_p", "p-value of the drift check, adjusted for its numbers"),
        fraction("drift_distance", "largest distance of two distribution functions"),
        Column("drifted", pl.String(), "the numbers that drifted most, at most three", null="none, or undefined"),
        REASON,
    ),
)

DRIFT = Table(
    "drift",
    ("column",),
    (
        Column("column", pl.String(), "number that was compared"),
        fraction("distance", "largest distance of the distribution functions (Kolmogorov-Smirnov)"),
        fraction("probability_above", "probability that a new value is above one of the monitor's, ties one half"),
        fraction("p_value", "permutation p-value, adjusted for all numbers (max-statistic)"),
    ),
)
