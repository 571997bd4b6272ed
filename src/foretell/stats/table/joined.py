"""The table of a study: read from any source, joined with labels, cleaned and sorted, with a ledger of dropped rows.

    table = read_table("attention.csv", labels="labels.csv")
    table.frame, table.samples, table.ledger

`foretell.stats.table.dense` converts it to arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from foretell.errors import TableError, located
from foretell.records.by_sample import values_by_sample
from foretell.records.cells import labels_and_faults, parse_number, parse_text, require_exact_ids, with_decimal_points
from foretell.records.label_rows import LabelRows, label_source_of, read_label_rows
from foretell.records.matching_ids import match_labels
from foretell.records.reader import Source, read_source, require_columns
from foretell.records.skipped import BadRecords, Errors, Skipped
from foretell.schema.tables import SEGMENTS, SHARES
from foretell.stats.table.cleaning import Ledger, Validity, clean
from foretell.stats.table.memory_limit import require_memory
from foretell.storage.runs import is_run, open_run

__all__ = ["BASELINES", "StudyTable", "read_table", "require_one_label"]

BASELINES = (*(f"n_tokens_{segment}" for segment in SEGMENTS), "mean_logprob")
"""Columns of a sample that serve as baselines: token counts of the segments, log-probability of the answer."""

_Unmatched = tuple[tuple[str, ...], tuple[str, ...]]
_TEXTS = ("answer", "messages", "behaviour")
"""Texts of a sample, which may be long."""
_SAMPLE_COLUMNS = ("group", "stratum", *BASELINES, *_TEXTS)


@dataclass(frozen=True)
class StudyTable:
    """One row per sample, layer and head with its metrics and label, and one row per sample with everything else."""

    frame: pl.DataFrame
    """Columns dataset, layer, head, id, the metrics (Float64), behavior_label (Int8, never null); sorted by
    dataset, layer, head, id."""
    samples: pl.DataFrame
    """Columns dataset, id, behavior_label, group (never null; copies of one sample share it), stratum (null where not
    given), those of `BASELINES` that the source has, and answer, messages and behaviour (String, null where missing or
    empty) where it has them; sorted by dataset, id."""
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
    labels: Any = None,
    metrics: Sequence[str] = SHARES,
    group: Any = None,
    stratum: Any = None,
    compositional: bool | None = None,
    sum_tolerance: float | None = None,
    layer_average: Sequence[str] = ("avg", "mean", "average", "-1"),
    errors: Errors = "refuse",
    may_be_empty: bool = False,
) -> StudyTable:
    """Return a table from any source, joined with its labels and cleaned, with a ledger of dropped rows.

    The result does not depend on the order of the rows. Ids are text (`7`, `7.0` and `"7"` are one id).

    Args:
        source: Anything that `foretell.records.reader.read_source` reads (file, folder of Parquet parts, frame, dict),
            or a run. Columns: id, dataset, layer, head, the metrics, and behavior_label unless `labels` has it.
        labels: File, frame, mapping from id or series with id and behavior_label and, optionally, dataset, group,
            stratum, token counts, mean_logprob, answer, messages and behaviour per sample; it takes precedence over
            columns of the table with the same name. `dataset` is needed where datasets share ids.
        metrics: Columns to study; any numbers, not only shares.
        group: The groups of dependent samples: a column, a mapping from id or (dataset, id), or one value per sample
            (in the order in which they first appear) or per row; by default the column "group" if there is one. A
            sample without a group is its own group.
        stratum: The task types, given in the same ways; by default the column "stratum".
        compositional: Whether the metrics are shares that must sum to 1; by default only for the three
            normalised shares.
        sum_tolerance: Largest accepted deviation of their sum from 1; None: as much as rounding to the digits or the
            float type they came in explains.
        layer_average: Values of layer that mark a mean over layers; such rows are dropped.
        errors: "refuse" raises at the first malformed record, "skip" leaves such records out and lists them in the
            ledger.
        may_be_empty: Whether the source is a part of a table: no row may be left, no label may match, and copies
            among the samples are not looked for.

    Raises:
        TableError: A column is missing, a file is empty, unreadable or larger than the memory, no id is common to
            table and labels, one id has two labels, an argument fits no sample, or no row is left. The message names
            file, row and column.
    """
    metrics = tuple(dict.fromkeys(metrics))
    if not metrics:
        raise TableError("no metric is given; name at least one column")
    chosen = {name for name in (group, stratum) if isinstance(name, str)}
    wanted = {"id", "dataset", "layer", "head", "behavior_label", *metrics, *_SAMPLE_COLUMNS, *chosen}
    special = {*metrics, *chosen}
    table, texts = _read(source, wanted=wanted, metrics=metrics, errors=errors, special=special)
    rows: LabelRows | None = None
    given = {"group": group, "stratum": stratum}
    by_sample = {name: one for name, one in given.items() if one is not None and not isinstance(one, str)}
    ids = table.frame.select(_texts(table.frame)) if by_sample or labels is not None else pl.DataFrame()
    values = {name: values_by_sample(one, ids, name=name, may_be_empty=may_be_empty) for name, one in by_sample.items()}
    unmatched: _Unmatched = ((), ())
    notes: tuple[str, ...] = ()
    if labels is None:
        require_columns(table, ("behavior_label",))
        frame, malformed = _own_labels(table, errors)
    else:
        extras = wanted - set(metrics) - {"layer", "head"}
        rows = labels
        if not isinstance(labels, LabelRows):
            rows = read_label_rows(_opened(label_source_of(labels, ids)), extras=extras, errors=errors)
        frame, unmatched, notes = _joined(table, ids, rows, may_be_empty=may_be_empty)
        frame, of_labels = _without_texts(frame, special=special)
        texts = {**texts, **of_labels}
        malformed = (*table.skipped,)
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
    named = {name: one if isinstance(one, str) else values.get(name, name) for name, one in given.items()}
    samples = _samples(frame, cleaned.frame, named=named, name=table.name)
    for text in texts.values():
        samples = samples.join(text, on=text.columns[:-1], how="left", maintain_order="left")
    ledger = replace(
        _with_malformed(cleaned.ledger, table.name, malformed, rows),
        unmatched_table_ids=unmatched[0],
        unmatched_label_ids=unmatched[1],
        notes=(*notes, *cleaned.ledger.notes),
    )
    columns = ("dataset", "layer", "head", "id", *metrics, "behavior_label")
    found = StudyTable(cleaned.frame.select(columns), samples, metrics, ledger, cleaned.validity, shares, table.name)
    if may_be_empty:
        return found
    from foretell.stats.table.copies import with_copies_grouped  # it takes a StudyTable

    return with_copies_grouped(found)


def _read(
    source: Any, *, wanted: Collection[str], metrics: tuple[str, ...], errors: Errors, special: Collection[str]
) -> tuple[Source, dict[str, pl.DataFrame]]:
    """Return a table with decimal points and without texts, and the texts of each sample by column."""
    if isinstance(source, str | Path):
        require_memory(Path(source))
    required = ("id", "layer", "head", *metrics)
    table = read_source(_opened(source), wanted=wanted, required=required, errors=errors)
    require_columns(table, required)
    require_exact_ids(table.frame, "id", name=table.name)
    names = ("layer", "head", *metrics, *BASELINES)
    frame, texts = _without_texts(table.frame, special=special)
    frame = with_decimal_points(frame, names, name=table.name, separator=table.separator)
    return replace(table, frame=frame), texts


def _opened(source: Any) -> Any:
    """Return the run in a folder that holds one; other sources as they are."""
    return open_run(source) if isinstance(source, str | Path) and is_run(source) else source


def _texts(frame: pl.DataFrame) -> list[pl.Expr]:
    """Return expressions for the columns that name samples, as text."""
    return [parse_text(frame, name) for name in ("id", "dataset") if name in frame.columns]


def _without_texts(frame: pl.DataFrame, *, special: Collection[str]) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Return a frame without its long texts, and by column the text of each sample.

    A column that is a metric, the group or the stratum is that alone.
    """
    names = [name for name in _TEXTS if name in frame.columns and name not in special]
    found = {}
    for name in names:
        if not frame.schema[name].is_nested():
            text = pl.col(name).cast(pl.String)
            by_row = frame.select(*_texts(frame), pl.when(text != "").then(text))
            key = by_row.columns[:-1]
            found[name] = by_row.drop_nulls(key).group_by(key).agg(pl.col(name).min())
    return frame.drop(names), found


