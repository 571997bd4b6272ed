"""The table a study is made of: read from anything, joined with labels, cleaned, sorted, accounted for.

    table = read_table("attention.csv", labels="labels.csv")
    table.frame, table.samples, table.ledger

It knows nothing of statistics: `foretell.stats.table.dense` turns it into arrays, the other modules test those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from foretell.errors import TableError, located
from foretell.schema.tables import SEGMENTS, SHARES
from foretell.stats.table.cleaning import Ledger, Validity, clean, parse_label, parse_number, parse_text
from foretell.stats.table.memory_limit import refuse_what_does_not_fit
from foretell.stats.table.sources import Source, read_source, require_columns

__all__ = ["BASELINES", "StudyTable", "read_table", "refuse_conflicts"]

BASELINES = (*(f"n_tokens_{segment}" for segment in SEGMENTS), "mean_logprob")
"""Columns of a sample that any signal must beat: token counts of the segments, log-probability of the answer."""

_Unmatched = tuple[tuple[str, ...], tuple[str, ...]]
_SAMPLE_COLUMNS = ("group", "stratum", *BASELINES)


@dataclass(frozen=True)
class StudyTable:
    """One row per sample, layer and head with its metrics and label, and one row per sample with all else."""

    frame: pl.DataFrame
    """Columns dataset, layer, head, id, the metrics (Float64), behavior_label (Int8, never null); sorted by
    dataset, layer, head, id."""
    samples: pl.DataFrame
    """Columns dataset, id, behavior_label, group (never null), stratum (null where not given) and those of
    `BASELINES` that the source has; sorted by dataset, id."""
    metrics: tuple[str, ...]
    ledger: Ledger
    validity: Validity
    compositional: bool
    """Whether the metrics are shares of one whole, so that they sum to 1."""
    source: str
    """Where the table came from."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets, sorted."""
        return tuple(self.samples.get_column("dataset").unique().sort())


def read_table(
    source: Any,
    *,
    labels: Path | str | pl.DataFrame | None = None,
    metrics: Sequence[str] = SHARES,
    group: str | Mapping[str, str] | None = None,
    stratum: str | Mapping[str, str] | None = None,
    compositional: bool | None = None,
    sum_tolerance: float = 1e-6,
    layer_average: Sequence[str] = ("avg", "mean", "average", "-1"),
    may_be_empty: bool = False,
) -> StudyTable:
    """Return a table from anywhere, joined with its labels and cleaned, with an account of what was dropped.

    The order of the rows changes nothing. Ids are text always (`7`, `7.0` and `"7"` are one id).

    Args:
        source: CSV, TSV, Parquet, Arrow, JSON or JSONL file, a folder of Parquet parts, a table of polars, pandas
            or pyarrow, or a run. Columns: id, dataset, layer, head, the metrics, and behavior_label unless
            `labels` has it.
        labels: File or frame with id, behavior_label and, where wanted, dataset, group, stratum, token counts
            and mean_logprob per sample; it takes precedence over columns of the table with the same name.
        metrics: Columns to study; any numbers, not only shares.
        group: Column, or mapping from id, that names what samples depend on each other; by default the column
            "group" if there is one. Samples without a group stand alone.
        stratum: Column, or mapping from id, that names the kind of task; by default the column "stratum".
        compositional: Whether the metrics are shares that must sum to 1; by default only for the three
            normalised shares.
        sum_tolerance: Largest accepted distance of their sum from 1.
        layer_average: Values of layer that mark a mean over layers; such rows are dropped.
        may_be_empty: Whether it is no error if cleaning leaves no row, or no label fits.

    Raises:
        TableError: A column is missing, a file is empty, unreadable or larger than the memory, no id is common to
            table and labels, one id has two labels, or no row is left. The message names file, row and column.
    """
    metrics = tuple(dict.fromkeys(metrics))
    if not metrics:
        raise TableError("no metric was asked for; name at least one column")
    chosen = {name for name in (group, stratum) if isinstance(name, str)}
    wanted = {"id", "dataset", "layer", "head", "behavior_label", *metrics, *_SAMPLE_COLUMNS, *chosen}
    if isinstance(source, str | Path):
        refuse_what_does_not_fit(Path(source))
    table = read_source(source, wanted=wanted)
    require_columns(table, ("id", "layer", "head", *metrics))
    told = None if labels is None else read_source(labels, wanted=wanted - set(metrics) - {"layer", "head"})
    require_columns(table if told is None else told, ("behavior_label",))
    frame, notes, unmatched = _joined(table, told, may_be_empty=may_be_empty)
    source_now = Source(frame, table.name, tuple(dict.fromkeys((*table.columns, *frame.columns))))
    require_columns(source_now, ("dataset", *chosen))
    shares = set(metrics) == set(SHARES) if compositional is None else compositional
    cleaned = clean(
        frame,
        metrics=metrics,
        compositional=shares,
        sum_tolerance=sum_tolerance,
        layer_average=layer_average,
        may_be_empty=may_be_empty,
        name=table.name,
    )
    samples = _samples(frame, cleaned.frame, group=group, stratum=stratum, name=table.name)
    ledger = Ledger(cleaned.ledger.entries, cleaned.ledger.n_read, cleaned.ledger.n_kept, *unmatched, notes)
    columns = ("dataset", "layer", "head", "id", *metrics, "behavior_label")
    return StudyTable(cleaned.frame.select(columns), samples, metrics, ledger, cleaned.validity, shares, table.name)


