"""A run's folder: tables in parts, one small file per part that makes it complete, and a manifest of the job.

    manifest.json                  format, job, whether it is finished; job.json is its copy
    parts/part-00000.json          written last: samples, files and checksums of one part
    samples/part-00000.parquet     and the same in attention, tokens, ...

A part whose own file is not there is incomplete and is written again when the run is resumed. Several processes of one
job may add different parts at the same time. Columns are those of `foretell.schema.tables`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any, get_args

import polars as pl

from foretell.errors import FolderTakenError, InputError, RunError
from foretell.schema import tables as schema
from foretell.storage.atomic import saving, written_whole
from foretell.storage.commits.job_identity import differences, job_hash
from foretell.storage.commits.manifest import FORMAT, Manifest
from foretell.storage.commits.part_commit import PARTS, Part, PartFile, RunTable, active_parts, is_part_name
from foretell.storage.location.remote import is_url, remote_of
from foretell.storage.location.run_files import RunFiles
from foretell.storage.targets import COPY, MANIFEST

__all__ = [
    "LABELS_COMMIT",
    "LABELS_FILE",
    "RunFolder",
    "RunTable",
    "checksum",
    "is_run",
    "refuse_other_job",
    "remove_run",
]

LABELS_FILE = "labels.parquet"
"""Labels that were written after the run was made."""
LABELS_COMMIT = "labels.json"
"""Checksums of the labels: of those that are written, and of those before, until they are replaced."""


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class RunFolder(RunFiles):
    """A folder of parts, each complete or not there."""

    _known: dict[str, tuple[tuple[int, int], Part]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def manifest(self) -> dict[str, Any]:
        """Format, foretell's version, the job, whether the run is finished, and the names of its parts by then."""
        found = self.read_manifest()
        return {
            "format": FORMAT if found.listed is None else FORMAT - 1,
            "foretell": found.foretell,
            "job": dict(found.job),
            "finished": found.finished,
            "parts": list(found.parts),
        }

    @property
    def job(self) -> dict[str, Any]:
        """Everything that determines the results: model, conversations, settings."""
        return dict(self.read_manifest().job)

    def read_manifest(self) -> Manifest:
        """Return the manifest.

        Raises:
            RunError: It is missing, damaged, or of another format.
        """
        self.fetch([MANIFEST], anew=True)
        path = self.path / MANIFEST
        try:
            return Manifest.of(path.read_text(encoding="utf-8"), f"{self.location}/{MANIFEST}")
        except (OSError, ValueError) as error:
            reason = (error.strerror or error) if isinstance(error, OSError) else error
            raise RunError(
                f"{self.location}/{MANIFEST}: is damaged ({reason}); `foretell check {self.location} --repair` makes "
                "it again from its copy"
            ) from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest and its copy."""
        for name in (COPY, MANIFEST):
            self.write(name, manifest.text().encode())

    def start(self, job: Mapping[str, Any]) -> None:
        """Make the folder a run without parts."""
        self.write_manifest(Manifest(job))

    def finish(self) -> None:
        """Mark the run as complete."""
        self.write_manifest(Manifest(self.job, finished=True, parts=tuple(part.name for part in self.parts)))

    @property
    def finished(self) -> bool:
        """Whether every sample of the job has been read, and no part was removed since."""
        manifest = self.read_manifest()
        return manifest.finished and set(manifest.parts) <= self.part_names

    @property
    def part_names(self) -> frozenset[str]:
        """Names of the complete parts, also of those that were compacted into others."""
        return frozenset(name for part in self.parts for name in (part.name, *part.replaces))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The complete parts by name, without those that were compacted into others.

        Raises:
            RunError: The file of a part is damaged, or belongs to another job.
        """
        manifest = self.read_manifest()
        listed = {part.name: part for part in manifest.listed or ()}
        own = job_hash(manifest.job)
        names = self.names(PARTS, ".json")
        self.fetch(f"{PARTS}/{name}.json" for name in names)
        for name in names:
            try:
                part = self.read_part(name)
            except (OSError, ValueError) as error:
                if isinstance(error, FileNotFoundError):
                    continue  # compacted meanwhile; what replaces it is there
                raise RunError(self.damaged(f"{PARTS}/{name}.json", f"is damaged ({error})")) from error
            if part.job != own:
                raise RunError(self.damaged(part.place, f"belongs to another job ({part.job}, this run's is {own})"))
            listed[name] = part
        return active_parts(listed.values())

    def read_part(self, name: str) -> Part:
        """Return a part as its own file describes it.

        Raises:
            ValueError: The file is damaged.
        """
        path = self.path / PARTS / f"{name}.json"
        found = path.stat()
        version = (found.st_mtime_ns, found.st_size)
        if name not in self._known or self._known[name][0] != version:
            self._known[name] = (version, Part.of(path.read_text(encoding="utf-8"), name))
        return self._known[name][1]

    def append(self, name: str, tables: Mapping[RunTable, pl.DataFrame]) -> None:
        """Add one part: its rows in each table, checked against the schema. A part that is there already is kept.

        Files reach the disk before the part's own file does, so the part is there as a whole or not at all, also after
        a loss of power. Shards of hidden states are in their folder already
        (`foretell.storage.state_shards.write_states`).

        Raises:
            TableError: A frame lacks a column, or a value has another type.
            RunError: Something cannot be written.
        """
        if not is_part_name(name):
            raise InputError(f"{name!r} cannot be the name of a part: use letters, digits, '-' and '_'")
        manifest = self.read_manifest()
        if manifest.listed is not None:
            self.upgrade(manifest)
        conformed = {table: schema.conform(frame, schema.TABLES[table]) for table, frame in tables.items()}
        if (self.path / PARTS / f"{name}.json").exists():
            return
        files = []
        for table, frame in conformed.items():
            files.append(self.write_rows(table, f"{name}.parquet", frame))
            if table == "hidden":
                files += [self.committed(table, shard) for shard in frame.get_column("shard").unique().sort()]
        named = conformed.get("samples", conformed.get("hidden"))
        ids = () if named is None else named.get_column("id").unique(maintain_order=True)
        self.commit(Part(name, job_hash(manifest.job), tuple(ids), tuple(files)))

    def write_rows(self, table: RunTable, name: str, frame: pl.DataFrame) -> PartFile:
        """Write one file of a table, which no part has yet."""
        target = self.contained(f"{table}/{name}")
        with written_whole(target, durable=True) as draft, draft.open("wb") as stream:
            frame.write_parquet(stream)
        return self.committed(table, name, frame.height)

    def committed(self, table: RunTable, name: str, n_rows: int | None = None) -> PartFile:
        """Return what a part says of a file that was written; a run at a URL has it from then on."""
        path = self.contained(f"{table}/{name}")
        with saving(path):
            described = PartFile(table, name, n_rows, path.stat().st_size, checksum(path))
        self.send(described.place, keep=False)
        return described

    def commit(self, part: Part) -> None:
        """Make a part complete: its own file is written last."""
        self.write(part.place, part.text().encode())

    def upgrade(self, manifest: Manifest) -> None:
        """Write a run of format 2 as one of this format, parts first."""
        own = job_hash(manifest.job)
        for part in manifest.listed or ():
            self.commit(Part(part.name, own, part.ids, part.files))
        self.write_manifest(Manifest(manifest.job, manifest.finished, manifest.parts))

    def damaged(self, name: str, what: str) -> str:
        """Return the message of a damaged file."""
        return (
            f"{self.location}/{name}: {what}; `foretell check {self.location} --repair` removes what is broken, and "
            "the call that read the run reads it again"
        )

    def verify(self) -> None:
        """Compare the checksum of every file with what its part says; `Run.check` looks at everything.

        Raises:
            RunError: A file is missing or its bytes changed; the message names it.
        """
        for part in self.parts:
            for file in part.files:
                self.fetch([file.place])
                path = self.contained(file.place)
                if not path.exists() or (file.sha256 and checksum(path) != file.sha256):
                    raise RunError(self.damaged(file.place, "is missing or was changed since it was written"))


