"""Where a run is: a folder, or a URL of any file system that fsspec knows, such as `s3://bucket/run`.

Files of a URL are copied into a temporary folder when they are needed, because tables and hidden states are read by
libraries that want files; what is written is sent from there. So one code serves both.

    folder, remote, keep = located_run("memory://run")
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretell.errors import InputError, MissingExtraError, RunError

__all__ = ["Remote", "is_url", "located_run", "remote_of"]


def is_url(place: object) -> bool:
    """Whether a run's place is a URL and no folder."""
    return isinstance(place, str) and "://" in place


@dataclass(frozen=True)
class Remote:
    """A folder of a file system that is not this machine's."""

    url: str
    _filesystem: Any
    _root: str

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        with self._asking(name):
            self._filesystem.invalidate_cache()  # others write as well
            try:  # fsspec's own `isfile` takes a store that cannot be reached for one without the file
                return bool(self._filesystem.info(self._path(name))["type"] == "file")
            except FileNotFoundError:
                return False

    def names(self, folder: str = "") -> list[str]:
        """Return the names of the files in a folder; none where it does not exist."""
        with self._asking(folder):
            self._filesystem.invalidate_cache()
            try:
                found = self._filesystem.ls(self._path(folder), detail=True)
            except FileNotFoundError:
                return []
            return [str(one["name"]).rstrip("/").rsplit("/", 1)[-1] for one in found if one["type"] == "file"]

    def fetch(self, names: Collection[str], folder: Path) -> None:
        """Copy files into a local folder; those that are missing are left out."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with self._asking(next(iter(names), "")):
            for name in names:
                try:
                    self._filesystem.get_file(self._path(name), str(folder / name))
                except FileNotFoundError:
                    (folder / name).unlink(missing_ok=True)

    def send(self, folder: Path, name: str) -> None:
        """Copy a local file to its place; object stores show it when it is complete."""
        with self._asking(name):
            self._filesystem.makedirs(self._path(name).rsplit("/", 1)[0], exist_ok=True)
            self._filesystem.put_file(str(folder / name), self._path(name))

    def remove(self, names: Collection[str]) -> None:
        """Delete files; those that are missing already are left out."""
        for name in names:
            with self._asking(name):
                try:
                    self._filesystem.rm_file(self._path(name))
                except FileNotFoundError:
                    continue

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that must not exist; return whether it did not. True where the file system cannot tell."""
        with self._asking(name):
            self._filesystem.makedirs(self._path(name).rsplit("/", 1)[0], exist_ok=True)
            try:
                self._filesystem.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
            except (TypeError, NotImplementedError, ValueError):
                self._filesystem.pipe_file(self._path(name), content)
            return True

    def read(self, name: str) -> bytes:
        """Return the content of a file; nothing where it does not exist."""
        with self._asking(name):
            try:
                return bytes(self._filesystem.cat_file(self._path(name)))
            except FileNotFoundError:
                return b""

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Say of which file it was where the other side refuses; what it raises is not known here."""
        try:
            yield
        except Exception as error:
            raise RunError(f"{self.url}/{name}: {error or type(error).__name__} ({type(error).__name__})") from error


def remote_of(url: str) -> Remote:
    """Return the folder at a URL.

    Raises:
        MissingExtraError: fsspec, or what it needs for this kind of URL, is not installed.
        InputError: There is no such kind of URL.
    """
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise MissingExtraError("remote", f"a run at {url}") from error
    try:
        filesystem, root = url_to_fs(url)
    except ImportError as error:
        raise InputError(f"{url}: {error}") from error
    except ValueError as error:
        raise InputError(f"{url}: no file system is known for it ({error})") from error
    return Remote(url.rstrip("/"), filesystem, root.rstrip("/"))


def located_run(place: Path | str) -> tuple[Path, Remote | None, tempfile.TemporaryDirectory[str] | None]:
    """Return the local folder of a run, and for a URL its remote and the temporary folder that must be kept."""
    if not is_url(place):
        return Path(place), None, None
    remote = remote_of(str(place))
    folder = tempfile.TemporaryDirectory(prefix="foretell-remote-")
    return Path(folder.name), remote, folder
