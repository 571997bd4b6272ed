"""The width of a drawing: as it needs for a page, or one or two columns of a paper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

__all__ = ["PAPER_WIDTHS", "Style", "paper_width", "width_of"]

Style = Literal["page", "column", "two-column"]
"""page: as wide as the panels need, with a title. column, two-column: for a paper, whose caption has the title."""

PAPER_WIDTHS: dict[Style, float] = {"column": 3.25, "two-column": 6.75}
"""Widths in inches, as in the templates of most conferences."""

_WIDTH: ContextVar[float | None] = ContextVar("width", default=None)


def paper_width() -> float | None:
    """Return the width in inches of the drawing that is being made; None where it is as wide as it needs."""
    return _WIDTH.get()


@contextmanager
def width_of(style: Style) -> Iterator[None]:
    """Draw for this style inside this block."""
    token = _WIDTH.set(PAPER_WIDTHS.get(style))
    try:
        yield
    finally:
        _WIDTH.reset(token)
