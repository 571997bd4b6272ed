"""Counting the steps of long work, so that whoever waits for all of it sees how far it is.

steps = Steps()
with steps.shown(10, progress=None):
    steps.advance("forest")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

__all__ = ["Steps"]


class Steps:
    """A counter that is a progress bar while it is shown, and nothing otherwise."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    @contextmanager
    def shown(self, total: int, *, progress: bool | None = None) -> Iterator[None]:
        """Show a bar while the block runs.

        Args:
            total: Steps to come.
            progress: Whether to show it; None: on a terminal only.
        """
        hidden = None if progress is None else not progress
        with tqdm(total=total, desc="study", unit="step", disable=hidden) as bar:
            self._bar = bar
            try:
                yield
            finally:
                self._bar = None

    def advance(self, word: str) -> None:
        """Count one step and name it."""
        if self._bar is not None:
            self._bar.set_postfix_str(word, refresh=False)
            self._bar.update()
