"""Progress of a study: one bar over all of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from foretell.jobs.progress_bar import progress_bar

__all__ = ["Steps"]


class Steps:
    """A progress bar while `bar` is active; otherwise `advance` does nothing."""

    def __init__(self) -> None:
        self._bar: Any = None

    @contextmanager
    def bar(self, total: int, *, progress: bool | None = None) -> Iterator[None]:
        """Show a bar while the block runs.

        Args:
            total: Number of steps.
            progress: Whether to show it; None: on a terminal and in a notebook only.
        """
        with progress_bar(total=total, desc="study", unit="step", progress=progress) as bar:
            self._bar = bar
            try:
                yield
            finally:
                self._bar = None

    def advance(self, *words: str) -> None:
        """Count one step and name it."""
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(words), refresh=False)
            self._bar.update()
