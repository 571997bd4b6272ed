"""The tables of directions: evaluation, controls, choice of layer, transfer, steering, surfaces."""

from __future__ import annotations

import polars as pl

from foretell.schema.columns import ID, LAYER, REASON, Column, Table, count, fraction, number

__all__ = ["DIRECTION_AGREEMENT", "DIRECTION_CHOICE", "DIRECTION_NULL", "DIRECTION_TRANSFER", "STEERING", "SURFACE"]

_CONCEPT = Column("concept", pl.String(), "concept of the direction")
_METHOD = Column("method", pl.String(), "method that fitted the direction, such as mean-difference")
_INTERVAL = "of the 95 % interval, clustered by pair"
_AUCS = (
    fraction("auc", "probability that a positive answer scores above a negative one, ties one half"),
    fraction("auc_lower", f"lower end {_INTERVAL}"),
    fraction("auc_upper", f"upper end {_INTERVAL}"),
)
_BEST_OF_ALL = "the row that compares best layers"

DIRECTION_NULL = Table(
    "direction_null",
    ("concept", "method", "kind", "layer"),
    (
        _CONCEPT,
        _METHOD,
        Column(
            "kind",
            pl.String(),
            "random: random directions; shuffled: fitted after exchanging the answers of random pairs",
        ),
        Column("layer", pl.Int32(), "decoder block, from 0", 0, null=_BEST_OF_ALL),
        count("n_draws", "number of random or shuffled directions"),
        fraction("auc_mean", "mean held-out AUC of the draws"),
        fraction("auc_lower", "5th percentile of the draws' AUC"),
        fraction("auc_upper", "95th percentile of the draws' AUC"),
        fraction("auc_observed", "held-out AUC of the direction itself"),
        fraction("p_value", "share of draws, including the direction, with at least the direction's AUC"),
        REASON,
    ),
)

DIRECTION_AGREEMENT = Table(
    "direction_agreement",
    ("concept", "method", "other", "layer"),
    (
        _CONCEPT,
        _METHOD,
        Column("other", pl.String(), "the method, or the set of pairs, that it is compared with"),
        LAYER,
        number("cosine", "cosine of both unit vectors", -1, 1),
        REASON,
    ),
)

DIRECTION_CHOICE = Table(
    "direction_choice",
    ("concept", "method", "heldout"),
    (
        _CONCEPT,
        _METHOD,
        Column("heldout", pl.String(), "topics held out from fitting and from choosing the layer; all: together"),
        Column("layer", pl.Int32(), "layer with the best AUC on the other topics", 0, null="layers differ"),
        fraction("train_auc", "its cross-validated AUC on the other topics"),
        *_AUCS,
        Column("best_baseline", pl.String(), "baseline with the best AUC, in either direction", null="not compared"),
        fraction("baseline_auc", "its AUC, or one minus it if that is higher"),
        number("increment", "auc minus baseline_auc", -1, 1),
        number("increment_lower", f"lower end {_INTERVAL}", -1, 1),
        number("increment_upper", f"upper end {_INTERVAL}", -1, 1),
        count("n", "answers evaluated"),
        REASON,
    ),
)

DIRECTION_TRANSFER = Table(
    "direction_transfer",
    ("concept", "method", "train", "judged"),
    (
        _CONCEPT,
        _METHOD,
        Column("train", pl.String(), "topic or data set on which the direction was fitted and the layer chosen"),
        Column("judged", pl.String(), "topic or data set of the evaluation; for its own: held-out pairs"),
        Column("layer", pl.Int32(), "layer with the best held-out AUC within `train`", 0, null="none is defined"),
        *_AUCS,
        fraction("pair_accuracy", "share of pairs whose positive answer scores higher, ties one half"),
        count("n_train", "training pairs"),
        count("n", "answers evaluated"),
        REASON,
    ),
)

STEERING = Table(
    "steering",
    ("concept", "kind", "dose"),
    (
        _CONCEPT,
        Column("kind", pl.String(), "direction, or random: random directions of the same length"),
        Column(
            "dose",
            pl.Float64(),
            "in standard deviations of the direction, divided evenly among the layers",
        ),
        count("n_draws", "number of directions"),
        number("log_odds", "mean over pairs of log P(positive answer) - log P(negative answer), in nats"),
        number("shift", "log_odds minus that without steering; above 0: more of the concept"),
        number("shift_lower", "lower end of the 95 % interval over pairs"),
        number("shift_upper", "upper end of the 95 % interval over pairs"),
        number("draw_lower", "minimum over draws of the mean shift"),
        number("draw_upper", "maximum over draws of the mean shift"),
        Column(
            "directed",
            pl.Float64(),
            "half of the shift minus that of the opposite dose: the component specific to the direction",
            null="no opposite dose, or not finite",
        ),
        Column(
            "directed_lower",
            pl.Float64(),
            "lower end of its 95 % interval over pairs; for random directions the minimum",
            null="no interval",
        ),
        Column(
            "directed_upper",
            pl.Float64(),
            "upper end of its 95 % interval over pairs; for random directions the maximum",
            null="no interval",
        ),
        Column(
            "directed_p",
            pl.Float64(),
            "share of random directions, including itself, with a directed shift at least as large",
            0,
            1,
            null="no random directions, not finite, or a row of them",
        ),
        fraction("flipped", "share of pairs whose preferred answer changed"),
        count("n_pairs", "pairs, all held out from fitting"),
        REASON,
    ),
)

SURFACE = Table(
    "surface",
    ("id", "layer", "answer_position", "concept"),
    (
        ID,
        LAYER,
        Column("answer_position", pl.Int32(), "the token's place in the answer, from 0", 0),
        _CONCEPT,
        number("activity", "score, in the unit given in surface.json"),
        Column("lower", pl.Float64(), "lower end of the 95 % interval of a mean over answers", null="no mean"),
        Column("upper", pl.Float64(), "upper end of the 95 % interval of a mean over answers", null="no mean"),
        Column("null_lower", pl.Float64(), "5th percentile of random directions", null="none drawn"),
        Column("null_upper", pl.Float64(), "95th percentile of random directions", null="none drawn"),
    ),
)
