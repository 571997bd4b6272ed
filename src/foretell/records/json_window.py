"""JSON values of a text that is read piece by piece, so that a file of any size takes the memory of one value."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["NOT_UTF8", "Fault", "JsonWindow", "decode"]

NOT_UTF8 = "is not UTF-8: save the file as UTF-8"

_PIECE = 1 << 20
"""Characters read at once; more where one value is longer."""
_BLANKS = re.compile(r"\s*")
_LINE_END = re.compile(r"[\n\r\x85\u2028\u2029\x1e]")
_LONE_SURROGATE = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as text streams hold it; half a character that was written as JSON is another matter."""
_LONGEST_TOKEN = 16
"""An error so close to the end of what was read may only mean that a token was cut."""


class Fault(str):
    """What is wrong with a part of a text."""

    __slots__ = ()


class JsonWindow:
    """A place in a JSON text, of which no more is held than the value there.

    Example:
        >>> import io
        >>> list(JsonWindow(io.StringIO('{"a": 1} {"a": 2}')).values())
        [{'a': 1}, {'a': 2}]
    """

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._text = ""
        self._place = 0
        self.is_damaged = False
        """Whether the last value was written in bytes that are not UTF-8."""

    def peek(self) -> str:
        """Return the next sign that is no blank, empty at the end."""
        while True:
            found = _BLANKS.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def take(self, sign: str) -> None:
        """Pass a sign.

        Raises:
            ValueError: Another one is there.
        """
        found = self.peek()
        if found != sign:
            raise ValueError(f"holds {found or 'nothing more'!r} where {sign!r} should be")
        self._place += 1

    def value(self) -> Any:
        """Return the value here, and pass it.

        Raises:
            ValueError: It is no JSON.
            RecursionError: It is nested too deeply.
        """
        self.peek()
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if not (self._may_be_cut(error) and self._more()):
                    raise
            else:
                if end == len(self._text) and self._more():
                    continue  # a number may go on
                written = self._text[self._place : end]
                self.is_damaged = not written.isascii() and _LONE_SURROGATE.search(written) is not None
                self._place = end
                return found

    def values(self) -> Iterator[Any]:
        """Yield each value that follows, and a `Fault` for each line that is none."""
        while self.peek():
            try:
                found: Any = self.value()
            except RecursionError:
                found = Fault("is nested too deeply")
                self._pass_line()
            except ValueError as error:
                found = Fault(f"is no JSON object on one line: {str(error)[:120]}")
                self._pass_line()
            yield Fault(NOT_UTF8) if self.is_damaged and not isinstance(found, Fault) else found

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _LONGEST_TOKEN

    def _more(self) -> bool:
        """Read on; a value that is longer than what is held doubles it, so that its parts are read a few times."""
        rest = self._text[self._place :]
        piece = self._stream.read(max(_PIECE, len(rest)))
        self._text, self._place = rest + piece, 0
        return bool(piece)

    def _pass_line(self) -> None:
        while True:
            found = _LINE_END.search(self._text, self._place)
            self._place = found.end() if found else len(self._text)
            if found or not self._more():
                return


def decode(text: str) -> Any:
    """Return the one value of a text, refusing an object that has a name twice.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    return _DECODER.decode(text.strip())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        _refuse_repeated([name for name, _ in pairs])
    return fields


def _refuse_repeated(names: list[str]) -> NoReturn:
    repeated = sorted({name for name in names if names.count(name) > 1})
    raise ValueError(f"two fields have the same name: {', '.join(repeated)}; rename one")


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
