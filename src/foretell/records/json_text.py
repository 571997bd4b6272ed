"""Records of JSON text: a list of objects, or objects one after the other with any blanks between them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from foretell.errors import InputError, located
from foretell.records.content import Content
from foretell.records.skipped import BadRecords

__all__ = ["Record", "read_json"]

Record = dict[str, Any]

_BLANKS = re.compile(r"\s*")
_LINE_END = re.compile(r"[\n\r\x85\u2028\u2029\x1e]")


def read_json(content: Content, *, bad: BadRecords, limit: int | None) -> Iterator[tuple[int, Record]]:
    """Yield the number and the fields of every record.

    Objects may be separated by any kind of line end, and a text may hold any line end of its own.

    Args:
        content: The file; a list, or objects one after the other.
        bad: Takes records that are no objects.
        limit: At most so many records, from the first on.

    Raises:
        InputError: A list is no JSON, or a record cannot be used and may not be skipped.
    """
    text = content.read().decode("utf-8-sig", errors="surrogateescape")
    entries = _listed(text, content, bad.error) if content.container == "json" else _one_by_one(text)
    for row, entry in enumerate(entries, start=1):
        if limit is not None and row > limit:
            return
        problem = _problem(entry)
        if problem:
            hint = " (records must be a JSON list, or one object per line)" if row == 1 else ""
            bad.add(row, problem + hint if isinstance(entry, _Fault) else problem)
        else:
            yield row, entry


class _Fault(str):
    """What is wrong with a part of a text."""

    __slots__ = ()


def _problem(entry: Any) -> str:
    if isinstance(entry, _Fault):
        return str(entry)
    if not isinstance(entry, dict):
        return f"is a {type(entry).__name__}, not an object with named fields"
    return ""


def _listed(text: str, content: Content, error: type[InputError]) -> list[Any]:
    try:
        entries = _DECODER.decode(text.lstrip())
    except RecursionError as cause:
        raise error(located(content.path, "is nested too deeply")) from cause
    except ValueError as cause:
        raise error(located(content.path, f"is no JSON: {str(cause)[:120]}")) from cause
    if not entries:
        raise error(located(content.path, "is an empty list: the table has no rows"))
    return [_Fault("is not UTF-8: save the file as UTF-8") if _is_damaged(entry) else entry for entry in entries]


def _one_by_one(text: str) -> Iterator[Any]:
    """Yield each value of a text, and a `_Fault` for each line that is none."""
    place = _blanks_end(text, 0)
    while place < len(text):
        entry: Any
        try:
            entry, place = _DECODER.raw_decode(text, place)
        except RecursionError:
            entry, place = _Fault("is nested too deeply"), _line_end(text, place)
        except ValueError as cause:
            entry, place = _Fault(f"is no JSON object on one line: {str(cause)[:120]}"), _line_end(text, place)
        yield _Fault("is not UTF-8: save the file as UTF-8") if _is_damaged(entry) else entry
        place = _blanks_end(text, place)


def _blanks_end(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _line_end(text: str, place: int) -> int:
    found = _LINE_END.search(text, place)
    return found.end() if found else len(text)


def _is_damaged(entry: Any) -> bool:
    """Whether a value holds bytes that are not UTF-8; half a character written as JSON is another matter."""
    if isinstance(entry, str):
        return any("\udc80" <= sign <= "\udcff" for sign in entry) if not entry.isascii() else False
    if isinstance(entry, dict):
        return any(_is_damaged(name) or _is_damaged(value) for name, value in entry.items())
    return isinstance(entry, list) and any(map(_is_damaged, entry))


def _once(pairs: list[tuple[str, Any]]) -> Record:
    """Return an object, refusing a name that comes twice."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        _refuse_repeated([name for name, _ in pairs])
    return fields


def _refuse_repeated(names: list[str]) -> NoReturn:
    repeated = sorted({name for name in names if names.count(name) > 1})
    raise ValueError(f"two fields have the same name: {', '.join(repeated)}; rename one")


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
