"""A run's folder: parts of tables, the manifest that lists them with their checksums, and resuming.

A part is written to a temporary name, renamed, and then added to the manifest with its checksum. A part that is not in
the manifest is incomplete and is written again when the run is resumed. Columns are those of
`foretell.schema.tables`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from foretell.errors import FolderTakenError, RunError
from foretell.schema import tables as schema
from foretell.storage.atomic import written_whole
from foretell.storage.targets import MANIFEST

__all__ = ["LABELS_FILE", "RunFolder", "RunTable", "is_run", "refuse_other_job", "remove_run"]

RunTable = Literal["samples", "attention", "checkpoints", "rows", "tokens", "activity", "hidden"]

_FORMAT = 2
"""1: `activity` and `rows` counted `position` from the start of the answer, and answers had no token ids."""
LABELS_FILE = "labels.parquet"
"""Labels that were written after the run was made."""


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """A folder of parts and the manifest that lists them."""

    path: Path
    _keep: object = field(default=None, repr=False, compare=False)

    @property
    def manifest(self) -> dict[str, Any]:
        """Format, foretell's version, the job, the parts, and whether the run is finished."""
        path = self.path / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["format"] != _FORMAT:
                raise RunError(_of_another_version(path, manifest))
            _ = manifest["job"], manifest["parts"], manifest["finished"]
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path}: is damaged ({error}); delete the folder and read again") from error
        return dict(manifest)

    def start(self, job: Mapping[str, Any]) -> None:
        """Make the folder a run without parts."""
        self._write_manifest(
            {"format": _FORMAT, "foretell": version("foretell"), "job": job, "parts": [], "finished": False}
        )

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        with written_whole(self.path / MANIFEST) as draft:
            draft.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @property
    def finished(self) -> bool:
        """Whether every sample of the job has been read."""
        return bool(self.manifest["finished"])

    @property
    def part_names(self) -> frozenset[str]:
        """Names of the complete parts."""
        return frozenset(part["name"] for part in self.manifest["parts"])

    def append(self, name: str, tables: Mapping[RunTable, pl.DataFrame]) -> None:
        """Add one part: its rows in each table, checked against the schema and written atomically.

        Shards of hidden states are in their folder already (`foretell.storage.state_shards.write_states`).

        Raises:
            TableError: A frame lacks a column, or a value has another type.
        """
        files: dict[str, dict[str, Any]] = {}
        for table, frame in tables.items():
            conformed = schema.conform(frame, schema.TABLES[table])
            target = self.path / table / f"{name}.parquet"
            with written_whole(target) as draft:
                conformed.write_parquet(draft)
            files[table] = {"rows": conformed.height, "sha256": _checksum(target)}
            if table == "hidden":
                shards = conformed.get_column("shard").unique().sort()
                files[table]["shards"] = {shard: _checksum(self.path / table / shard) for shard in shards}
        manifest = self.manifest
        manifest["parts"] = [*manifest["parts"], {"name": name, "files": files}]
        self._write_manifest(manifest)

    def finish(self) -> None:
        """Mark the run as complete."""
        self._write_manifest({**self.manifest, "finished": True})

    def _files(self, table: RunTable) -> list[Path]:
        return [
            self.path / table / f"{part['name']}.parquet" for part in self.manifest["parts"] if table in part["files"]
        ]

    def _read(self, table: RunTable) -> pl.DataFrame:
        files = self._files(table)
        for file in files:
            if not file.exists():
                raise RunError(f"{file}: is missing though the manifest names it; read into a new folder")
        if not files:
            return schema.empty(schema.TABLES[table])
        # Parts of older versions lack columns that came later; these are null there.
        return schema.conform(pl.concat(map(pl.scan_parquet, files), how="diagonal").collect(), schema.TABLES[table])

    def verify(self) -> None:
        """Check every part against the manifest.

        Raises:
            RunError: A part is missing or its bytes changed; the message names it.
        """
        for part in self.manifest["parts"]:
            for table, entry in part["files"].items():
                for name, checksum in {f"{part['name']}.parquet": entry["sha256"], **entry.get("shards", {})}.items():
                    file = self.path / table / name
                    if not file.exists() or _checksum(file) != checksum:
                        raise RunError(
                            f"{file}: is missing or was changed since it was written; read into a new folder"
                        )


def refuse_other_job(run: RunFolder, job: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse a job that differs from the run's own in one of these settings.

    Raises:
        FolderTakenError: It does; the message names all that differ.
    """
    known = run.manifest["job"]
    differing = sorted(key for key in keys if known.get(key) != job.get(key))
    if differing:
        raise FolderTakenError(
            f"{run.path}: holds a run of another job (differs in {', '.join(differing)}); choose another folder, or "
            "replace it with --overwrite (in Python: overwrite=True)"
        )


def remove_run(folder: Path) -> None:
    """Delete a run's own files; without its manifest it is none, wherever this is interrupted."""
    for path in (folder / MANIFEST, folder / LABELS_FILE):
        path.unlink(missing_ok=True)
    for table in get_args(RunTable):
        for kind in ("*.parquet", "*.safetensors"):
            for path in (folder / table).glob(kind):
                path.unlink()


def _of_another_version(path: Path, manifest: Mapping[str, Any]) -> str:
    older = isinstance(manifest["format"], int) and manifest["format"] < _FORMAT
    what, by = ("an older", "a newer")[not older], manifest.get("foretell", "of unknown version")
    todo = (
        "read the conversations again into a new folder, or open it with that version"
        if older
        else "install that version to open it"
    )
    return (
        f"{path}: was written by {what} version of foretell ({by}, run format {manifest['format']}; this one writes "
        f"{_FORMAT}), whose tables have other columns: {todo}"
    )


def is_run(path: Path | str) -> bool:
    """Whether a folder holds a run."""
    return (Path(path) / MANIFEST).is_file()
