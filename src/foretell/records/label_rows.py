"""Labels from a file, a frame, a mapping or a series, and the samples that they belong to.

rows = read_label_rows("judged.csv")
matched = match_labels(samples, rows, name="run")
matched.labels, matched.notes
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from foretell.errors import TableError, located
from foretell.records.by_sample import is_by_sample, keyed_values, values_by_sample
from foretell.records.cells import labels_and_faults, parse_text, require_exact_ids
from foretell.records.in_memory import series_of
from foretell.records.logs.evaluation_log import open_log, require_no_scorer
from foretell.records.logs.label_frame import label_frame
from foretell.records.reader import Source, read_source, require_columns
from foretell.records.skipped import BadRecords, Errors, Skipped

__all__ = ["LabelRows", "label_source_of", "read_label_rows"]

_COLUMNS = ("id", "behavior_label")
_TEXTS = ("label_source", "label_reason")
_ONE_PER_SAMPLE = ("group", "stratum")


@dataclass(frozen=True)
class LabelRows:
    """One row per id (and dataset), with the labels as 0, 1 or null."""

    frame: pl.DataFrame
    """Columns id, perhaps dataset, behavior_label (Int8), and those asked for, in the order of first appearance."""
    key: tuple[str, ...]
    """("id",) or ("id", "dataset")."""
    name: str
    separator: str | None = None
    """What separates the cells of a text table."""
    skipped: tuple[Skipped, ...] = ()
    dataset_is_task: bool = False
    """Whether the datasets are a log's name of its task, which a table may call otherwise."""


def label_source_of(labels: Any, samples: pl.DataFrame | None = None) -> Any:
    """Return labels given as a mapping, series or list as a table; other sources as they are.

    Args:
        labels: A mapping from id, or (dataset, id), to label, a series with ids as its index, or one label per sample.
        samples: The samples' id and dataset in their order, for labels in that order.

    Raises:
        TableError: The labels are in an order, and it is not known or they are not one per sample.
    """
    if isinstance(labels, dict) and set(_COLUMNS) <= set(labels):
        return labels
    if isinstance(labels, list) and labels and all(hasattr(one, "behavior_label") for one in labels):
        return _of_conversations(labels)
    if not is_by_sample(labels) or (isinstance(labels, list) and labels and isinstance(labels[0], dict)):
        return labels
    given = keyed_values(labels, None if samples is None else samples.get_column("id"))
    if given is None:
        if samples is None:
            raise TableError("labels in an order need the samples they belong to; give a mapping from id to label")
        return values_by_sample(labels, samples, name="labels").rename({"value": "behavior_label"})
    if not given:
        raise TableError("labels is an empty mapping; give one label per id")
    if all(isinstance(name, tuple) and len(name) == len(("dataset", "id")) for name in given):
        keys = {"dataset": [name[0] for name in given], "id": [name[1] for name in given]}
    else:
        keys = {"id": list(given)}
    columns = [series_of(key, names) for key, names in keys.items()]
    return pl.DataFrame([*columns, series_of("behavior_label", list(given.values()))])


def _of_conversations(conversations: list[Any]) -> pl.DataFrame:
    """Return the labels of conversations, such as those that were read from a log."""
    names = ("dataset", *_COLUMNS, *_TEXTS, *_ONE_PER_SAMPLE)
    return pl.DataFrame([series_of(name, [getattr(one, name) for one in conversations]) for name in names])


