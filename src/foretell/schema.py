"""Every table's columns: name, dtype, range, null rule and meaning.

A table is a list of column specifications, so that writers, readers, documentation and tests
share one source. Axis order everywhere is sample, layer, head, token, segment.

    from foretell.schema import ATTENTION, conform
    frame = conform(frame, ATTENTION)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from foretell.errors import TableError

if TYPE_CHECKING:
    DType: TypeAlias = pl.DataType
else:  # polars' dtypes print like their instances, which a run-time type checker refuses
    DType = object

__all__ = [
    "ACTIVITY",
    "ASSOCIATION",
    "ATTENTION",
    "DETECTORS",
    "DIRECTIONS",
    "FOREST",
    "FOREST_POINTS",
    "IMPORTANCES",
    "LABELS",
    "RELIABILITY",
    "ROC",
    "ROC_POINTS",
    "SAMPLES",
    "SEGMENTS",
    "SHARES",
    "TABLES",
    "THRESHOLDS",
    "TOKENS",
    "TRANSFER",
    "VERDICTS",
    "Column",
    "Table",
    "conform",
    "empty",
]

SEGMENTS = ("system", "prompt", "query", "template", "generated")
"""The five segments that cover every token, in the order of every segment axis (codes 0 to 4)."""

MASSES = ("SAM", "PAM", "QAM", "TAM", "GAM")
"""Column of each segment's mass, in the order of `SEGMENTS`."""

SHARES = ("PAM_norm", "QAM_norm", "SAM_norm")
"""The three normalised shares: each mass over PAM + QAM + SAM."""


@dataclass(frozen=True)
class Column:
    """One column: what it is called, holds and means."""

    name: str
    dtype: DType
    meaning: str
    lower: float | None = None
    upper: float | None = None
    null: str | None = None
    """When the value is null; None if it never is."""


