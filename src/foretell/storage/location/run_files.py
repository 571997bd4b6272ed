"""The files of one run, read and written by name in its folder or at its URL.

files = RunFiles(Path("run"))
files.write("parts/part-00000.json", b"{}")
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from foretell.errors import RunError
from foretell.storage.atomic import saving, written_whole
from foretell.storage.location.remote import Remote

__all__ = ["RunFiles"]


@dataclass(frozen=True)
class RunFiles:
    """Files by their names in a run, such as `samples/part-00000.parquet`."""

    path: Path
    """The folder; of a run at a URL, a temporary one with the files that were needed so far."""
    remote: Remote | None = field(default=None, compare=False)
    _keep: object = field(default=None, repr=False, compare=False)

    @property
    def location(self) -> str:
        """Folder or URL of the run."""
        return self.remote.url if self.remote else str(self.path)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.remote.exists(name) if self.remote else (self.path / name).is_file()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole and durably.

        Raises:
            RunError: It cannot be written.
        """
        with written_whole(self.contained(name), durable=True) as draft:
            draft.write_bytes(content)
        self.send(name, keep=True)

    def send(self, name: str, *, keep: bool) -> None:
        """Let a run at a URL have a file that was written into the local folder, and `keep` it there or not."""
        if self.remote:
            self.remote.send(self.path, name)
            if not keep:
                (self.path / name).unlink()

    def remove(self, names: Collection[str]) -> None:
        """Delete files; those that are missing already are left out."""
        for name in names:
            with saving(f"{self.location}/{name}"):
                self._inside(self.path / name).unlink(missing_ok=True)
        if self.remote:
            self.remote.remove(names)

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the names, without this suffix, of the complete files in a folder, in order."""
        if self.remote:
            found = self.remote.names(folder)
        else:
            try:
                found = [path.name for path in (self.path / folder).iterdir()]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix) and name[0] != ".")

    def fetch(self, names: Iterable[str], *, anew: bool = False) -> None:
        """Make sure that files of a run at a URL are in the local folder, or as new as they are there."""
        if self.remote:
            self.remote.fetch([name for name in names if anew or not (self.path / name).exists()], self.path)

    def contained(self, name: str) -> Path:
        """Return the path of a file.

        Raises:
            RunError: A link leads out of the run's folder.
        """
        path = self._inside(self.path / name)
        if path.is_symlink():
            self._refuse_outside(path)
        return path

    def _inside(self, path: Path) -> Path:
        if path.parent != self.path and path.parent.is_symlink():
            self._refuse_outside(path.parent)
        return path

    def _refuse_outside(self, path: Path) -> None:
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise RunError(f"{path}: is a link that leads out of the run; the files of a run are in its own folder")
