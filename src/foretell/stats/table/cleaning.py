"""Cleaning of a table: dropped rows are counted by reason in a ledger, and the kept rows are checked.

Cleaning parses text into numbers by stated rules, drops rows that cannot be used, and counts every dropped row under
the first reason that applies. It never repairs a value and does not depend on the order of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from foretell.errors import TableError, located
from foretell.records.cells import parse_integer, parse_number, parse_text
from foretell.stats.table.share_tolerance import EXACT, rounding_note, rounding_tolerance

__all__ = [
    "REASONS",
    "Cleaned",
    "Ledger",
    "Validity",
    "clean",
    "nothing_left_message",
]

REASONS = (
    "malformed record",
    "label null",
    "layer average",
    "layer not an integer",
    "head not an integer",
    "id missing",
    "not finite",
    "negative",
    "sum off",
    "duplicate key",
    "duplicate key, values differ",
)
"""Reasons for dropping a row, in the order in which they are checked; a row counts under the first."""

_KEY = ("dataset", "layer", "head", "id")


@dataclass(frozen=True)
class Ledger:
    """What cleaning did: rows read, rows kept, and each dropped row under one reason."""

    entries: dict[str, int] = field(hash=False)
    """Dropped rows for each reason of `REASONS`."""
    n_read: int
    n_kept: int
    unmatched_table_ids: tuple[str, ...] = ()
    """Ids of the table that are not in the labels file."""
    unmatched_label_ids: tuple[str, ...] = ()
    """Ids of the labels file that are not in the table."""
    notes: tuple[str, ...] = ()
    """Decisions worth knowing, such as which file a label came from."""
    malformed: tuple[str, ...] = ()
    """Records of the table and of its labels that were left out, each with file, row and reason."""

    @property
    def n_dropped(self) -> int:
        """Rows dropped for any reason; always rows read minus rows kept."""
        return sum(self.entries.values())


@dataclass(frozen=True)
class Validity:
    """Checks of the kept rows; by construction no kept value is infinite, and no share is negative."""

    n_rows: int
    n_samples: dict[str, int] = field(hash=False)
    """Samples per dataset."""
    max_deviation: float | None
    """Largest deviation of a kept row's sum of shares from 1; None if the metrics are not shares."""
    max_deviation_read: float | None
    """The same over every row read whose metrics are finite numbers, before any was dropped."""
    tolerance: float
    """Rows with a larger deviation were dropped."""
    n_not_finite: int
    """Missing values in kept rows (possible only for metrics that are not shares)."""
    n_negative: int
    """Negative values in kept rows (possible only for metrics that are not shares)."""


@dataclass(frozen=True)
class Cleaned:
    """The kept rows, sorted by dataset, layer, head and id, with the ledger and the checks."""

    frame: pl.DataFrame
    ledger: Ledger
    validity: Validity


def nothing_left_message(ledger: Ledger) -> str:
    """Return the error message for a table without any row left after cleaning.

    Args:
        ledger: The ledger of the table.
    """
    dropped = {reason: n_rows for reason, n_rows in ledger.entries.items() if n_rows}
    counts = ", ".join(f"{n_rows} {reason}" for reason, n_rows in dropped.items())
    unlabelled = list(dropped) == ["label null"]
    remedy = "; give labels for its ids, or label the run first" if unlabelled else ""
    return f"no row is left after cleaning ({ledger.n_read} read: {counts}){remedy}"


def clean(
    frame: pl.DataFrame,
    *,
    metrics: Sequence[str],
    compositional: bool,
    sum_tolerance: float | None = None,
    layer_average: Sequence[str] = ("avg", "mean", "average", "-1"),
    may_be_empty: bool = False,
    name: str = "<table>",
) -> Cleaned:
    """Drop unusable rows, count them by reason, and return the others sorted.

    A row of shares (`compositional`) needs every metric finite, not negative, and their sum within
    `sum_tolerance` of 1. Metrics that are not shares may be missing (null) in a row as long as one is present and
    none is infinite, and may have any sign. Of rows with the same key and the same values one is kept; rows with the
    same key and different values are ambiguous and all are dropped.

    Args:
        frame: Columns id, dataset, layer, head, behavior_label (as `parse_label` leaves it) and the metrics;
            layer, head and metrics may be text.
        metrics: Names of the metric columns.
        compositional: Whether the metrics are shares of one whole.
        sum_tolerance: Largest accepted deviation of the sum of shares from 1; None: what rounding to the digits or
            the float type they came in can do, see `rounding_tolerance`.
        layer_average: Values of layer, in lower case, that mark a mean over layers.
        may_be_empty: Whether an empty result is allowed.
        name: The source, for messages.

    Raises:
        TableError: No row is left.
    """
    numbers = frame.select(
        parse_text(frame, "id"),
        parse_text(frame, "dataset"),
        _average(frame, layer_average).alias("_average"),
        parse_integer(frame, "layer"),
        parse_integer(frame, "head"),
        "behavior_label",
        *(parse_number(frame, metric) for metric in metrics),
    )
    rounding = rounding_tolerance(frame, metrics) if compositional and sum_tolerance is None else None
    tolerance = (rounding.tolerance if rounding else EXACT) if sum_tolerance is None else sum_tolerance
    total = pl.sum_horizontal(pl.col(metric) for metric in metrics)
    reason = _reason(metrics, compositional=compositional, total=total, tolerance=tolerance)
    numbers = numbers.with_columns(reason.alias("_reason"))
    kept = numbers.filter(pl.col("_reason").is_null()).drop("_reason", "_average")
    counts: dict[str, int] = dict(numbers.group_by("_reason").len().drop_nulls("_reason").iter_rows())
    kept, doubled = _without_duplicates(*_sorted(kept))
    counts |= doubled
    deviation = _largest_finite(numbers, (total - 1).abs()) if compositional else None
    validity = _validity(kept, metrics, total, deviation, tolerance)
    notes = () if rounding is None else rounding_note(rounding, validity.max_deviation, counts.get("sum off", 0))
    entries = {reason: counts.get(reason, 0) for reason in REASONS}
    ledger = Ledger(entries, frame.height, kept.height, notes=notes)
    if kept.height == 0 and not may_be_empty:
        raise TableError(located(name, nothing_left_message(ledger)))
    return Cleaned(kept, ledger, validity)


