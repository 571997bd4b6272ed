"""The table of a study: read from any source, joined with labels, cleaned and sorted, with a ledger of dropped rows.

    table = read_table("attention.csv", labels="labels.csv")
    table.frame, table.samples, table.ledger

`foretell.stats.table.dense` converts it to arrays.
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
from foretell.stats.table.memory_limit import require_memory
from foretell.stats.table.sources import Source, read_source, require_columns

__all__ = ["BASELINES", "StudyTable", "read_table", "require_one_label"]

BASELINES = (*(f"n_tokens_{segment}" for segment in SEGMENTS), "mean_logprob")
"""Columns of a sample that serve as baselines: token counts of the segments, log-probability of the answer."""

_Unmatched = tuple[tuple[str, ...], tuple[str, ...]]
_SAMPLE_COLUMNS = ("group", "stratum", *BASELINES)


@dataclass(frozen=True)
class StudyTable:
    """One row per sample, layer and head with its metrics and label, and one row per sample with everything else."""

    frame: pl.DataFrame
    """Columns dataset, layer, head, id, the metrics (Float64), behavior_label (Int8, never null); sorted by
    dataset, layer, head, id."""
    samples: pl.DataFrame
    """Columns dataset, id, behavior_label, group (never null; copies of one sample share it), stratum (null where not
    given) and those of `BASELINES` that the source has; sorted by dataset, id."""
    metrics: tuple[str, ...]
    ledger: Ledger
    validity: Validity
    compositional: bool
    """Whether the metrics are shares that sum to 1."""
    source: str
    """Path or type of the source."""

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
    """Return a table from any source, joined with its labels and cleaned, with a ledger of dropped rows.

    The result does not depend on the order of the rows. Ids are text (`7`, `7.0` and `"7"` are one id).

    Args:
        source: CSV, TSV, Parquet, Arrow, JSON or JSONL file, a folder of Parquet parts, a table of polars, pandas
            or pyarrow, or a run. Columns: id, dataset, layer, head, the metrics, and behavior_label unless
            `labels` has it.
        labels: File or frame with id, behavior_label and, optionally, dataset, group, stratum, token counts
            and mean_logprob per sample; it takes precedence over columns of the table with the same name.
        metrics: Columns to study; any numbers, not only shares.
        group: Column, or mapping from id, with the groups of dependent samples; by default the column "group" if there
            is one. A sample without a group is its own group.
        stratum: Column, or mapping from id, with the task types; by default the column "stratum".
        compositional: Whether the metrics are shares that must sum to 1; by default only for the three
            normalised shares.
        sum_tolerance: Largest accepted deviation of their sum from 1.
        layer_average: Values of layer that mark a mean over layers; such rows are dropped.
        may_be_empty: Whether the source is a part of a table: no row may be left, no label may match, and copies
            among the samples are not looked for.

    Raises:
        TableError: A column is missing, a file is empty, unreadable or larger than the memory, no id is common to
            table and labels, one id has two labels, or no row is left. The message names file, row and column.
    """
    metrics = tuple(dict.fromkeys(metrics))
    if not metrics:
        raise TableError("no metric is given; name at least one column")
    chosen = {name for name in (group, stratum) if isinstance(name, str)}
    wanted = {"id", "dataset", "layer", "head", "behavior_label", *metrics, *_SAMPLE_COLUMNS, *chosen}
    if isinstance(source, str | Path):
        require_memory(Path(source))
    table = read_source(source, wanted=wanted)
    require_columns(table, ("id", "layer", "head", *metrics))
    label_source = None if labels is None else read_source(labels, wanted=wanted - set(metrics) - {"layer", "head"})
    require_columns(label_source or table, ("behavior_label",))
    frame, notes, unmatched = _joined(table, label_source, may_be_empty=may_be_empty)
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
    found = StudyTable(cleaned.frame.select(columns), samples, metrics, ledger, cleaned.validity, shares, table.name)
    if may_be_empty:
        return found
    from foretell.stats.table.copies import with_copies_grouped  # it takes a StudyTable

    return with_copies_grouped(found)


def _joined(
    table: Source, label_source: Source | None, *, may_be_empty: bool
) -> tuple[pl.DataFrame, tuple[str, ...], _Unmatched]:
    """Return the table with text ids and parsed labels, joined with the labels file if there is one."""
    if label_source is None:
        return table.frame.with_columns(parse_label(table.frame, "behavior_label", name=table.name)), (), ((), ())
    frame = table.frame.with_columns(parse_text(table.frame, "id"))
    if "dataset" in frame.columns:
        frame = frame.with_columns(parse_text(frame, "dataset"))
    labels = _label_rows(label_source)
    replaced = [name for name in labels.columns if name in frame.columns and name not in {"id", "dataset"}]
    notes = (f'"{name}" was taken from {label_source.name}, not from {table.name}' for name in replaced)
    key = ["id", "dataset"] if "dataset" in labels.columns and "dataset" in frame.columns else ["id"]
    ids = frame.select(key).drop_nulls().unique()
    unlabelled = ids.join(labels, on=key, how="anti").get_column("id").unique().sort()
    unread = labels.join(ids, on=key, how="anti").get_column("id").unique().sort()
    nothing = unlabelled.len() == ids.get_column("id").n_unique() and unread.len() == labels.get_column("id").n_unique()
    if nothing and not may_be_empty:
        raise TableError(_nothing_common(table, label_source, ids, labels, key))
    joined = frame.drop(replaced).join(labels, on=key, how="left")
    return joined, tuple(notes), (tuple(unlabelled), tuple(unread))


def _nothing_common(
    table: Source, label_source: Source, ids: pl.DataFrame, labels: pl.DataFrame, key: list[str]
) -> str:
    first, second = (frame.get_column("id").drop_nulls().sort() for frame in (ids, labels))
    shown = f'the table has "{first[0] if len(first) else ""}", the labels have "{second[0] if len(second) else ""}"'
    if len(key) == 2 and ids.join(labels, on="id", how="semi").height:
        datasets = ", ".join(map(str, labels.get_column("dataset").unique().sort()[:5]))
        shown = f"the ids agree but the datasets do not (labels: {datasets}); rename them or leave the column out"
    return located(label_source.name, f"no id in common with {table.name}: {shown}", column="id")


def _label_rows(source: Source) -> pl.DataFrame:
    """Return one row per id (and dataset) of a labels file, with parsed labels."""
    require_columns(source, ("id", "behavior_label"))
    frame = source.frame.with_columns(parse_text(source.frame, "id"))
    if "dataset" in frame.columns:
        frame = frame.with_columns(parse_text(frame, "dataset"))
    frame = frame.with_columns(parse_label(frame, "behavior_label", name=source.name))
    key = ["id", "dataset"] if "dataset" in frame.columns else ["id"]
    require_one_label(frame, key, source.name)
    rest = [name for name in frame.columns if name not in key]
    return frame.drop_nulls("id").group_by(key).agg(pl.col(rest).drop_nulls().sort().first()).sort(key)


def require_one_label(frame: pl.DataFrame, key: list[str], name: str) -> None:
    """Raise a `TableError` naming the first row whose label differs from another row of the same sample."""
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
        require_one_label(texts, ["id", "dataset"], name)
    named = {"group": _naming(frame, group, "group"), "stratum": _naming(frame, stratum, "stratum")}
    given = {column: parse_number(frame, column) for column in BASELINES if column in frame.columns}
    given |= {column: found for column, found in named.items() if found is not None}
    if given:
        facts = frame.select(parse_text(frame, "dataset"), parse_text(frame, "id"), *given.values())
        labels = labels.join(facts.group_by(key).agg(pl.all().min()), on=key, how="left")
    absent = [pl.lit(None, dtype=pl.String).alias(column) for column in named if column not in given]
    samples = labels.with_columns(absent).with_columns(pl.col("group").fill_null(pl.col("id")))
    return samples.select(*key, "behavior_label", "group", "stratum", *(c for c in BASELINES if c in given)).sort(key)


def _naming(frame: pl.DataFrame, chosen: str | Mapping[str, str] | None, default: str) -> pl.Expr | None:
    """Return an expression for the group or stratum of each row, or None if there is none."""
    if isinstance(chosen, Mapping):
        names = {str(key): str(value) for key, value in chosen.items()}
        return parse_text(frame, "id").replace_strict(names, default=None, return_dtype=pl.String).alias(default)
    column = default if chosen is None else chosen
    return parse_text(frame, column).alias(default) if column in frame.columns else None
