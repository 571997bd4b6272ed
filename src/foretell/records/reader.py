"""The one reader: every file and frame as a polars frame or as records, with those that were left out.

    source = read_source("labels.csv.gz", wanted={"id", "behavior_label"})
    source.frame, source.skipped
    records = read_records("prompts.jsonl")
    records.entries, records.numbers

A column of a large file never becomes Python objects unless records are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl

from foretell.errors import InputError, TableError, located
from foretell.records.binary_tables import parquet_parts, read_arrow, read_parquet
from foretell.records.content import Container, open_content
from foretell.records.delimited import read_delimited
from foretell.records.in_memory import column_names, frame_of, is_pandas, is_records, series_of, without_objects
from foretell.records.json_text import Record, read_json
from foretell.records.logs.zipped_log import read_log_archive
from foretell.records.skipped import BadRecords, Errors, Skipped

__all__ = ["Records", "Source", "read_records", "read_source", "require_columns"]


@dataclass(frozen=True)
class Source:
    """A frame, the name of its source, and all columns of the source (of which the frame has the requested ones)."""

    frame: pl.DataFrame
    name: str
    columns: tuple[str, ...]
    container: Container = "frame"
    separator: str | None = None
    """What separates the cells of a text table."""
    numbers: tuple[int, ...] | None = None
    """Record number of each row from 1, where some were left out."""
    skipped: tuple[Skipped, ...] = ()
    """Records that were left out."""

    def number(self, row: int) -> int:
        """Return the record number of a row of the frame, counted from 0."""
        return row + 1 if self.numbers is None else self.numbers[row]


@dataclass(frozen=True)
class Records:
    """Records as mappings from field to value, with their numbers from 1."""

    entries: tuple[Record, ...]
    numbers: tuple[int, ...]
    name: str
    container: Container
    columns: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


def read_source(
    source: Any,
    *,
    wanted: Collection[str] | None = None,
    required: Collection[str] = (),
    errors: Errors = "refuse",
    error: type[InputError] = TableError,
) -> Source:
    """Return the wanted columns of a file, a folder of Parquet parts, or a table in memory.

    Args:
        source: Path of a CSV (any separator), Parquet, Arrow, JSON or JSON lines file, whose content and not whose name
            says what it is (text may be gzipped), or of a folder of Parquet files; a table of polars, pandas or
            pyarrow; a dict of columns; a list of dicts; anything with a method `table()` that returns one of them.
        wanted: Columns to read where they exist; None: all.
        required: Columns that a record must have where others have them.
        errors: "refuse" raises at the first record that cannot be used; "skip" leaves it out and lists it.
        error: Class of the error to raise.

    Raises:
        InputError: (as `error`) The source is missing, empty or unreadable, no table, or a record is not whole.
    """
    found = _load(source, wanted=wanted, known=wanted or (), errors=errors, error=error, limit=None)
    if isinstance(found, Records):
        found = _as_frame(found, wanted, BadRecords(found.name, errors, error), required)
    if found.frame.height == 0 and (found.frame.width or not found.columns):
        raise error(located(found.name, "the table has no rows"))
    return found


def read_records(
    source: Any,
    *,
    known: Collection[str] = (),
    errors: Errors = "refuse",
    error: type[InputError] = InputError,
    limit: int | None = None,
) -> Records:
    r"""Return the records of anything that `read_source` reads, each a mapping from field to value.

    Cells of a text table are text, and None where empty. A tab-separated table whose first line holds none of `known`
    is read as question, answer and (if there is one) rationale, with `\\n` in a cell meaning a new line.

    Args:
        source: See `read_source`.
        known: Field names; they tell the separator of a text table and whether it has a header line.
        errors: See `read_source`.
        error: Class of the error to raise.
        limit: At most so many records, from the first on.

    Raises:
        InputError: (as `error`) As `read_source`.
    """
    if limit is not None and limit < 1:
        raise error(f"limit must be 1 or more, not {limit}")
    found = _load(source, wanted=None, known=known, errors=errors, error=error, limit=limit)
    if isinstance(found, Records):
        return _unwrapped(found, known, limit)
    if found.frame.height == 0 and not found.skipped:
        raise error(located(found.name, "the table has no rows"))
    frame = found.frame if limit is None else found.frame.head(limit)
    if found.container == "csv":
        frame = frame.with_columns(pl.when(pl.all() != "").then(pl.all()))
    numbers = tuple(range(1, frame.height + 1)) if found.numbers is None else found.numbers
    return Records(tuple(frame.to_dicts()), numbers, found.name, found.container, found.columns, found.skipped)


def require_columns(source: Source, columns: Iterable[str]) -> None:
    """Raise a `TableError` naming the first missing column, the existing ones, and the most similar one."""
    for column in columns:
        if column in source.columns:
            continue
        folded = {name.casefold().strip(): name for name in source.columns}
        near = get_close_matches(column.casefold(), list(folded), n=1, cutoff=0.6)
        hint = f'; did you mean "{folded[near[0]]}"? Rename it or choose it by its name' if near else ""
        shown = ", ".join(source.columns[:30]) + (", ..." if len(source.columns) > 30 else "")
        raise TableError(located(source.name, f"the column is missing{hint} (columns there: {shown})", column=column))


def _load(
    source: Any,
    *,
    wanted: Collection[str] | None,
    known: Collection[str],
    errors: Errors,
    error: type[InputError],
    limit: int | None,
) -> Source | Records:
    if isinstance(source, str | Path):
        return _from_path(Path(source), wanted, known, BadRecords(str(source), errors, error), limit)
    name = f"<{type(source).__name__}>"
    if callable(getattr(source, "table", None)):
        name = str(getattr(source, "path", getattr(source, "folder", name)))
        source = source.table()
    bad = BadRecords(name, errors, error)
    if is_records(source):
        return _of_dicts(source, name, limit)
    if wanted is None and is_pandas(source):
        return _of_dicts([dict(record) for record in source.to_dict("records")], name, limit)
    frame = frame_of(source, wanted, error=bad.error)
    return Source(frame, name, tuple(column_names(source)))


def _from_path(
    path: Path, wanted: Collection[str] | None, known: Collection[str], bad: BadRecords, limit: int | None
) -> Source | Records:
    if path.is_dir():
        frame, columns = read_parquet(parquet_parts(path, error=bad.error), str(path), wanted, error=bad.error)
        return Source(without_objects(frame), str(path), columns, "parquet")
    content = open_content(path, error=bad.error)
    if content.container == "csv":
        cells = read_delimited(content, known=known, wanted=wanted, bad=bad, limit=limit)
        bad.require_some(cells.frame.height)
        columns, separator = tuple(filter(None, cells.dialect.columns)), cells.dialect.separator
        return Source(cells.frame, str(path), columns, "csv", separator, cells.numbers, tuple(bad.skipped))
    if content.container in {"json", "jsonl", "inspect"}:
        if content.container == "inspect":
            found = list(read_log_archive(path, bad=bad, limit=limit))
        else:
            found = list(read_json(content, bad=bad, limit=limit))
        bad.require_some(len(found))
        numbers, entries = tuple(row for row, _ in found), tuple(entry for _, entry in found)
        return Records(entries, numbers, str(path), content.container, _fields(entries), tuple(bad.skipped))
    if content.container == "arrow":
        frame, columns = read_arrow(content, wanted, error=bad.error)
    else:
        frame, columns = read_parquet([content.source()], str(path), wanted, error=bad.error)
    return Source(without_objects(frame), str(path), columns, content.container)


def _of_dicts(records: Sequence[Mapping[Any, Any]], name: str, limit: int | None) -> Records:
    entries = tuple({str(key): value for key, value in record.items()} for record in records[:limit])
    return Records(entries, tuple(range(1, len(entries) + 1)), name, "objects", _fields(entries))


def _fields(entries: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for record in entries for name in record))


def _unwrapped(records: Records, known: Collection[str], limit: int | None) -> Records:
    """Return the records of a single object that only wraps a list of them, such as `{"data": [...]}`."""
    if len(records.entries) != 1 or set(records.columns) & set(known):
        return records
    lists = [value for value in records.entries[0].values() if isinstance(value, list) and is_records(value)]
    return _of_dicts(lists[0], records.name, limit) if len(lists) == 1 else records


def _as_frame(records: Records, wanted: Collection[str] | None, bad: BadRecords, required: Collection[str]) -> Source:
    records = _unwrapped(records, wanted or (), None)
    needed = [name for name in required if name in records.columns]
    kept: list[Record] = []
    numbers: list[int] = []
    for number, record in zip(records.numbers, records.entries, strict=True):
        lacking = next((name for name in needed if name not in record), None)
        if lacking is None:
            kept.append(record)
            numbers.append(number)
        else:
            bad.add(number, "is lacking in this record and not in others; write null where it is unknown", lacking)
    chosen = [name for name in records.columns if wanted is None or name in wanted]
    frame = pl.DataFrame([series_of(name, [record.get(name) for record in kept]) for name in chosen])
    skipped = tuple(sorted((*records.skipped, *bad.skipped), key=lambda one: one.row))
    bad.require_some(len(kept))
    return Source(
        frame, records.name, records.columns, records.container, None, tuple(numbers) if skipped else None, skipped
    )