@dataclass(frozen=True)
class Table:
    """A named list of columns and the columns that identify a row."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def dtypes(self) -> dict[str, DType]:
        """Column name to polars dtype, in order."""
        return {column.name: column.dtype for column in self.columns}


def empty(table: Table) -> pl.DataFrame:
    """Return a frame of no rows with the table's columns."""
    return pl.DataFrame(schema=table.dtypes)


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return `frame` with the table's columns in order and dtype, extra columns dropped.

    Raises:
        TableError: A column that may not be null is absent or holds nulls, or a value has another type.
    """
    expressions: list[pl.Expr] = []
    for column in table.columns:
        if column.name in frame.columns:
            expressions.append(pl.col(column.name).cast(column.dtype))
        elif column.null is not None:
            expressions.append(pl.lit(None, dtype=column.dtype).alias(column.name))
        else:
            raise TableError(f'table {table.name}: column "{column.name}" is missing')
    try:
        conformed = frame.select(expressions)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"table {table.name}: {error}") from error
    for column in table.columns:
        if column.null is None and conformed.get_column(column.name).null_count():
            raise TableError(f'table {table.name}: column "{column.name}" must not hold nulls')
    return conformed


_ID = Column("id", pl.String(), "the sample, unique within a run")
_DATASET = Column("dataset", pl.String(), "the set of conversations the sample belongs to")
_LAYER = Column("layer", pl.Int32(), "decoder block, from 0", lower=0.0)
_HEAD = Column("head", pl.Int32(), "query head within the layer, from 0", lower=0.0)
_REASON = Column("reason", pl.String(), "why a number of this row is undefined", null="every number is defined")
_UNDEFINED = "undefined; the reason column says why"


def _number(name: str, meaning: str, lower: float | None = None, upper: float | None = None) -> Column:
    return Column(name, pl.Float64(), meaning, lower, upper, null=_UNDEFINED)


def _fraction(name: str, meaning: str) -> Column:
    return _number(name, meaning, 0.0, 1.0)


def _count(name: str, meaning: str) -> Column:
    return Column(name, pl.Int64(), meaning, lower=0.0)


LABELS = Table(
    "labels",
    ("id",),
    (
        _ID,
        Column("behavior_label", pl.Int8(), "1 the behaviour happened, 0 it did not", 0, 1, null="unknown"),
        Column("label_source", pl.String(), "verifier, file or judge that said so", null="no label"),
        Column("label_reason", pl.String(), "what the source saw, or why there is no label", null="not given"),
    ),
)

SAMPLES = Table(
    "samples",
    ("id",),
    (
        _ID,
        _DATASET,
        Column("group", pl.String(), "samples of one group depend on each other and never straddle a split"),
        Column("stratum", pl.String(), "kind of task, which may itself predict the label", null="not given"),
        Column("messages", pl.String(), "the conversation before the answer, as JSON"),
        Column("answer", pl.String(), "what the model wrote", null="no answer"),
        *LABELS.columns[1:],
        Column("verifier", pl.String(), "the check of the answer, as JSON", null="none"),
        *(
            Column(f"n_tokens_{segment}", pl.Int32(), f"tokens in the segment {segment}", 0, null="not read")
            for segment in SEGMENTS
        ),
        Column("truncated", pl.Boolean(), "the answer ended at the token limit", null="answer was given"),
        Column(
            "mean_logprob",
            pl.Float64(),
            "mean log-probability (nats) of the answer's tokens",
            None,
            0,
            null="no tokens",
        ),
        Column("model", pl.String(), "name of the model that was read"),
        Column("reason", pl.String(), "why the sample has no attention rows", null="it was read"),
    ),
)

ATTENTION = Table(
    "attention",
    ("id", "layer", "head"),
    (
        _ID,
        _DATASET,
        _LAYER,
        _HEAD,
        *(
            _fraction(mass, f"mass on the segment {segment}, mean over the generated rows")
            for mass, segment in zip(MASSES, SEGMENTS, strict=True)
        ),
        *(_fraction(share, f"{share.removesuffix('_norm')} / (PAM + QAM + SAM)") for share in SHARES),
        *(
            _number(f"lift_{segment}", "mass over the segment's share of visible tokens; 1 = uniform", 0)
            for segment in SEGMENTS
        ),
    ),
)

TOKENS = Table(
    "tokens",
    ("id", "position"),
    (
        _ID,
        Column("position", pl.Int32(), "token position in the conversation, from 0", 0),
        Column("token_id", pl.Int32(), "id in the tokenizer's vocabulary", 0),
        Column("text", pl.String(), "the token's text"),
        Column("segment", pl.String(), "one of the five segments"),
        Column("logprob", pl.Float64(), "log-probability (nats) given all before", None, 0, null="not generated"),
    ),
)

ACTIVITY = Table(
    "activity",
    ("id", "layer", "position", "concept"),
    (
        _ID,
        _LAYER,
        Column("position", pl.Int32(), "generated token, from 0", 0),
        Column("concept", pl.String(), "what the direction stands for"),
        _number("activity", "(hidden . direction - mean) / standard deviation"),
    ),
)

_METRIC = Column("metric", pl.String(), "column of the attention table")
_INTERVAL = "of the 95 % interval, dependent samples kept together"

ASSOCIATION = Table(
    "association",
    ("dataset", "layer", "head", "metric"),
    (
        _DATASET,
        _LAYER,
        _HEAD,
        _METRIC,
        _count("n", "rows with a label"),
        _count("n_positive", "rows whose label is 1"),
        _number("pearson", "linear correlation of metric and label", -1, 1),
        _fraction("pearson_p", "two-sided p-value of pearson"),
        _number("spearman", "rank correlation of metric and label", -1, 1),
        _fraction("spearman_p", "two-sided p-value of spearman"),
        _fraction("auc", "chance that a positive scores above a negative, ties one half"),
        _fraction("auc_lower", f"lower end {_INTERVAL}"),
        _fraction("auc_upper", f"upper end {_INTERVAL}"),
        _fraction("auc_p", "two-sided Mann-Whitney p-value of auc"),
        _fraction("q_value", "Benjamini-Hochberg false discovery rate over the dataset's family"),
        _fraction("p_max", "Westfall-Young max-statistic permutation p-value over the dataset's family"),
        _REASON,
    ),
)

_AUCS = (
    _fraction("auc", "area under the ROC curve"),
    _fraction("auc_lower", f"lower end {_INTERVAL}"),
    _fraction("auc_upper", f"upper end {_INTERVAL}"),
)

_LEVEL = Column("level", pl.String(), "row: every (sample, layer, head); sample: mean over a sample's rows")

ROC = Table(
    "roc",
    ("dataset", "metric", "level"),
    (
        _DATASET,
        _METRIC,
        _LEVEL,
        *_AUCS,
        _count("n", "rows"),
        _count("n_samples", "samples"),
        _count("n_positive", "samples whose label is 1"),
        _REASON,
    ),
)

_RATES = (
    Column("false_positive_rate", pl.Float64(), "share of negatives at or above the threshold", 0, 1),
    Column("true_positive_rate", pl.Float64(), "share of positives at or above the threshold", 0, 1),
)

ROC_POINTS = Table("roc_points", ("dataset", "metric", "level"), (_DATASET, _METRIC, _LEVEL, *_RATES))

THRESHOLDS = Table(
    "thresholds",
    ("dataset", "metric", "objective"),
    (
        _DATASET,
        _METRIC,
        Column("objective", pl.String(), "what the threshold maximises on training groups"),
        _number("threshold", "chosen value of the metric (median over folds)"),
        Column("side", pl.String(), "above: predict 1 if metric > threshold; below: the reverse", null=_UNDEFINED),
        _number("train_value", "objective on the groups it was chosen on", -1, 1),
        _number("heldout_value", "objective on groups it was not chosen on", -1, 1),
        _number("lower", f"lower end of heldout_value's interval, {_INTERVAL}", -1, 1),
        _number("upper", f"upper end of heldout_value's interval, {_INTERVAL}", -1, 1),
        _REASON,
    ),
)

_PROTOCOL = Column(
    "protocol",
    pl.String(),
    "rows: random split of rows, as in the source; grouped: split by sample; "
    "placebo: split of rows with labels shuffled between samples",
)

FOREST = Table(
    "forest",
    ("dataset", "protocol"),
    (
        _DATASET,
        _PROTOCOL,
        *_AUCS,
        _fraction("f1", "F1 of class 1 at probability one half"),
        _fraction("accuracy", "share of held-out rows predicted right"),
        _fraction("balanced_accuracy", "mean of the two classes' recalls"),
        _number("mcc", "Matthews correlation", -1, 1),
        _fraction("average_precision", "area under the precision-recall curve"),
        _fraction("majority_accuracy", "accuracy of always saying the larger class"),
        _count("n", "held-out rows"),
        _count("n_samples", "samples among them"),
        _REASON,
    ),
)

FOREST_POINTS = Table("forest_points", ("dataset", "protocol"), (_DATASET, _PROTOCOL, *_RATES))

IMPORTANCES = Table(
    "importances",
    ("dataset", "protocol", "metric", "kind"),
    (
        _DATASET,
        _PROTOCOL,
        _METRIC,
        Column("kind", pl.String(), "impurity (on training rows) or permutation (drop of held-out AUC)"),
        _number("importance", "impurity: share, sums to 1; permutation: AUC lost when the column is shuffled"),
        _number("lower", "lower end of the 95 % interval"),
        _number("upper", "upper end of the 95 % interval"),
        _REASON,
    ),
)

_DETECTOR = Column("detector", pl.String(), "name of the features that make one score per sample")

DETECTORS = Table(
    "detectors",
    ("dataset", "detector"),
    (
        _DATASET,
        Column("detector", pl.String(), "name of the features that make one score per sample"),
        Column("role", pl.String(), "detector, or baseline that needs no internals"),
        *_AUCS,
        _fraction("auc_within_strata", "AUC over pairs of samples of the same stratum"),
        _fraction("auc_within_lower", f"lower end {_INTERVAL}"),
        _fraction("auc_within_upper", f"upper end {_INTERVAL}"),
        Column("best_baseline", pl.String(), "baseline with the highest AUC", null="a baseline itself, or none exists"),
        _number("increment", "AUC above the best baseline", -1, 1),
        _number("increment_lower", "lower end of the 95 % interval", -1, 1),
        _number("increment_upper", "upper end of the 95 % interval", -1, 1),
        _number("increment_over_all", "AUC above all baselines together", -1, 1),
        _number("increment_over_all_lower", "lower end of the 95 % interval", -1, 1),
        _number("increment_over_all_upper", "upper end of the 95 % interval", -1, 1),
        _fraction("brier", "mean squared error of the predicted probability"),
        _fraction("calibration_error", "expected calibration error, ten equal-count bins"),
        _count("n", "samples"),
        _count("n_features", "columns the detector sees"),
        _REASON,
    ),
)

RELIABILITY = Table(
    "reliability",
    ("dataset", "detector", "bin"),
    (
        _DATASET,
        _DETECTOR,
        Column("bin", pl.Int32(), "bin of equal counts, from the lowest probability, from 0", 0),
        _count("n", "samples in the bin"),
        _fraction("mean_probability", "mean predicted probability of label 1"),
        _fraction("observed", "share of samples whose label is 1"),
        _fraction("lower", "lower end of observed's 95 % interval"),
        _fraction("upper", "upper end of observed's 95 % interval"),
    ),
)

TRANSFER = Table(
    "transfer",
    ("train", "dataset", "detector"),
    (
        Column("train", pl.String(), "dataset learnt from; others: all but the judged one; itself: held-out groups"),
        Column("dataset", pl.String(), "dataset that was judged"),
        _DETECTOR,
        *_AUCS,
        _count("n_train", "samples learnt from"),
        _count("n", "samples judged"),
        _REASON,
    ),
)

DIRECTIONS = Table(
    "directions",
    ("concept", "measure", "layer"),
    (
        Column("concept", pl.String(), "what the direction stands for"),
        Column("measure", pl.String(), "score: activity along the direction; else the name of a baseline"),
        Column("layer", pl.Int32(), "decoder block, from 0", 0, null="a baseline has no layer"),
        *_AUCS,
        _fraction("auc_within_topics", "AUC over pairs of statements of the same topic"),
        _fraction("pair_accuracy", "share of pairs whose positive statement scores higher, ties one half"),
        _count("n", "statements"),
        _count("n_pairs", "pairs of a positive and a negative statement"),
        _REASON,
    ),
)

VERDICTS = Table(
    "verdicts",
    ("dataset", "signal"),
    (
        _DATASET,
        Column("signal", pl.String(), "a detector, the forest, or the best single head"),
        Column("verdict", pl.String(), "signal, weak signal, no signal found, leak, or not enough data"),
        Column("why", pl.String(), "the rule that fired, with its numbers"),
    ),
)

TABLES = {
    table.name: table
    for table in (
        SAMPLES,
        LABELS,
        ATTENTION,
        TOKENS,
        ACTIVITY,
        ASSOCIATION,
        ROC,
        ROC_POINTS,
        THRESHOLDS,
        FOREST,
        FOREST_POINTS,
        IMPORTANCES,
        DETECTORS,
        RELIABILITY,
        TRANSFER,
        DIRECTIONS,
        VERDICTS,
    )
}
"""All tables by name."""
