"""The tables of a study."""

from __future__ import annotations

import polars as pl

from foretell.schema.columns import DATASET, HEAD, ID, LAYER, REASON, UNDEFINED, Column, Table, count, fraction, number

__all__ = [
    "ASSOCIATION",
    "DETECTORS",
    "DIRECTIONS",
    "EARLY",
    "EARLY_RELATIVE",
    "FOREST",
    "FOREST_POINTS",
    "HELD_OUT_SCORES",
    "HIDDEN_LAYERS",
    "IMPORTANCES",
    "LEAK",
    "POOLED",
    "RELIABILITY",
    "ROC",
    "ROC_POINTS",
    "THRESHOLDS",
    "TOLD_BY",
    "TRANSFER",
    "VERDICTS",
]

POOLED = "all"
"""`dataset` of all datasets together."""
LEAK = 0.05
"""Smallest AUC, of the placebo above one half and of a random split of rows above held-out groups, called a leak."""

_METRIC = Column("metric", pl.String(), "column of the attention table")
_AT_LEVEL = "of the interval at the study's level (95 % by default)"
_INTERVAL = f"{_AT_LEVEL}, clustered by group"
_OF_DIRECTION = "of the 95 % interval, clustered by group"

ASSOCIATION = Table(
    "association",
    ("dataset", "layer", "head", "metric"),
    (
        DATASET,
        LAYER,
        HEAD,
        _METRIC,
        count("n", "rows with a label"),
        count("n_positive", "rows whose label is 1"),
        number("pearson", "linear correlation of metric and label", -1, 1),
        fraction("pearson_p", "two-sided p-value of pearson"),
        number("spearman", "rank correlation of metric and label", -1, 1),
        fraction("spearman_p", "two-sided p-value of spearman"),
        fraction("auc", "probability that a positive scores above a negative, ties one half"),
        fraction("auc_lower", f"lower end {_INTERVAL}"),
        fraction("auc_upper", f"upper end {_INTERVAL}"),
        fraction("auc_p", "two-sided Mann-Whitney p-value of auc"),
        fraction("auc_within", "the same over pairs of samples of one stratum"),
        fraction("q_value", "Benjamini-Hochberg false discovery rate over the dataset's family"),
        fraction(
            "p_max",
            "Westfall-Young max-statistic p-value over the dataset's family; labels are exchanged between groups, "
            "within strata; beside baselines, of what these leave of labels and metrics",
        ),
        REASON,
    ),
)


def _aucs(interval: str) -> tuple[Column, ...]:
    return (
        fraction("auc", "area under the ROC curve"),
        fraction("auc_lower", f"lower end {interval}"),
        fraction("auc_upper", f"upper end {interval}"),
    )


_AUCS = _aucs(_INTERVAL)

_INCREMENT = (
    number("increment", "AUC of all baselines and the signal minus that of all baselines, within strata", -1, 1),
    number("increment_lower", f"lower end {_INTERVAL}", -1, 1),
    number("increment_upper", f"upper end {_INTERVAL}", -1, 1),
)

_LEVEL = Column("level", pl.String(), "row: every (sample, layer, head); sample: mean over a sample's rows")

ROC = Table(
    "roc",
    ("dataset", "metric", "level"),
    (
        DATASET,
        _METRIC,
        _LEVEL,
        *_AUCS,
        count("n", "rows"),
        count("n_samples", "samples"),
        count("n_positive", "samples whose label is 1"),
        REASON,
    ),
)

_RATES = (
    Column("false_positive_rate", pl.Float64(), "share of negatives at or above the threshold", 0, 1),
    Column("true_positive_rate", pl.Float64(), "share of positives at or above the threshold", 0, 1),
)

ROC_POINTS = Table("roc_points", ("dataset", "metric", "level"), (DATASET, _METRIC, _LEVEL, *_RATES))

THRESHOLDS = Table(
    "thresholds",
    ("dataset", "metric", "objective"),
    (
        DATASET,
        _METRIC,
        Column("objective", pl.String(), "what the threshold maximises on training groups"),
        number("threshold", "chosen value of the metric (median over folds)"),
        Column("side", pl.String(), "above: predict 1 if metric > threshold; below: the reverse", null=UNDEFINED),
        number("train_value", "objective on training groups", -1, 1),
        number("heldout_value", "objective on held-out groups", -1, 1),
        number("lower", f"lower end {_INTERVAL}, of heldout_value", -1, 1),
        number("upper", f"upper end {_INTERVAL}, of heldout_value", -1, 1),
        REASON,
    ),
)

