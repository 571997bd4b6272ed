"""One writer per folder: whoever comes second is told who holds it.

The lock is the operating system's and ends with the process that holds it, however that ends; the file's text only says
who that is. On a file system without locks nothing is refused.

    with writing_alone(folder):
        ...
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from foretell.errors import FolderTakenError

__all__ = ["refuse_second_writer", "writing_alone"]

_FILE = ".writer.json"
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
"""What a system says of a lock that another has."""

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # behind the text, which others must be able to read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def writing_alone(folder: Path | str | None) -> Iterator[None]:
    """Hold a folder for writing until the block ends; it is made if there is none, and removed if it stays empty.

    Args:
        folder: The folder; None, for results that nobody else can see, holds nothing.

    Raises:
        FolderTakenError: Another process or thread is writing into it; the message names its id, its machine and since
            when.
    """
    if folder is None:
        yield
        return
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _held(folder)
    try:
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text.encode())
        yield
    finally:
        with suppress(OSError):
            (folder / _FILE).unlink()  # while it is held, so that nobody else's file is removed
        os.close(descriptor)
        with suppress(OSError):
            for path in made:
                path.rmdir()


def refuse_second_writer(folder: Path | str) -> None:
    """Refuse a folder that somebody is writing into, without taking it.

    Raises:
        FolderTakenError: As in `writing_alone`.
    """
    if (Path(folder) / _FILE).exists():
        with writing_alone(folder):
            pass


def _held(folder: Path) -> int:
    """Return a descriptor of the lock's file with the lock on it."""
    path = folder / _FILE
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _HELD:
                os.close(descriptor)
                raise FolderTakenError(
                    f"{folder}: {_holder(path)} is writing into it; wait until that ends, or choose another folder"
                ) from None
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its holder has just removed it: what is locked is no longer the folder's file


def _holder(path: Path) -> str:
    """Return who holds the lock, in words."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']} (since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
