"""A block that sees only what its own thread or coroutine runs.

scope = Scope()
with scope.entered():
scope.is_active     # True here, False in another thread at the same time
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["Scope"]

_ENTERED: ContextVar[frozenset[Scope]] = ContextVar("foretell_scopes", default=frozenset())


class Scope:
    """What hooks ask before they look at a call, because a hook on a module fires in every thread."""

    def __init__(self) -> None:
        self._is_open = False

    @property
    def is_active(self) -> bool:
        """Whether the caller's thread or coroutine is inside the block.

        A thread that was started inside the block is inside it only if it runs under `contextvars.copy_context()`; a
        coroutine that was started inside the block is.
        """
        return self._is_open and self in _ENTERED.get()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Enter the block in the caller's thread or coroutine."""
        _ENTERED.set(_ENTERED.get() | {self})
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False
            _ENTERED.set(_ENTERED.get() - {self})