_PROTOCOL = Column(
    "protocol",
    pl.String(),
    "rows: random split of rows, as in the source study; grouped: split by sample; "
    "placebo: random split of rows with labels dealt anew by whole groups",
)

FOREST = Table(
    "forest",
    ("dataset", "protocol"),
    (
        DATASET,
        _PROTOCOL,
        *_AUCS,
        fraction("f1", "F1 of class 1 at probability one half"),
        fraction("accuracy", "share of held-out rows predicted correctly"),
        fraction("balanced_accuracy", "mean of the two classes' recalls"),
        number("mcc", "Matthews correlation", -1, 1),
        fraction("average_precision", "area under the precision-recall curve"),
        fraction("majority_accuracy", "accuracy of always predicting the majority class"),
        count("n", "held-out rows"),
        count("n_samples", "samples among them"),
        REASON,
    ),
)

FOREST_POINTS = Table("forest_points", ("dataset", "protocol"), (DATASET, _PROTOCOL, *_RATES))

IMPORTANCES = Table(
    "importances",
    ("dataset", "protocol", "metric", "kind"),
    (
        DATASET,
        _PROTOCOL,
        _METRIC,
        Column("kind", pl.String(), "impurity (on training rows) or permutation (drop of held-out AUC)"),
        number("importance", "impurity: share, sums to 1; permutation: AUC lost when the column is shuffled"),
        number("lower", f"lower end {_AT_LEVEL}"),
        number("upper", f"upper end {_AT_LEVEL}"),
        REASON,
    ),
)

_DETECTOR = Column("detector", pl.String(), "name of the feature set that gives one score per sample")
_BEHAVIOUR = Column("behaviour", pl.String(), "what label 1 means", null="the samples name none, or several")
_SIGNAL = Column(
    "signal",
    pl.String(),
    "family of signals: attention, hidden states, activity, confidence, all (of them together), a published detector's "
    "or a user's own; baseline: none of the model's internals",
)

DETECTORS = Table(
    "detectors",
    ("dataset", "detector"),
    (
        DATASET,
        _DETECTOR,
        Column("role", pl.String(), "detector, or baseline without the model's internals"),
        _SIGNAL,
        _BEHAVIOUR,
        *_AUCS,
        fraction("auc_within_strata", "AUC over pairs of samples of the same stratum"),
        fraction("auc_within_lower", f"lower end {_INTERVAL}"),
        fraction("auc_within_upper", f"upper end {_INTERVAL}"),
        Column(
            "best_baseline",
            pl.String(),
            "single baseline with the highest AUC, within strata where there are strata",
            null="a baseline itself, or none exists",
        ),
        *_INCREMENT,
        fraction("brier", "mean squared error of the predicted probability"),
        fraction("calibration_error", "expected calibration error, ten equal-count bins"),
        count("n", "samples"),
        count("n_features", "number of feature columns"),
        REASON,
    ),
)

RELIABILITY = Table(
    "reliability",
    ("dataset", "detector", "bin"),
    (
        DATASET,
        _DETECTOR,
        Column("bin", pl.Int32(), "bin of equal counts, from the lowest probability, from 0", 0),
        count("n", "samples in the bin"),
        fraction("mean_probability", "mean predicted probability of label 1"),
        fraction("observed", "share of samples whose label is 1"),
        fraction("lower", f"lower end {_AT_LEVEL}, of observed"),
        fraction("upper", f"upper end {_AT_LEVEL}, of observed"),
    ),
)

HELD_OUT_SCORES = Table(
    "held_out_scores",
    ("dataset", "id", "detector"),
    (
        DATASET,
        ID,
        _DETECTOR,
        number("score", "log-odds of label 1 by models fitted on other groups, mean over repeats of the folds"),
        fraction(
            "rank",
            "share of the other held-out samples of the same fold that score lower, ties one half, mean over repeats: "
            "comparable between folds, which scores are not",
        ),
        REASON,
    ),
)

