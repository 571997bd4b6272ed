"""Tables of text cells with any separator: polars reads whole files, the standard library finds faults.

A file that polars reads without a doubt is taken as it is. Where it fails, or the last cell of a row may be lacking,
`csv.reader` goes through the rows, names those that are not whole, or gives the table itself.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import polars as pl

from foretell.errors import InputError, located
from foretell.records.content import Content
from foretell.records.skipped import BadRecords

__all__ = ["Cells", "Dialect", "dialect_of", "read_delimited", "require_whole_rows"]

_HEADLESS = {2: ("question", "answer"), 3: ("question", "answer", "rationale")}
"""Columns of a tab-separated table without a header line, by their number."""
_USUAL = (",", "\t", ";", "|")
_LONGEST_CELL = 1 << 30


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written."""

    separator: str
    columns: tuple[str, ...]
    headless: bool = False
    """Without a header line and without quotes; a new line in a cell is written as `\\n`."""
    skip_lines: int = 0
    """Lines before the header, such as `sep=;`."""


@dataclass(frozen=True)
class Cells:
    """The wanted columns of a table, all of them text, null where a cell is empty."""

    frame: pl.DataFrame
    dialect: Dialect
    numbers: tuple[int, ...] | None
    """Record number of each row, where some were left out."""


def dialect_of(content: Content, known: Collection[str], *, error: type[InputError]) -> Dialect:
    """Return the separator under which the header shows most of the known columns, and the columns.

    Raises:
        InputError: (as `error`) There is no header that can be understood, or two columns have the same name.
    """
    lines = content.head.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    skip = 0
    first, _, rest = lines.lstrip("\n").partition("\n")
    if first.lower().startswith("sep=") and len(first) == len("sep=;"):
        skip, (first, _, rest) = 1, rest.partition("\n")
    separator = _separator(first, known)
    names = _header(f"{first}\n{rest}", separator)
    if separator == "\t" and "question" in known and not set(names) & set(known):
        columns = _HEADLESS.get(len(names))
        if columns is None:
            message = f"has no header line, and {len(names)} columns; question, answer, rationale fit"
            raise error(located(content.path, message))
        return Dialect(separator, columns, headless=True)
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise error(located(content.path, f"two columns have the same name: {', '.join(repeated)}; rename one"))
    return Dialect(separator, tuple(names), skip_lines=skip)


def read_delimited(
    content: Content,
    *,
    known: Collection[str],
    wanted: Collection[str] | None,
    bad: BadRecords,
    limit: int | None,
) -> Cells:
    """Return the wanted columns of a table.

    Args:
        content: The file.
        known: Column names that a header line may have.
        wanted: Columns to return where they exist; None: all.
        bad: Takes rows that are not whole.
        limit: At most so many rows.

    Raises:
        InputError: There is no header or no row, or a row is not whole and may not be skipped.
    """
    dialect = dialect_of(content, known, error=bad.error)
    chosen = [name for name in dialect.columns if name and (wanted is None or name in wanted)]
    frame = None if _is_unusual(content, dialect) else _by_polars(content, dialect, chosen, limit)
    numbers = None
    if frame is None:
        frame, numbers = _by_standard_library(content, dialect, chosen, bad, limit)
    if not frame.height and not bad.skipped:
        raise bad.error(located(content.path, "the table has a header and no rows"))
    return Cells(frame, dialect, numbers)


def require_whole_rows(content: Content, dialect: Dialect, *, error: type[InputError]) -> None:
    """Refuse a table with a row that has too few or too many cells, without holding it in memory.

    Raises:
        InputError: (as `error`) The message names the row.
    """
    for _ in _rows(content, dialect, BadRecords(content.path, error=error)):
        pass


def _separator(header: str, known: Collection[str]) -> str:
    """Return the character that separates most known names in a header line; else the most frequent usual one."""
    others = dict.fromkeys(sign for sign in header if not (sign.isalnum() or sign in "_\"'-.,\t;|") and sign < "\x7f")
    found = {sign: sum(name in known for name in _header(header, sign)) for sign in (*_USUAL, *others)}
    best = max(found, key=lambda sign: found[sign])
    if found[best]:
        return best
    return "\t" if "\t" in header else max(_USUAL, key=header.count)


