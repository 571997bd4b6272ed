"""The tables that say whether a direction is real and whether it acts."""

from __future__ import annotations

import polars as pl

from foretell.schema.columns import ID, LAYER, REASON, Column, Table, count, fraction, number

__all__ = ["DIRECTION_AGREEMENT", "DIRECTION_CHOICE", "DIRECTION_NULL", "DIRECTION_TRANSFER", "STEERING", "SURFACE"]

_CONCEPT = Column("concept", pl.String(), "what the direction stands for")
_METHOD = Column("method", pl.String(), "how the direction was found, such as mean-difference")
_INTERVAL = "of the 95 % interval, both answers of a pair kept together"
_AUCS = (
    fraction("auc", "chance that a positive answer scores above a negative one, ties one half"),
    fraction("auc_lower", f"lower end {_INTERVAL}"),
    fraction("auc_upper", f"upper end {_INTERVAL}"),
)
_BEST_OF_ALL = "the row of the best layer of each draw"

DIRECTION_NULL = Table(
    "direction_null",
    ("concept", "method", "kind", "layer"),
    (
        _CONCEPT,
        _METHOD,
        Column(
            "kind",
            pl.String(),
            "random: directions drawn at random; shuffled: fitted after pairs exchanged their answers at random",
        ),
        Column("layer", pl.Int32(), "decoder block, from 0", 0, null=_BEST_OF_ALL),
        count("n_draws", "directions drawn or fitted"),
        fraction("auc_mean", "mean held-out AUC of the draws"),
        fraction("auc_lower", "5th percentile of the draws' AUC"),
        fraction("auc_upper", "95th percentile of the draws' AUC"),
        fraction("auc_observed", "held-out AUC of the direction itself"),
        fraction("p_value", "share of draws, the direction among them, whose AUC is at least the direction's"),
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
        Column("heldout", pl.String(), "topics that took no part in fitting or in choosing the layer; all: together"),
        Column("layer", pl.Int32(), "layer with the best AUC within the other topics", 0, null="layers differ"),
        fraction("train_auc", "its AUC within the other topics, each topic scored without itself"),
        *_AUCS,
        Column("best_baseline", pl.String(), "baseline that separates best, in either direction", null="not compared"),
        fraction("baseline_auc", "its AUC, turned so that it is not below one half"),
        number("increment", "auc minus baseline_auc", -1, 1),
        number("increment_lower", f"lower end {_INTERVAL}", -1, 1),
        number("increment_upper", f"upper end {_INTERVAL}", -1, 1),
        count("n", "answers judged"),
        REASON,
    ),
)

DIRECTION_TRANSFER = Table(
    "direction_transfer",
    ("concept", "method", "train", "judged"),
    (
        _CONCEPT,
        _METHOD,
        Column("train", pl.String(), "topic or data set that the direction was fitted on, and the layer chosen on"),
        Column("judged", pl.String(), "topic or data set it was judged on; its own: pairs that were held out"),
        Column("layer", pl.Int32(), "layer with the best held-out AUC within `train`", 0, null="none is defined"),
        *_AUCS,
        fraction("pair_accuracy", "share of pairs whose positive answer scores higher, ties one half"),
        count("n_train", "pairs fitted on"),
        count("n", "answers judged"),
        REASON,
    ),
)

STEERING = Table(
    "steering",
    ("concept", "kind", "dose"),
    (
        _CONCEPT,
        Column("kind", pl.String(), "direction, or random: other directions, added with the same length"),
        Column(
            "dose",
            pl.Float64(),
            "what is added, in the direction's standard deviations, shared evenly among the layers",
        ),
        count("n_draws", "directions added in turn"),
        number("log_odds", "mean over pairs of log P(positive answer) - log P(negative answer), in nats"),
        number("shift", "log_odds minus that without anything added; above 0: more of the concept"),
        number("shift_lower", "lower end of the 95 % interval over pairs"),
        number("shift_upper", "upper end of the 95 % interval over pairs"),
        number("draw_lower", "lowest mean shift of a single draw"),
        number("draw_upper", "highest mean shift of a single draw"),
        Column(
            "directed",
            pl.Float64(),
            "half the shift less that of the opposite dose: what depends on the direction and not on any push",
            null="no opposite dose",
        ),
        Column(
            "directed_lower",
            pl.Float64(),
            "lower end of its 95 % interval over pairs; of random directions the lowest",
            null="no interval",
        ),
        Column(
            "directed_upper",
            pl.Float64(),
            "upper end of its 95 % interval over pairs; of random directions the highest",
            null="no interval",
        ),
        Column(
            "directed_p",
            pl.Float64(),
            "share of directions, itself among the random ones, whose directed shift is at least as large",
            0,
            1,
            null="no random directions, or a row of them",
        ),
        fraction("flipped", "share of pairs whose preferred answer changed"),
        count("n_pairs", "pairs, none of which the direction was fitted on"),
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
        number("activity", "calibrated score, in the unit that the surface's description names"),
        Column("lower", pl.Float64(), "lower end of the 95 % interval of a mean over answers", null="no mean"),
        Column("upper", pl.Float64(), "upper end of the 95 % interval of a mean over answers", null="no mean"),
        Column("null_lower", pl.Float64(), "5th percentile of random directions here", null="none drawn"),
        Column("null_upper", pl.Float64(), "95th percentile of random directions here", null="none drawn"),
    ),
)