def _joined(
    table: Source, told: Source | None, *, may_be_empty: bool
) -> tuple[pl.DataFrame, tuple[str, ...], _Unmatched]:
    """Return the table with text ids and parsed labels, joined with the labels file if there is one."""
    if told is None:
        return table.frame.with_columns(parse_label(table.frame, "behavior_label", name=table.name)), (), ((), ())
    frame = table.frame.with_columns(parse_text(table.frame, "id"))
    if "dataset" in frame.columns:
        frame = frame.with_columns(parse_text(frame, "dataset"))
    labels = _label_rows(told)
    replaced = [name for name in labels.columns if name in frame.columns and name not in {"id", "dataset"}]
    notes = (f'"{name}" was taken from {told.name}, not from {table.name}' for name in replaced)
    key = ["id", "dataset"] if "dataset" in labels.columns and "dataset" in frame.columns else ["id"]
    ids = frame.select(key).drop_nulls().unique()
    unlabelled = ids.join(labels, on=key, how="anti").get_column("id").unique().sort()
    unread = labels.join(ids, on=key, how="anti").get_column("id").unique().sort()
    nothing = unlabelled.len() == ids.get_column("id").n_unique() and unread.len() == labels.get_column("id").n_unique()
    if nothing and not may_be_empty:
        raise TableError(_nothing_common(table, told, ids, labels, key))
    joined = frame.drop(replaced).join(labels, on=key, how="left")
    return joined, tuple(notes), (tuple(unlabelled), tuple(unread))


def _nothing_common(table: Source, told: Source, ids: pl.DataFrame, labels: pl.DataFrame, key: list[str]) -> str:
    first, second = (frame.get_column("id").drop_nulls().sort() for frame in (ids, labels))
    shown = f'the table has "{first[0] if len(first) else ""}", the labels have "{second[0] if len(second) else ""}"'
    if len(key) == 2 and ids.join(labels, on="id", how="semi").height:
        datasets = ", ".join(map(str, labels.get_column("dataset").unique().sort()[:5]))
        shown = f"the ids agree but the datasets do not (labels: {datasets}); rename them or leave the column out"
    return located(told.name, f"no id in common with {table.name}: {shown}", column="id")


def _label_rows(told: Source) -> pl.DataFrame:
    """Return one row per id (and dataset) of a labels file, its labels parsed."""
    require_columns(told, ("id", "behavior_label"))
    frame = told.frame.with_columns(parse_text(told.frame, "id"))
    if "dataset" in frame.columns:
        frame = frame.with_columns(parse_text(frame, "dataset"))
    frame = frame.with_columns(parse_label(frame, "behavior_label", name=told.name))
    key = ["id", "dataset"] if "dataset" in frame.columns else ["id"]
    refuse_conflicts(frame, key, told.name)
    rest = [name for name in frame.columns if name not in key]
    return frame.drop_nulls("id").group_by(key).agg(pl.col(rest).drop_nulls().sort().first()).sort(key)


def refuse_conflicts(frame: pl.DataFrame, key: list[str], name: str) -> None:
    """Raise a `TableError` that names the first row whose label differs from that of another row of its sample."""
    kinds = pl.col("behavior_label").drop_nulls().n_unique()
    unclear = frame.group_by(key).agg(kinds=kinds).filter(pl.col("kinds") > 1).drop_nulls().sort(key)
    if not unclear.height:
        return
    sample = unclear.row(0, named=True)
    same = pl.all_horizontal(pl.col(column) == sample[column] for column in key)
    rows = frame.with_row_index("_row", offset=1).filter(same & pl.col("behavior_label").is_not_null())
    label = rows.get_column("behavior_label")
    row = int(rows.filter(label != label[0]).get_column("_row")[0])
    message = (
        f'id "{sample["id"]}" has both labels (row {rows.get_column("_row")[0]} says {label[0]}); '
        f"a sample has one ({unclear.height} such ids)"
    )
    raise TableError(located(name, message, row=row, column="behavior_label"))


def _samples(
    frame: pl.DataFrame,
    kept: pl.DataFrame,
    *,
    group: str | Mapping[str, str] | None,
    stratum: str | Mapping[str, str] | None,
    name: str,
) -> pl.DataFrame:
    """Return one row per dataset and id that cleaning kept."""
    key = ["dataset", "id"]
    labels = kept.select(*key, "behavior_label").unique()
    if labels.select(pl.struct(key).n_unique()).item() < labels.height:
        texts = frame.with_columns(parse_text(frame, "id"), parse_text(frame, "dataset"))
        refuse_conflicts(texts, ["id", "dataset"], name)
    named = {"group": _naming(frame, group, "group"), "stratum": _naming(frame, stratum, "stratum")}
    told = {column: parse_number(frame, column) for column in BASELINES if column in frame.columns}
    told |= {column: found for column, found in named.items() if found is not None}
    if told:
        facts = frame.select(parse_text(frame, "dataset"), parse_text(frame, "id"), *told.values())
        labels = labels.join(facts.group_by(key).agg(pl.all().min()), on=key, how="left")
    absent = [pl.lit(None, dtype=pl.String).alias(column) for column in named if column not in told]
    samples = labels.with_columns(absent).with_columns(pl.col("group").fill_null(pl.col("id")))
    return samples.select(*key, "behavior_label", "group", "stratum", *(c for c in BASELINES if c in told)).sort(key)


def _naming(frame: pl.DataFrame, chosen: str | Mapping[str, str] | None, default: str) -> pl.Expr | None:
    """Return what names the group or stratum of each row, or None if nothing does."""
    if isinstance(chosen, Mapping):
        names = {str(key): str(value) for key, value in chosen.items()}
        return parse_text(frame, "id").replace_strict(names, default=None, return_dtype=pl.String).alias(default)
    column = default if chosen is None else chosen
    return parse_text(frame, column).alias(default) if column in frame.columns else None