def _average(frame: pl.DataFrame, layer_average: Sequence[str]) -> pl.Expr:
    names = [value.casefold().strip() for value in layer_average]
    if frame.schema["layer"].is_nested():
        return pl.lit(value=False)
    if frame.schema["layer"].is_integer():
        return pl.col("layer").is_in([int(name) for name in names if re.fullmatch(r"-?\d{1,9}", name)])
    text = parse_text(frame, "layer").str.to_lowercase().str.replace(r"^(-?\d+)\.0*$", "$1")
    return text.is_in(names).fill_null(value=False)


def _reason(metrics: Sequence[str], *, compositional: bool, total: pl.Expr, tolerance: float) -> pl.Expr:
    columns = [pl.col(metric) for metric in metrics]
    infinite = pl.any_horizontal(column.is_infinite() for column in columns).fill_null(value=False)
    missing = [column.is_null() for column in columns]
    absent = pl.any_horizontal(missing) if compositional else pl.all_horizontal(missing)
    reason = (
        pl.when(pl.col("behavior_label").is_null())
        .then(pl.lit("label null"))
        .when(pl.col("_average"))
        .then(pl.lit("layer average"))
        .when(pl.col("layer").is_null())
        .then(pl.lit("layer not an integer"))
        .when(pl.col("head").is_null())
        .then(pl.lit("head not an integer"))
        .when(pl.col("id").is_null() | pl.col("dataset").is_null())
        .then(pl.lit("id missing"))
        .when(infinite | absent)
        .then(pl.lit("not finite"))
    )
    if not compositional:
        return reason.otherwise(pl.lit(None, dtype=pl.String))
    return (
        reason.when(pl.any_horizontal(column < 0 for column in columns))
        .then(pl.lit("negative"))
        .when((total - 1).abs() > tolerance)
        .then(pl.lit("sum off"))
        .otherwise(pl.lit(None, dtype=pl.String))
    )


def _sorted(kept: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    """Return the rows sorted by their key, and whether a key occurs more than once.

    Names are encoded as integers first, and a key as one integer, because sorting text is slow; most tables are already
    sorted.
    """
    bounds = kept.select(pl.col("layer", "head").max() + 1).row(0) if kept.height else (0, 0)
    names = {name: kept.get_column(name).unique().sort() for name in ("dataset", "id")}
    if names["dataset"].len() * bounds[0] * bounds[1] * names["id"].len() >= 2**62:
        kept = kept.sort(_KEY)
        same = pl.all_horizontal(pl.col(column) == pl.col(column).shift() for column in _KEY)
        return kept, bool(kept.select(same.any()).item())
    code = {
        name: kept.get_column(name).cast(pl.Enum(found)).to_physical().cast(pl.Int64) for name, found in names.items()
    }
    layer, head = (kept.get_column(name).cast(pl.Int64) for name in ("layer", "head"))
    key = ((code["dataset"] * bounds[0] + layer) * bounds[1] + head) * names["id"].len() + code["id"]
    if not key.is_sorted():
        order = key.arg_sort()
        kept, key = kept[order], key[order]
    return kept, bool((key == key.shift()).any())


def _without_duplicates(kept: pl.DataFrame, doubled: bool) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the sorted rows with unique keys, and the number of rows dropped for each kind of duplicate."""
    if not doubled:
        return kept, {}
    unique = kept.unique(maintain_order=True)
    sizes = unique.group_by(_KEY).len()
    if int(sizes.get_column("len").max() or 1) == 1:  # type: ignore[arg-type]
        return unique, {"duplicate key": kept.height - unique.height}
    clear = unique.join(sizes.filter(pl.col("len") == 1), on=_KEY, how="semi").sort(_KEY)
    unclear = kept.join(sizes.filter(pl.col("len") > 1), on=_KEY, how="semi").height
    return clear, {
        "duplicate key": kept.height - unclear - clear.height,
        "duplicate key, values differ": unclear,
    }


def _largest_finite(frame: pl.DataFrame, value: pl.Expr) -> float | None:
    largest = frame.select(pl.when(value.is_finite()).then(value).max()).item()
    return None if largest is None else float(largest)


def _validity(
    kept: pl.DataFrame, metrics: Sequence[str], total: pl.Expr, deviation: float | None, tolerance: float
) -> Validity:
    counted = kept.group_by("dataset").agg(pl.col("id").n_unique()).sort("dataset")
    facts = kept.select(
        deviation=(total - 1).abs().max(),
        missing=pl.sum_horizontal(pl.col(metric).is_null().sum() for metric in metrics),
        negative=pl.sum_horizontal((pl.col(metric) < 0).sum() for metric in metrics),
    ).row(0, named=True)
    return Validity(
        n_rows=kept.height,
        n_samples=dict(counted.iter_rows()),
        max_deviation=None if deviation is None else facts["deviation"],
        max_deviation_read=deviation,
        tolerance=tolerance,
        n_not_finite=int(facts["missing"]),
        n_negative=int(facts["negative"]),
    )
