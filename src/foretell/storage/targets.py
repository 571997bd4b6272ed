"""Where results are written: looked at before any work, so that nothing is overwritten by surprise or lost at the end.

check_folder("results")   # refuses a folder that holds something, or that cannot be written
with held_folder("results"):   # and nobody else writes into it meanwhile
    ...
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path

from foretell.errors import InputError
from foretell.storage.location.remote import is_url, remote_of
from foretell.storage.writer_lock import writing_alone

__all__ = ["COPY", "DEMO", "MANIFEST", "check_file", "check_folder", "content", "held_folder", "next_free"]

MANIFEST = "manifest.json"
"""The file that makes a folder a run."""
DEMO = "demo.json"
"""The file that makes a folder a demo."""
COPY = "job.json"
"""The copy of a run's manifest; alone it is what a call left that was stopped before it began."""
_KINDS = {
    MANIFEST: "a run",
    "parts": "a run without its manifest (`foretell check --repair` makes it again from its copy)",
    DEMO: "a demo",
    "study.json": "a study",
    "surface.json": "a surface",
    "steering.parquet": "a steering curve",
    "report.html": "a report",
}
"""What a folder holds, by a file in it."""
_held: ContextVar[frozenset[Path]] = ContextVar("_held", default=frozenset())
"""Folders that the calls around this one hold."""
_TODO = "choose another name, or replace it with --overwrite (in Python: overwrite=True)"


def check_folder(folder: Path | str, *, overwrite: bool = False, resumes: str | None = None) -> None:
    """Refuse a folder for results that holds something already, or that cannot be written.

    Names that begin with a dot do not count as content. What is checked is left as it was.

    Args:
        folder: Where results will be written, a folder or a URL; it need not exist.
        overwrite: Allow what is there: files of the same names will be replaced, others stay.
        resumes: A file that says that the folder holds something that can be resumed, such as `MANIFEST`; whether it is
            the same job must be checked by whoever resumes it.

    Raises:
        InputError: It holds something and may not be replaced, it is a file, or nothing can be written there.
    """
    if is_url(folder):
        names = _remote_content(str(folder))
        if names and not overwrite and (resumes is None or resumes not in names):
            raise InputError(f"{folder}: holds other files already; {_TODO}")
        return
    folder = Path(folder)
    with _refusing(folder):
        _check_writable(folder)
        if not overwrite and not (resumes and (folder / resumes).is_file()) and (held := content(folder)):
            raise InputError(f"{folder}: holds {held} already; {_TODO}")


@contextmanager
def held_folder(folder: Path | str, *, overwrite: bool = False) -> Iterator[None]:
    """Hold a folder for results until the block ends, so that two calls at the same time do not mix their files.

    A call within the block, such as a report within the study that it is of, may hold the same folder.

    Args:
        folder: Where results will be written.
        overwrite: As in `check_folder`.

    Raises:
        InputError: As in `check_folder`.
        FolderTakenError: Somebody else is writing into it; the message says who.
    """
    check_folder(folder, overwrite=overwrite)
    place = Path(folder).resolve()
    if place in _held.get():
        yield
        return
    with writing_alone(folder):
        check_folder(folder, overwrite=overwrite)  # of whoever held it until now
        token = _held.set(_held.get() | {place})
        try:
            yield
        finally:
            _held.reset(token)


def check_file(path: Path | str, *, overwrite: bool = False) -> None:
    """Refuse a file for a result that exists already, or that cannot be written.

    Raises:
        InputError: It exists and may not be replaced, it is a folder, or nothing can be written there.
    """
    path = Path(path)
    with _refusing(path):
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file")
        _check_writable(path.parent)
        if not overwrite and path.exists():
            raise InputError(f"{path}: exists already; {_TODO}")


def next_free(place: Path | str) -> Path | str:
    """Return the folder or URL itself if nothing is there, else the first free one of NAME-2, NAME-3, ..."""
    for number in count(1):
        one = place if number == 1 else f"{str(place).rstrip('/')}-{number}"
        if is_url(one):
            if not _remote_content(str(one)):
                return str(one)
        elif not Path(one).is_file() and content(Path(one)) is None:
            return Path(one)
    raise AssertionError("numbers do not end")


def content(folder: Path) -> str | None:
    """Return in words what a folder holds; None if nothing."""
    if not folder.exists():
        return None
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    names = [] if names == [COPY] else names
    known = next((what for file, what in _KINDS.items() if file in names), None)
    if known is None and names:
        return f"other files ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
    return known


def _remote_content(url: str) -> list[str]:
    names = [name for name in remote_of(url).names() if not name.startswith(".")]
    return [] if names == [COPY] else names


def _check_writable(folder: Path) -> None:
    """Make a folder in this one, or in the nearest one above it that exists, and remove it again."""
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not above.is_dir():
        what = "is a file" if above.exists() else "is a link to nothing"
        raise InputError(f"{above}: {what}; name a folder for the results")
    with tempfile.TemporaryDirectory(prefix=".foretell-", dir=above):
        pass


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what the system says of a name into a refusal."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place for the results"
        ) from error
