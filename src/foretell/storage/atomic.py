"""Atomic writing of files."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foretell.errors import RunError

__all__ = ["is_draft", "saving", "written_whole"]


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces `path` if the block succeeds and is deleted otherwise.

    The file can be read by whom the umask allows it, also where a library writes its files for this user alone.

    Args:
        path: The file.
        durable: Also wait until the disk has it, so that it is there after a loss of power.

    Raises:
        RunError: The system refuses to write; see `saving`.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with written_whole(target) as draft:
        ...     _ = draft.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    # Named by chance as well: another thread, or a process with this number on another machine, may write the same.
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.touch()
            mode = draft.stat().st_mode
            yield draft
            draft.chmod(mode)
            if durable:
                _sync(draft)
            draft.replace(path)
            if durable and sys.platform != "win32":  # there a folder cannot be opened
                _sync(path.parent)
        finally:
            with suppress(OSError):
                draft.unlink()


def is_draft(name: str) -> bool:
    """Whether a file's name is one that `written_whole` gives a file that is not complete."""
    return name.startswith(".") and name.endswith(".part")


@contextmanager
def saving(path: Path | str) -> Iterator[None]:
    """Say of which file it was, and what to do, where the system refuses to write.

    Raises:
        RunError: It does: a full disk, a quota, a folder that became read-only.
    """
    try:
        yield
    except Exception as error:  # polars and safetensors wrap what the system says in errors of their own
        number = error.errno if isinstance(error, OSError) else _number(error)
        if number is None and not isinstance(error, OSError):
            raise
        reason = os.strerror(number) if number is not None else str(error)
        raise RunError(
            f"{path}: cannot be written ({reason}); what was complete before is kept: make space, or give the folder "
            "back, and call the same again"
        ) from error


def _number(error: Exception) -> int | None:
    """Return the system's number in a message such as "I/O error: File too large (os error 27)"."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return None if found is None else int(found[1])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
