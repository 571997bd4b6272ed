"""One writer per run or folder: whoever comes second learns who holds it.

Where the system locks files, the lock ends with the process that holds it, however that ends. Where it does not (some
network file systems), and at URLs, a file that exists only once takes its place. In both cases the file says who holds
it: host, process, and when that process started. One of this host that is gone is replaced. One of another host is
believed, because a lock may be unknown beyond its host; `break_lock` removes what a host left that is gone.

    with writing_alone(folder):
        ...
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foretell.errors import FolderTakenError
from foretell.storage.atomic import saving
from foretell.storage.location.remote import Remote, is_url, remote_of

__all__ = ["break_lock", "refuse_second_writer", "writing_alone"]

_FILE = ".writer.json"
_PATIENCE = 0.5
"""Seconds in which a holder says who it is."""
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
"""What a system says of a lock that another has."""
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What a file system says that has no locks."""

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
def writing_alone(place: Path | str | None) -> Iterator[None]:
    """Hold a folder or URL for writing until the block ends; a folder is made, and removed if it stays empty.

    Args:
        place: The folder or URL; None, for results that nobody else can see, holds nothing.

    Raises:
        FolderTakenError: Another process or thread is writing into it, or one of another host did not say that it
            ended; the message names process, host and since when.
        RunError: The folder cannot be written.
    """
    if place is None:
        yield
        return
    if is_url(place):
        remote = remote_of(str(place))
        _create_remote(remote)
        try:
            yield
        finally:
            remote.remove([_FILE])
        return
    folder = Path(place)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with saving(folder):
            folder.mkdir(parents=True, exist_ok=True)
            has_locks = _has_locks(folder)
        with _locked(folder) if has_locks else _created(folder):
            yield
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def refuse_second_writer(place: Path | str) -> None:
    """Refuse a folder or URL that somebody is writing into, without taking it.

    Raises:
        FolderTakenError: As in `writing_alone`.
    """
    if is_url(place):
        held = _described(remote_of(str(place)).read(_FILE))
        if held and not _is_gone(held):
            raise _taken(place, held)
    elif (Path(place) / _FILE).exists():
        with writing_alone(place):
            pass


def break_lock(place: Path | str) -> None:
    """Remove the lock of a writer that is known to be gone, such as one of a host that crashed.

    A lock that a living process of this machine holds is not removed.
    """
    if is_url(place):
        remote_of(str(place)).remove([_FILE])
        return
    folder = Path(place)
    if not (folder / _FILE).exists():
        return
    if not _has_locks(folder):
        held = _text(folder / _FILE)
        if held is None or held["host"] != socket.gethostname():
            (folder / _FILE).unlink(missing_ok=True)
        return
    with suppress(FolderTakenError):
        descriptor = _descriptor(folder)
        (folder / _FILE).unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the system's lock on the file."""
    path = folder / _FILE
    descriptor = _descriptor(folder)
    try:
        held = _described(os.read(descriptor, 1 << 16))
        # A file that took the place of a lock says more than the lock that was free.
        if held and (not _is_here(held) or (held.get("by") == "file" and not _is_gone(held))):
            raise _taken(folder, held)
        try:
            with saving(path):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, _own_text("lock"))
            yield
        finally:
            with suppress(OSError):
                path.unlink()  # while it is held, so that nobody else's file is removed
    finally:
        os.close(descriptor)


def _descriptor(folder: Path) -> int:
    """Return a descriptor of the lock's file with the lock on it."""
    path = folder / _FILE
    until = time.monotonic() + _PATIENCE
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _HELD:
                raise
            held = _text(path)
            if (held is None or _is_gone(held)) and time.monotonic() < until:
                time.sleep(0.02)  # its holder has just begun and not yet said who it is, or has just ended
                continue
            raise _taken(folder, held) from None
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its holder has just removed it: what is locked is no longer the folder's file


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Hold the folder by a file that can be made only once."""
    path = folder / _FILE
    own = _own_text("file")
    while not _linked(path, own):
        held = _text(path)
        if held is None or not _is_gone(held):
            if not path.exists():
                continue  # its holder has just ended
            raise _taken(folder, held)
        _replace_gone(path, held)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_bytes() == own:
                path.unlink()


def _linked(path: Path, text: bytes) -> bool:
    """Make a file with its whole text; return whether there was none."""
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with saving(path):
            draft.write_bytes(text)
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _replace_gone(path: Path, held: Mapping[str, Any]) -> None:
    """Remove the file of a process that is gone, unless another one has just replaced it."""
    aside = path.with_name(f".{secrets.token_hex(8)}.part")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _text(aside) != held:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def _create_remote(remote: Remote) -> None:
    """Hold a URL by an object that can be made only once; where the file system cannot tell, the last one counts."""
    own = _own_text("file")
    held = _described(remote.read(_FILE))
    if held and _is_gone(held):
        remote.remove([_FILE])
        held = None
    if held or not remote.create(_FILE, own) or remote.read(_FILE) != own:
        raise _taken(remote.url, held or _described(remote.read(_FILE)))


def _has_locks(folder: Path) -> bool:
    """Whether the folder's file system locks files."""
    with tempfile.TemporaryFile(prefix=".foretell-", dir=folder) as probe:
        try:
            _lock(probe.fileno())
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return False
            if error.errno not in _HELD:
                raise
    return True


def _own_text(by: str) -> bytes:
    process = os.getpid()
    own = {"pid": process, "host": socket.gethostname(), "since": _now(), "start": _start(process)}
    return json.dumps({**own, "machine": _machine(), "by": by, "key": secrets.token_hex(8)}).encode()


def _text(path: Path) -> dict[str, Any] | None:
    try:
        return _described(path.read_bytes())
    except OSError:
        return None


def _described(text: bytes) -> dict[str, Any] | None:
    """Return who a lock's file names; None if it does not say."""
    try:
        said = json.loads(text)
        return {**said, "pid": int(said["pid"]), "host": str(said["host"]), "since": str(said["since"])}
    except (ValueError, KeyError, TypeError):
        return None


def _is_here(held: Mapping[str, Any]) -> bool:
    """Whether the holder is, or was, under this machine's system, whose locks are then known."""
    return held["host"] == socket.gethostname() or (held.get("machine") is not None and held["machine"] == _machine())


def _is_gone(held: Mapping[str, Any]) -> bool:
    """Whether the holder is known to have ended: it was on this host, and its number is free or another's."""
    if held["host"] != socket.gethostname():
        return False
    if held.get("machine") not in {None, _machine()}:
        return True  # this host was started again since
    try:
        os.kill(held["pid"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    start = held.get("start")
    return start is not None and _start(held["pid"]) not in {None, start}


def _start(process: int) -> str | None:
    """Return when a process started, in the system's own clock; None where that is not known."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return None


def _machine() -> str | None:
    """Return a name for this machine since it was started; containers on it share it, and locks as well."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return None


def _taken(place: Path | str, held: Mapping[str, Any] | None) -> FolderTakenError:
    who = "another process"
    if held is not None:
        who = f"process {held['pid']} on {held['host']} (since {held['since']})"
    todo = "wait until that ends, or choose another folder"
    if held is None or held["host"] != socket.gethostname():
        todo += f"; if it is gone, delete {place}/{_FILE} (for a run: call again with --break-lock)"
    return FolderTakenError(f"{place}: {who} is writing into it; {todo}")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
