"""Records that could not be used: refused by default, or left out and listed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

from foretell.display import Displayed, Facts
from foretell.errors import InputError, located

__all__ = ["BadRecords", "Errors", "ReadList", "Skipped"]

Errors = Literal["refuse", "skip"]
"""What happens to a record that cannot be used: the whole file is refused, or the record is left out and listed."""

T = TypeVar("T")
_FIRST = 5
"""Records that are shown."""


@dataclass(frozen=True)
class Skipped:
    """A record that was left out."""

    row: int
    """Record number from 1, without a header line."""
    reason: str
    column: str | None = None

    def __str__(self) -> str:
        place = f"row {self.row}" if self.column is None else f'row {self.row}, column "{self.column}"'
        return f"{place}: {self.reason}"


class ReadList(Displayed, list[T]):
    """What was read, as a list, with the records that were left out."""

    def __init__(self, entries: Iterable[T] = (), skipped: Iterable[Skipped] = ()) -> None:
        super().__init__(entries)
        self.skipped = tuple(skipped)
        """The ledger: each record that was left out, with its row and the reason."""

    def facts(self) -> Facts:
        """Return how many records there are, the first of them, and what was left out."""
        left = [(f"left out: row {one.row}", one.reason) for one in self.skipped[:_FIRST]]
        rows = [(index, repr(entry)) for index, entry in enumerate(self[:_FIRST])]
        count = f"{len(self):,} records" + (f", {len(self.skipped):,} left out" if self.skipped else "")
        return Facts("ReadList", count, left, ("", "record"), rows)

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self[:_FIRST]))
        return f"[{first}{f', ... and {len(self) - _FIRST:,} more' if len(self) > _FIRST else ''}]"


@dataclass
class BadRecords:
    """Takes every record that cannot be used, and either refuses the file or keeps a list."""

    name: str | Path
    errors: Errors = "refuse"
    error: type[InputError] = InputError
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.errors not in get_args(Errors):
            raise self.error(f"errors is {self.errors!r}: use {' or '.join(map(repr, get_args(Errors)))}")

    def add(self, row: int, reason: str, column: str | None = None, *, cause: Exception | None = None) -> None:
        """Note a record that cannot be used.

        Raises:
            InputError: (as `error`) Such records are refused.
        """
        if self.errors == "refuse":
            raise self.error(located(self.name, reason, row=row, column=column)) from cause
        self.skipped.append(Skipped(row, reason, column))

    def require_some(self, n_left: int) -> None:
        """Refuse a source of which every record was left out."""
        if not n_left and self.skipped:
            reason = f"none of {len(self.skipped)} records can be used; {self.skipped[0]}"
            raise self.error(located(self.name, reason))
