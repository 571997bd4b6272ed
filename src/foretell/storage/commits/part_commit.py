"""One part of a run: the files that hold it, and the small file that is written last and makes it complete.

part = Part("part-00000", job_hash(job), ("a", "b"), (PartFile("samples", "part-00000.parquet", 2, 4096, "..."),))
Part.of(part.text(), "part-00000")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from foretell.storage.commits.sealed_json import sealed, unsealed

__all__ = ["PARTS", "Part", "PartFile", "RunTable", "active_parts", "is_part_name", "is_safe_name"]

RunTable = Literal["samples", "attention", "checkpoints", "rows", "tokens", "activity", "hidden"]

PARTS = "parts"
"""Folder of the files that make parts complete."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._=+-]{0,199}")
_SUFFIXES = (".parquet", ".safetensors")


def is_safe_name(name: object) -> bool:
    """Whether a name is that of a file in its own folder on every system, and nothing else."""
    return isinstance(name, str) and _SAFE.fullmatch(name) is not None and not name.endswith((".", " "))


def is_part_name(name: object) -> bool:
    """Whether a part can have this name: without a full stop, after which the names of its files go on."""
    return is_safe_name(name) and "." not in str(name)


@dataclass(frozen=True)
class PartFile:
    """A file of a part: rows of a table, or a shard of hidden states."""

    table: RunTable
    """The table, which is also the name of its folder."""
    name: str
    n_rows: int | None
    """Rows of the table; None for a shard."""
    n_bytes: int | None
    """None where a format does not say so."""
    sha256: str
    """Checksum of the file; empty where a format does not say so."""

    @property
    def place(self) -> str:
        """Where the file is in the run, such as `samples/part-00000.parquet`."""
        return f"{self.table}/{self.name}"

    @property
    def is_shard(self) -> bool:
        """Whether it holds hidden states themselves, not rows of a table."""
        return self.name.endswith(".safetensors")


@dataclass(frozen=True)
class Part:
    """What a part holds; it is in the run if and only if its own file is in the folder `parts`."""

    name: str
    job: str
    """Hash of the job, see `foretell.storage.commits.job_identity`."""
    ids: tuple[str, ...] | None
    """The samples that it covers; None where a format does not say so."""
    files: tuple[PartFile, ...]
    replaces: tuple[str, ...] = ()
    """Parts whose rows it holds as well; they count no more, whether their files are still there or not."""

    @property
    def place(self) -> str:
        """Where its own file is in the run."""
        return f"{PARTS}/{self.name}.json"

    def of_table(self, table: str) -> tuple[PartFile, ...]:
        """Return the files with rows of a table."""
        return tuple(file for file in self.files if file.table == table and not file.is_shard)

    def text(self) -> str:
        """Return the content of the part's own file."""
        return sealed({key: value for key, value in asdict(self).items() if key != "replaces" or value})

    @classmethod
    def of(cls, text: str, name: str) -> Part:
        """Return the part that a file describes.

        Args:
            text: Of the file.
            name: Of the part, as the file's own name says.

        Raises:
            ValueError: The file is damaged, of another part, or names a file outside its folder.
        """
        return cls.from_content(unsealed(text), name)

    @classmethod
    def from_content(cls, content: Mapping[str, Any], name: str) -> Part:
        """Return the part that plain data describes; see `of`."""
        try:
            ids, replaces = content["ids"], tuple(content.get("replaces", ()))
            part = cls(
                str(content["name"]),
                str(content["job"]),
                None if ids is None else tuple(ids),
                tuple(_file(file) for file in content["files"]),
                replaces,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it describes no part ({error!r})") from error
        if part.name != name or not all(map(is_part_name, (name, *replaces))):
            raise ValueError(f"it describes the part {part.name!r}")
        return part


def _file(content: Mapping[str, Any]) -> PartFile:
    file = PartFile(**content)
    if file.table not in get_args(RunTable):
        raise ValueError(f"{file.table!r} is no table")
    if not is_safe_name(file.name) or not file.name.endswith(_SUFFIXES):
        raise ValueError(f"{file.name!r} is not the name of a file in the folder {file.table}")
    return file


def active_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return the parts that count, in order: those that no other one replaces."""
    known = sorted(parts, key=lambda part: part.name)
    replaced = {name for part in known for name in part.replaces}
    return tuple(part for part in known if part.name not in replaced)
