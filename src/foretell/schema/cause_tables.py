"""The table of causes: what predicts a behaviour beside what causes it."""

from __future__ import annotations

import polars as pl

from foretell.schema.columns import REASON, Column, Table, count, fraction, number

__all__ = ["CAUSES"]

_NOT = "not of this kind"
_CONTROL = "root mean square of the same effect of the controls"
_P = "p-value of the two effects before, compared with 0 and with the controls"
_ADJUSTED = "adjusted for all tests of the table"

CAUSES = Table(
    "causes",
    ("component", "ablation"),
    (
        Column("component", pl.String(), "what is changed, in words"),
        Column("kind", pl.String(), "heads ablated, segment masked, direction removed, or direction added"),
        Column("ablation", pl.String(), "zero, mean or resample: what takes the place of what is ablated", null=_NOT),
        Column("layer", pl.Int32(), "decoder block, from 0", 0, null="heads of several layers"),
        Column("head", pl.Int32(), "query head within the layer, from 0", 0, null="several heads, or a direction"),
        Column("segment", pl.String(), "segment whose keys the head does not see", null=_NOT),
        Column("concept", pl.String(), "concept of the direction", null=_NOT),
        Column("dose", pl.Float64(), "standard deviations of the direction that are added", null=_NOT),
        fraction("auc", "held-out AUC of a score that is fitted on training groups"),
        fraction("auc_lower", "lower end of its interval, clustered by group"),
        fraction("auc_upper", "upper end of its interval"),
        Column("auc_within", pl.Float64(), "the AUC over pairs of one stratum", 0, 1, null="no strata"),
        fraction("p_predicts", f"one-sided p-value of predicting the label, within strata, {_ADJUSTED}"),
        fraction(
            "p_added",
            "one-sided p-value of adding to the baselines (lengths, log-probability), adjusted for this test of all "
            "parts; it decides no verdict",
        ),
        fraction("label_rate", "share of label 1 among answers that are generated without any intervention"),
        fraction("label_rate_after", "the same under the intervention, of the same conversations"),
        number("label_shift", "label_rate_after minus label_rate", -1, 1),
        number("label_shift_lower", "lower end of its interval, clustered by group"),
        number("label_shift_upper", "upper end of its interval"),
        number("label_shift_control", _CONTROL),
        fraction("label_changed", "share of answers whose label is another under the intervention"),
        number("label_changed_lower", "lower end of its interval, clustered by group"),
        number("label_changed_upper", "upper end of its interval"),
        number("label_changed_control", _CONTROL),
        fraction("p_label", f"{_P}, {_ADJUSTED}"),
        number("odds_shift", "mean change of log P(answer of label 1) - log P(answer of label 0), in nats"),
        number("odds_shift_lower", "lower end of its interval, clustered by group"),
        number("odds_shift_upper", "upper end of its interval"),
        number("odds_shift_control", _CONTROL),
        number("odds_loss", "mean fall of the log-odds of the answer with the sample's own label, in nats"),
        number("odds_loss_lower", "lower end of its interval, clustered by group"),
        number("odds_loss_upper", "upper end of its interval"),
        number("odds_loss_control", _CONTROL),
        fraction("p_odds", f"{_P}, {_ADJUSTED}"),
        count("n_controls", "controls: other heads of the layer and its neighbours, or random directions"),
        count("n_label_groups", "held-out groups with a label with and without the intervention"),
        count("n_odds_groups", "held-out groups with two answers"),
        count("n_unlabelled", "held-out answers without a label under the intervention"),
        Column("verdict", pl.String(), "predicts and causes, predicts only, causes only, neither, or cannot say"),
        Column("why", pl.String(), "the rule that applied, with its numbers"),
        REASON,
    ),
)
