"""How public objects show themselves at a prompt and in a notebook: each says what it is, as plain data.

class Run(Displayed):
    def facts(self) -> Facts:
        return Facts("Run", self.location, (("model", "smollm2"),))

The text, the HTML and the figures are made by `foretell.showing`. Packages below it must not import it, so it is loaded
by name, when something is shown.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from typing import Any

__all__ = ["Displayed", "DisplayedRecord", "Facts", "from_showing", "one_line"]

_LONGEST = 72


def from_showing(module: str) -> Any:
    """Return a module of `foretell.showing` by its name there."""
    return import_module(f"foretell.showing.{module}")


@dataclass(frozen=True)
class Facts:
    """What an object says of itself; texts are not trusted."""

    kind: str
    """Such as "Run"."""
    name: str = ""
    facts: Sequence[tuple[str, str]] = ()
    """Names and texts, most important first."""
    columns: Sequence[str] = ()
    """Of a small table, which only HTML has."""
    rows: Sequence[Sequence[object]] = ()
    """Its cells; None is undefined."""
    note: str = ""


class Displayed:
    """Shows itself: a few lines of text, and a small table in a notebook. Neither computes or loads anything large."""

    def facts(self) -> Facts:
        """Return what the object says of itself."""
        raise NotImplementedError

    def _picture(self) -> bytes | None:
        """Return a small png for the notebook, or None."""
        return None

    def __repr__(self) -> str:
        text: str = from_showing("notebook.displayed").as_text(self.facts())
        return text

    def _repr_html_(self) -> str:
        html: str = from_showing("notebook.displayed").as_html(self.facts(), self._picture())
        return html


class DisplayedRecord(Displayed):
    """A dataclass of a few values: one line of text with the values that are not the defaults, long ones cut."""

    def facts(self) -> Facts:
        """Return the names and values of the fields."""
        return Facts(type(self).__name__, "", [(name, _plain(value)) for name, value in _given(self)])

    def __repr__(self) -> str:
        return one_line(type(self).__name__, _given(self))


class _Short(reprlib.Repr):
    """Shortens long values; what cannot be printed is escaped, as `repr` does."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _LONGEST
        self.maxtuple = self.maxlist = self.maxdict = 3


def one_line(kind: str, values: Sequence[tuple[str, Any]]) -> str:
    """Return names and values as one line of bounded length.

    Example:
        >>> one_line("Span", [("start", 0), ("segment", "query")])
        "Span(start=0, segment='query')"
    """
    return f"{kind}({', '.join(f'{name}={_Short().repr(value)}' for name, value in values)})"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _Short().repr(value)


def _given(record: Any) -> list[tuple[str, Any]]:
    """Return the fields whose values are not the defaults."""
    found = []
    for one in fields(record):
        value = getattr(record, one.name)
        is_empty = isinstance(value, tuple) and not value
        if one.repr and (one.default is MISSING or value is not one.default) and not is_empty:
            found.append((one.name, value))
    return found