def _with_malformed(ledger: Ledger, name: str, malformed: Sequence[Skipped], rows: LabelRows | None) -> Ledger:
    """Return a ledger that also counts records of the table that were left out, and lists them and those of labels."""
    return replace(
        ledger,
        entries=ledger.entries | {"malformed record": len(malformed)},
        n_read=ledger.n_read + len(malformed),
        malformed=_listed(name, malformed) + (() if rows is None else _listed(rows.name, rows.skipped)),
    )


def _listed(name: str, skipped: Sequence[Skipped]) -> tuple[str, ...]:
    return tuple(f"{name}, {one}" for one in skipped)


def _own_labels(table: Source, errors: Errors) -> tuple[pl.DataFrame, tuple[Skipped, ...]]:
    """Return the table with the labels of its own column, and the records that are left out."""
    labels, faults = labels_and_faults(table.frame.get_column("behavior_label"))
    bad = BadRecords(table.name, errors, TableError, list(table.skipped))
    for row in sorted(faults):
        bad.add(table.number(row), faults[row], "behavior_label")
    frame = table.frame.with_columns(labels)
    if faults:
        frame = frame.filter(~pl.int_range(pl.len()).is_in(list(faults)))
        bad.require_some(frame.height)
    return frame, tuple(bad.skipped)