def read_label_rows(
    labels: Any, *, extras: Collection[str] = _TEXTS, errors: Errors = "refuse", scorer: str | None = None
) -> LabelRows:
    """Return the labels of anything with the columns id and behavior_label, one row per id (and dataset).

    Args:
        labels: Anything that `read_source` reads, or `label_source_of` returns, or the log of an evaluation.
        extras: Further columns to keep where they exist.
        errors: "refuse", or "skip" to leave out rows without an id or with a label that is none.
        scorer: Name of the score that labels the answers of a log, see `foretell.read_conversations`.

    Raises:
        TableError: A column is missing, an id is missing or was rounded, a value is no label, or rows contradict each
            other about an id.
    """
    logged = _of_log(labels, {*_COLUMNS, "dataset", *extras}, errors, scorer)
    source = logged or read_source(labels, wanted={*_COLUMNS, "dataset", *extras}, required=_COLUMNS, errors=errors)
    require_columns(source, _COLUMNS)
    require_exact_ids(source.frame, "id", name=source.name)
    names = [name for name in ("id", "dataset") if name in source.frame.columns]
    found, faults = labels_and_faults(source.frame.get_column("behavior_label"))
    frame = source.frame.with_columns(*(parse_text(source.frame, name) for name in names), found)
    bad = BadRecords(source.name, errors, TableError, list(source.skipped))
    frame = _usable(frame, faults, source, bad)
    key = tuple(name for name in names if name == "id" or frame.get_column(name).is_not_null().any())
    for column in ("behavior_label", *(name for name in _ONE_PER_SAMPLE if name in frame.columns)):
        _require_one(frame, list(key), column, source.name)
    rest = [name for name in frame.columns if name not in {*key, "_row", "dataset"}]
    grouped = frame.group_by(key, maintain_order=True).agg(pl.col(rest).drop_nulls().sort().first())
    return LabelRows(grouped, key, source.name, source.separator, tuple(bad.skipped), logged is not None)


def _of_log(labels: Any, wanted: Collection[str], errors: Errors, scorer: str | None) -> Source | None:
    """Return the labels of the log of an evaluation, None where it is none."""
    bad = BadRecords(labels if isinstance(labels, Path) else str(labels), errors, TableError)
    log = open_log(labels, bad=bad)
    if log is None:
        require_no_scorer(scorer, bad)
        return None
    frame, numbers = label_frame(log, bad=bad, scorer=scorer)
    bad.require_some(frame.height)
    columns = tuple(name for name in frame.columns if name in wanted)
    return Source(frame.select(columns), log.name, columns, numbers=numbers, skipped=tuple(bad.skipped))


def _usable(frame: pl.DataFrame, faults: dict[int, str], source: Source, bad: BadRecords) -> pl.DataFrame:
    """Return the rows that have an id and a label, with the number of each as `_row`."""
    without = frame.get_column("id").is_null().arg_true().to_list()
    reasons = dict.fromkeys(without, ("id", "is missing, empty or no text: a label needs the id of its sample"))
    reasons |= {row: ("behavior_label", reason) for row, reason in faults.items()}
    for row in sorted(reasons):
        column, reason = reasons[row]
        bad.add(source.number(row), reason, column)
    numbers = pl.Series("_row", [source.number(row) for row in range(frame.height)], dtype=pl.Int64)
    kept = frame.with_columns(numbers).filter(~pl.int_range(pl.len()).is_in(list(reasons)))
    bad.require_some(kept.height)
    return kept


def _require_one(frame: pl.DataFrame, key: list[str], column: str, name: str) -> None:
    """Refuse rows that say different things about one sample; unknown beside known is different too."""
    unclear = frame.group_by(key, maintain_order=True).agg(kinds=pl.col(column).n_unique()).filter(pl.col("kinds") > 1)
    if not unclear.height:
        return
    sample = unclear.row(0, named=True)
    same = pl.all_horizontal(pl.col(part).eq_missing(pl.lit(sample[part], dtype=pl.String)) for part in key)
    rows = frame.filter(same).select("_row", column).rows()
    other = next(row for row, value in rows if value != rows[0][1])
    what = "both labels" if column == "behavior_label" else f"two values of {column}"
    message = (
        f'id "{sample["id"]}" has {what} (row {rows[0][0]} says {rows[0][1]}): rows contradict each other about '
        f"{sample['id']!r}; a sample has one ({unclear.height} such ids)"
    )
    raise TableError(located(Path(name) if "/" in name else name, message, row=other, column=column))
