"""Records of JSON text: a list of objects, or objects one after the other with any blanks between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from foretell.errors import InputError, located
from foretell.records.content import Content
from foretell.records.json_window import NOT_UTF8, Fault, JsonWindow, decode
from foretell.records.skipped import BadRecords

__all__ = ["Record", "read_json"]

Record = dict[str, Any]


def read_json(content: Content, *, bad: BadRecords, limit: int | None) -> Iterator[tuple[int, Record]]:
    """Yield the number and the fields of every record; objects one after the other are read one by one.

    Objects may be separated by any kind of line end, and a text may hold any line end of its own.

    Args:
        content: The file; a list, or objects one after the other.
        bad: Takes records that are no objects.
        limit: At most so many records, from the first on.

    Raises:
        InputError: A list is no JSON, or a record cannot be used and may not be skipped.
    """
    with content.lines() as lines:
        entries = iter(_listed(content, bad.error)) if content.container == "json" else JsonWindow(lines).values()
        for row, entry in enumerate(entries, start=1):
            if limit is not None and row > limit:
                return
            problem = _problem(entry)
            if problem:
                hint = " (records must be a JSON list, or one object per line)" if row == 1 else ""
                bad.add(row, problem + hint if isinstance(entry, Fault) and entry != NOT_UTF8 else problem)
            else:
                yield row, entry


def _problem(entry: Any) -> str:
    if isinstance(entry, Fault):
        return str(entry)
    if not isinstance(entry, dict):
        return f"is a {type(entry).__name__}, not an object with named fields"
    return ""


def _listed(content: Content, error: type[InputError]) -> list[Any]:
    text = content.read().decode("utf-8-sig", errors="surrogateescape")
    try:
        entries: list[Any] = decode(text)
    except RecursionError as cause:
        raise error(located(content.path, "is nested too deeply")) from cause
    except ValueError as cause:
        raise error(located(content.path, f"is no JSON: {str(cause)[:120]}")) from cause
    if not entries:
        raise error(located(content.path, "is an empty list: the table has no rows"))
    return [Fault(NOT_UTF8) if _is_damaged(entry) else entry for entry in entries]


def _is_damaged(entry: Any) -> bool:
    """Whether a value holds bytes that are not UTF-8; half a character written as JSON is another matter."""
    if isinstance(entry, str):
        return any("\udc80" <= sign <= "\udcff" for sign in entry) if not entry.isascii() else False
    if isinstance(entry, dict):
        return any(_is_damaged(name) or _is_damaged(value) for name, value in entry.items())
    return isinstance(entry, list) and any(map(_is_damaged, entry))
