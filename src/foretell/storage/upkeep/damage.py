"""What is wrong with a run on disk, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Damage"]


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong."""

    file: str
    """The file, by its place in the run."""
    what: str
    """What is wrong with it."""
    todo: str
    """What to do."""
    part: str | None = None
    """The part that it belongs to, which has to be read again; None: the manifest or the labels."""

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.todo}"