def _joined(
    table: Source, ids: pl.DataFrame, rows: LabelRows, *, may_be_empty: bool
) -> tuple[pl.DataFrame, _Unmatched, tuple[str, ...]]:
    """Return the table joined with its labels, the ids that only one of them has, and notes."""
    frame = table.frame.with_columns(ids.get_columns())
    labels = with_decimal_points(rows.frame, BASELINES, name=rows.name, separator=rows.separator)
    matched = match_labels(ids, replace(rows, frame=labels), name=table.name, may_be_empty=may_be_empty)
    own = {"id", *matched.key}
    replaced = [name for name in labels.columns if name in table.columns and name not in own]
    notes = (f'"{name}" was taken from {rows.name}, not from {table.name}' for name in replaced)
    joined = frame.drop(replaced, strict=False).join(matched.labels, on=matched.key, how="left")
    return joined, (matched.unlabelled, matched.unread), (*notes, *matched.notes)


def require_one_label(frame: pl.DataFrame, key: list[str], name: str) -> None:
    """Raise a `TableError` naming the first row whose label differs from another row of the same sample."""
    require_one_value(frame, key, "behavior_label", name)


def require_one_value(frame: pl.DataFrame, key: list[str], column: str, name: str) -> None:
    """Raise a `TableError` naming the first row whose value differs from another row of the same sample."""
    known = pl.col(column).drop_nulls()
    unclear = frame.group_by(key).agg(low=known.min(), high=known.max()).filter(pl.col("low") != pl.col("high"))
    unclear = unclear.drop_nulls().sort(key)
    if not unclear.height:
        return
    sample = unclear.row(0, named=True)
    same = pl.all_horizontal(pl.col(part) == sample[part] for part in key)
    rows = frame.with_row_index("_row", offset=1).filter(same & pl.col(column).is_not_null())
    values = rows.get_column(column)
    row = int(rows.filter(values != values[0]).get_column("_row")[0])
    what = "both labels" if column == "behavior_label" else f"two values of {column}"
    message = (
        f'id "{sample["id"]}" has {what} (row {rows.get_column("_row")[0]} says {values[0]}); '
        f"a sample has one ({unclear.height} such ids)"
    )
    raise TableError(located(name, message, row=row, column=column))


def _samples(
    frame: pl.DataFrame, kept: pl.DataFrame, *, named: Mapping[str, str | pl.DataFrame], name: str
) -> pl.DataFrame:
    """Return one row per dataset and id that cleaning kept; `named` is a column or values by sample."""
    key = ["dataset", "id"]
    labels = kept.select(*key, "behavior_label").unique()
    if labels.select(pl.struct(key).n_unique()).item() < labels.height:
        require_one_label(frame.with_columns(_texts(frame)), ["id", "dataset"], name)
    given = {column: parse_number(frame, column) for column in BASELINES if column in frame.columns}
    for column, source in named.items():
        if isinstance(source, str) and source in frame.columns:
            given[column] = parse_text(frame, source).cast(pl.String).alias(column)
    if given:
        facts = frame.select(*_texts(frame), *given.values())
        for column in named:
            if column in given:
                require_one_value(facts, ["id", "dataset"], column, name)
        labels = labels.join(facts.group_by(key).agg(pl.all().min()), on=key, how="left")
    for column, source in named.items():
        if isinstance(source, pl.DataFrame):
            by = [part for part in key if part in source.columns]
            labels = labels.join(source.rename({"value": column}), on=by, how="left")
        elif column not in given:
            labels = labels.with_columns(pl.lit(None, dtype=pl.String).alias(column))
    samples = labels.with_columns(pl.col("group").fill_null(pl.col("id")))
    return samples.select(*key, "behavior_label", "group", "stratum", *(c for c in BASELINES if c in given)).sort(key)
