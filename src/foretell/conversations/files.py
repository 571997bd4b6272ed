"""Records from JSON, JSONL, CSV, TSV or Parquet files; the format is recognised by the content.

container, records = read_records(path)
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import polars as pl

from foretell.errors import InputError, located

__all__ = ["Container", "Record", "read_records"]

Container = Literal["json", "jsonl", "csv", "parquet"]
Record = dict[str, Any]

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HEADLESS = {2: ("question", "answer"), 3: ("question", "answer", "rationale")}
"""Columns of a tab-separated table without a header line, by their number."""


def read_records(
    path: Path | str, *, error: type[InputError] = InputError, headers: Iterable[str] = (), limit: int | None = None
) -> tuple[Container, list[Record]]:
    r"""Return what a file is and its records, each a mapping from column to value.

    Cells of CSV and TSV are text, and None where empty. A tab-separated table whose first line holds none of
    `headers` is read as question, answer and (if there is one) rationale, with `\\n` in a cell meaning a new line.

    Args:
        path: The file; its content decides what it is, not its name.
        error: Class of the error to raise.
        headers: Column names that make a first line a header line.
        limit: At most so many records, from the first on.

    Raises:
        InputError: (as `error`) It is missing, empty, not UTF-8, not what it seems, or a record is damaged.
    """
    source = Path(path)
    if limit is not None and limit < 1:
        raise error(f"limit must be 1 or more, not {limit}")
    try:
        content = source.read_bytes()
    except FileNotFoundError as cause:
        raise error(located(path, "there is no such file")) from cause
    except OSError as cause:
        raise error(located(path, f"cannot be read: {cause.strerror}")) from cause
    if content.startswith(b"PAR1"):
        return "parquet", _parquet(path, content, error, limit)
    text = _text(path, content, error)
    if text.lstrip()[0] in "[{":
        return _json(path, text, error, limit)
    return "csv", _delimited(path, text, error, set(headers), limit)


def _text(path: Path | str, content: bytes, error: type[InputError]) -> str:
    if content.startswith(_UTF16):
        raise error(located(path, "is UTF-16: save it as UTF-8"))
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise error(located(path, f"line {line} holds a null byte: this is no text file, or it is damaged"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        raise error(located(path, f"line {line} is not UTF-8: save the file as UTF-8")) from cause
    if not text.strip():
        raise error(located(path, "is empty"))
    return text


def _json(path: Path | str, text: str, error: type[InputError], limit: int | None) -> tuple[Container, list[Record]]:
    """Return the records of a JSON list of objects, or of one JSON object per line."""
    if text.lstrip().startswith("["):
        loaded = _loads(path, text, error, "is no JSON")
        if not loaded:
            raise error(located(path, "is an empty list"))
        return "json", [_object(path, row, entry, error) for row, entry in enumerate(loaded[:limit], start=1)]
    records: list[Record] = []
    for line in text.split("\n"):
        if not line.strip() or (limit is not None and len(records) == limit):
            continue
        row = len(records) + 1
        problem = "is no JSON object on one line"
        if row == 1:
            problem += " (records must be a JSON list, or one object per line)"
        records.append(_object(path, row, _loads(path, line, error, problem, row), error))
    return "jsonl", records


def _loads(path: Path | str, text: str, error: type[InputError], problem: str, row: int | None = None) -> Any:
    try:
        return json.loads(text)
    except RecursionError as cause:
        raise error(located(path, "is nested too deeply", row=row)) from cause
    except ValueError as cause:
        raise error(located(path, f"{problem}: {str(cause)[:120]}", row=row)) from cause


def _object(path: Path | str, row: int, entry: Any, error: type[InputError]) -> Record:
    if not isinstance(entry, dict):
        raise error(located(path, f"is a {type(entry).__name__}, not an object with named fields", row=row))
    return entry


def _parquet(path: Path | str, content: bytes, error: type[InputError], limit: int | None) -> list[Record]:
    try:
        frame = pl.read_parquet(io.BytesIO(content), n_rows=limit)
    except (pl.exceptions.PolarsError, OSError) as cause:
        raise error(located(path, f"is a damaged Parquet file: {' '.join(str(cause).split())[:120]}")) from cause
    if frame.is_empty():
        raise error(located(path, "holds no rows"))
    return frame.to_dicts()


def _delimited(
    path: Path | str, text: str, error: type[InputError], headers: set[str], limit: int | None
) -> list[Record]:
    """Return the rows of a CSV or TSV table; the separator is a tab if the first line holds one."""
    first = text.lstrip("\r\n").split("\n", 1)[0].rstrip("\r")
    delimiter = "\t" if "\t" in first else max(",;", key=first.count)
    named = {cell.strip().strip('"') for cell in first.split(delimiter)}
    headless = delimiter == "\t" and not named & headers
    lines = io.StringIO(text, newline="")
    if headless:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    records: list[Record] = []
    columns: list[str] | None = None
    try:
        for cells in reader:
            if not any(cells):
                continue
            if columns is None:
                columns = _columns(path, cells, error, headless)
                if not headless:
                    continue
            if limit is not None and len(records) == limit:
                break
            if len(cells) != len(columns):
                problem = (
                    f"has {len(cells)} cells, but there are {len(columns)} columns: quote cells that hold the separator"
                )
                raise error(located(path, problem, row=len(records) + 1))
            values = [cell.replace("\\n", "\n") for cell in cells] if headless else cells
            records.append(dict(zip(columns, (value or None for value in values), strict=True)))
    except csv.Error as cause:
        hint = "longer cells and unusual quotes fit JSONL or Parquet"
        raise error(located(path, f"{cause}: {hint}", row=len(records) + 1)) from cause
    if not records:
        raise error(located(path, "holds a header line and no rows"))
    return records


def _columns(path: Path | str, cells: list[str], error: type[InputError], headless: bool) -> list[str]:
    if headless:
        columns = _HEADLESS.get(len(cells))
        if columns is None:
            raise error(located(path, f"has no header line, and {len(cells)} columns; question, answer, rationale fit"))
        return list(columns)
    names = [cell.strip() for cell in cells]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise error(located(path, f"two columns have the same name: {', '.join(repeated)}"))
    return names