TRANSFER = Table(
    "transfer",
    ("train", "dataset", "detector"),
    (
        Column("train", pl.String(), "training dataset; others: all but the evaluated one; itself: held-out groups"),
        Column("dataset", pl.String(), "evaluated dataset"),
        _DETECTOR,
        *_AUCS,
        count("n_train", "training samples"),
        count("n", "evaluated samples"),
        REASON,
    ),
)

DIRECTIONS = Table(
    "directions",
    ("concept", "measure", "layer"),
    (
        Column("concept", pl.String(), "concept of the direction"),
        Column("measure", pl.String(), "score: activity along the direction; else the name of a baseline"),
        Column("layer", pl.Int32(), "decoder block, from 0", 0, null="a baseline has no layer"),
        *_aucs(_OF_DIRECTION),
        fraction("auc_within_topics", "AUC over pairs of statements of the same topic"),
        fraction("pair_accuracy", "share of pairs whose positive statement scores higher, ties one half"),
        count("n", "statements"),
        count("n_pairs", "pairs of a positive and a negative statement"),
        REASON,
    ),
)

VERDICTS = Table(
    "verdicts",
    ("dataset", "signal"),
    (
        DATASET,
        Column("signal", pl.String(), "a detector, a family of signals, the forest on rows, or any single head"),
        _BEHAVIOUR,
        Column("verdict", pl.String(), "signal, weak signal, no signal found, leak, or not enough data"),
        Column("why", pl.String(), "the rule that applied, with its numbers"),
        fraction("auc", "AUC on held-out groups, within strata where there are strata; of single heads on all groups"),
        fraction("auc_lower", f"lower end {_INTERVAL}"),
        fraction("auc_upper", f"upper end {_INTERVAL}"),
        *_INCREMENT,
        fraction(
            "p_adjusted",
            "one-sided p-value of the increment (without baselines: of the AUC; of single heads: p_max), adjusted for "
            "all signals of the study",
        ),
        fraction("minimal_auc", "minimum detectable AUC with this sample, 80 % power, after the same adjustment"),
        REASON,
    ),
)

_AFTER = Column("n_generated", pl.Int32(), "tokens of the answer that are written by then (shorter answers: all)", 0)
_WITHIN = fraction("auc_within", "AUC over pairs of samples of the same stratum")

_AT_A_MOMENT = (
    fraction("share_written", "mean share of each answer's tokens that are written by then"),
    *_AUCS,
    _WITHIN,
    number("increment", "AUC of the moment's baselines and the signal minus that of the baselines", -1, 1),
    number("increment_lower", f"lower end {_INTERVAL}", -1, 1),
    number("increment_upper", f"upper end {_INTERVAL}", -1, 1),
    fraction("p", "one-sided p-value of the increment (without baselines: of the AUC)"),
    Column("counts", pl.Boolean(), "the words of the answer so far do not tell the label by themselves"),
    count("n", "samples"),
    count("n_positive", "samples whose label is 1"),
    REASON,
)

EARLY = Table(
    "early",
    ("dataset", "detector", "n_generated"),
    (DATASET, _BEHAVIOUR, _DETECTOR, _SIGNAL, _AFTER, *_AT_A_MOMENT),
)

EARLY_RELATIVE = Table(
    "early_relative",
    ("dataset", "detector", "position"),
    (
        DATASET,
        _BEHAVIOUR,
        _DETECTOR,
        _SIGNAL,
        fraction("position", "at most this share of each answer is written: 0 before the answer, 1 the whole answer"),
        *_AT_A_MOMENT,
    ),
)

TOLD_BY = Table(
    "told_by",
    ("dataset", "signal"),
    (
        DATASET,
        _BEHAVIOUR,
        _SIGNAL,
        Column(
            "n_generated",
            pl.Int32(),
            "first number of tokens from which on the signal adds to all baselines of the same moment",
            0,
            null="never; the reason column says why",
        ),
        fraction("p_adjusted", "p-value there (where it is never: at the last moment that counts), for all curves"),
        REASON,
    ),
)

HIDDEN_LAYERS = Table(
    "hidden_layers",
    ("dataset", "pool", "layer"),
    (
        DATASET,
        _BEHAVIOUR,
        Column("pool", pl.String(), "last prompt token, mean over answer, or last answer token"),
        LAYER,
        _AFTER,
        *_AUCS,
        _WITHIN,
        REASON,
    ),
)
