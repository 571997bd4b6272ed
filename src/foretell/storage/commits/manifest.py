"""The manifest of a run: its format, its job, and whether it is finished. It is written at the start and at the end.

The same is in a second file, so that a damaged one can be made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from foretell.errors import RunError
from foretell.storage.commits.part_commit import Part, is_part_name
from foretell.storage.commits.sealed_json import read_json, sealed, unsealed

__all__ = ["FORMAT", "Manifest"]

FORMAT = 3
"""2: the manifest listed the parts; such runs are read. 1: `activity` and `rows` counted `position` from the start of
the answer, and answers had no token ids."""
_LISTED = 2


@dataclass(frozen=True)
class Manifest:
    """What a run is."""

    job: Mapping[str, Any]
    finished: bool = False
    parts: tuple[str, ...] = ()
    """Names of the parts when it was finished, so that a part that was removed later is missed."""
    foretell: str = ""
    """Version that wrote it."""
    listed: tuple[Part, ...] | None = None
    """Parts of format 2; None in format 3, where each part has its own file."""

    def text(self) -> str:
        """Return the content of the file."""
        content = {"format": FORMAT, "foretell": version("foretell"), "job": dict(self.job)}
        return sealed({**content, "finished": self.finished, "parts": list(self.parts)})

    @classmethod
    def of(cls, text: str, path: object) -> Manifest:
        """Return the manifest that a file holds.

        Args:
            text: Of the file.
            path: The file, for messages.

        Raises:
            RunError: It is of another format.
            ValueError: It is damaged.
        """
        content = read_json(text)
        found = content.get("format")
        if found not in {FORMAT, _LISTED}:
            if "format" not in content or not isinstance(found, int):
                raise ValueError("it has no format")
            raise RunError(_of_another_version(path, content))
        if found == FORMAT:
            content = unsealed(text)
        try:
            parts = content["parts"]
            listed = tuple(_listed(part) for part in parts) if found == _LISTED else None
            names = tuple(part.name for part in listed) if listed is not None else tuple(map(str, parts))
            return cls(dict(content["job"]), bool(content["finished"]), names, str(content.get("foretell", "")), listed)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it describes no run ({error!r})") from error


def _listed(content: Mapping[str, Any]) -> Part:
    """Return a part as format 2 lists it: its files are named after it, and it does not say which samples it has."""
    name, files = content["name"], []
    if not is_part_name(name):
        raise ValueError(f"{name!r} is not the name of a part")
    for table, entry in content["files"].items():
        files.append({"table": table, "name": f"{name}.parquet", "n_rows": entry["rows"], "sha256": entry["sha256"]})
        files += [
            {"table": table, "name": shard, "n_rows": None, "sha256": checksum}
            for shard, checksum in entry.get("shards", {}).items()
        ]
    described = {"name": name, "job": "", "ids": None, "files": [{**file, "n_bytes": None} for file in files]}
    return Part.from_content(described, name)


def _of_another_version(path: object, content: Mapping[str, Any]) -> str:
    older = content["format"] < FORMAT
    what, by = ("an older", "a newer")[not older], content.get("foretell", "of unknown version")
    todo = (
        "read the conversations again into a new folder, or open it with that version"
        if older
        else "install that version to open it"
    )
    return (
        f"{path}: was written by {what} version of foretell ({by}, run format {content['format']}; this one writes "
        f"{FORMAT}), whose tables have other columns: {todo}"
    )