def _header(text: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader(iter(text.splitlines(keepends=True)), delimiter=separator))]
    except (csv.Error, StopIteration):
        return []


def _is_unusual(content: Content, dialect: Dialect) -> bool:
    """Whether polars does not read such text: no header line, or lines that end with a carriage return alone."""
    return dialect.headless or (b"\r" in content.head and b"\n" not in content.head)


def _by_polars(content: Content, dialect: Dialect, chosen: list[str], limit: int | None) -> pl.DataFrame | None:
    """Return the table, or None where polars fails or a row may lack cells."""
    places = {name: place for place, name in enumerate(dialect.columns)}
    last = len(dialect.columns) - 1
    wanted = sorted({*(places[name] for name in chosen), last})
    try:
        frame = pl.read_csv(
            content.source(),
            infer_schema=False,
            separator=dialect.separator,
            columns=wanted,
            n_rows=limit,
            skip_lines=dialect.skip_lines,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return None
    frame.columns = [dialect.columns[place] or " " for place in wanted]
    doubtful = not frame.height or bool(frame.to_series(frame.width - 1).null_count())
    if doubtful and (limit is not None or not _all_whole(content, dialect)):
        return None
    return frame.select(chosen)


def _all_whole(content: Content, dialect: Dialect) -> bool:
    """Whether every row has as many cells as the header and no line is blank."""
    try:
        with content.lines() as text:
            reader = _reader(text, dialect)
            next(reader, None)
            width = len(dialect.columns)
            return all(len(cells) == width and any(cells) for cells in reader)
    except csv.Error:
        return False


def _by_standard_library(
    content: Content, dialect: Dialect, chosen: list[str], bad: BadRecords, limit: int | None
) -> tuple[pl.DataFrame, tuple[int, ...] | None]:
    places = [dialect.columns.index(name) for name in chosen]
    columns: list[list[str | None]] = [[] for _ in places]
    numbers: list[int] = []
    for number, cells in _rows(content, dialect, bad):
        if limit is not None and number > limit:
            break
        numbers.append(number)
        for column, place in zip(columns, places, strict=True):
            cell = cells[place].replace("\\n", "\n") if dialect.headless else cells[place]
            column.append(cell or None)
    frame = pl.DataFrame(dict(zip(chosen, columns, strict=True)), schema=dict.fromkeys(chosen, pl.String))
    return frame, tuple(numbers) if bad.skipped else None


def _rows(content: Content, dialect: Dialect, bad: BadRecords) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and cells of every whole row that is not blank."""
    longest = csv.field_size_limit(_LONGEST_CELL)
    try:
        with content.lines() as text:
            reader = _reader(text, dialect)
            number = 0 if dialect.headless else -1
            while True:
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as cause:
                    number += 1
                    reason = f"cannot be read as CSV: {cause}; close every quote"
                    if "end of data" in str(cause):  # an open quote swallows all rows that follow
                        raise bad.error(located(content.path, reason, row=number)) from cause
                    bad.add(number, reason, cause=cause)
                    continue
                if not any(cells):
                    continue
                number += 1
                if number and not (problem := _problem(cells, len(dialect.columns))):
                    yield number, cells
                elif number:
                    bad.add(number, problem)
    finally:
        csv.field_size_limit(longest)


def _problem(cells: list[str], width: int) -> str:
    if len(cells) != width:
        lost = "quote cells that hold the separator" if len(cells) > width else "the row is not whole"
        return f"cannot be read as CSV: {len(cells)} cells where the header has {width}; {lost}"
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return "cannot be read as CSV: not UTF-8 text; save the file as UTF-8"
    return ""


def _reader(text: Iterator[str], dialect: Dialect) -> Iterator[list[str]]:
    for _ in range(dialect.skip_lines):
        next(text)
    if dialect.headless:
        return csv.reader(text, delimiter=dialect.separator, quoting=csv.QUOTE_NONE)
    return csv.reader(text, delimiter=dialect.separator, strict=True)