def refuse_other_job(run: RunFolder, job: Mapping[str, Any], keys: Collection[str] | None = None) -> None:
    """Refuse a job that is not the run's own.

    Args:
        run: A run.
        job: What is to be done.
        keys: Settings that are compared; None: all.

    Raises:
        FolderTakenError: It is another; the message names all that differ, with both values.
    """
    differing = differences(run.job, job, keys)
    if differing:
        raise FolderTakenError(
            f"{run.location}: holds a run of another job (differs in {'; '.join(differing)}); choose another folder, "
            "take the next free name with --new, or replace it with --overwrite (in Python: overwrite=True)"
        )


def remove_run(run: RunFolder) -> None:
    """Delete a run's own files; without its manifest it is none, wherever this is interrupted."""
    run.remove([MANIFEST, COPY, LABELS_FILE, LABELS_COMMIT])
    for folder in (PARTS, *get_args(RunTable)):
        for suffix in (".json", ".parquet", ".safetensors"):
            run.remove([f"{folder}/{name}{suffix}" for name in run.names(folder, suffix)])


def is_run(place: Path | str) -> bool:
    """Whether a folder or URL holds a run."""
    if is_url(place):
        return remote_of(str(place)).exists(MANIFEST)
    return (Path(place) / MANIFEST).is_file()
