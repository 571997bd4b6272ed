"""Runs: the results of one model on one set of conversations, as a folder of Parquet parts and a manifest.

A part is written to a temporary name, renamed, and then added to the manifest with its checksum. A part that is not in
the manifest is incomplete and is written again when the run is resumed. Columns are those of
`foretell.schema.tables`.

    run = foretell.open_run("run")
    run.table().write_csv("table.csv")
"""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from foretell.conversations.conversation import Conversation
from foretell.errors import FolderTakenError, InputError, RunError
from foretell.schema import tables as schema
from foretell.storage.atomic import written_whole
from foretell.storage.targets import MANIFEST, content

__all__ = ["Run", "RunTable", "is_run", "open_run", "refuse_other_job"]

RunTable = Literal["samples", "attention", "checkpoints", "rows", "tokens", "activity"]

_FORMAT = 2
"""1: `activity` and `rows` counted `position` from the start of the answer, and answers had no token ids."""
_LABELS = "labels.parquet"
_SAMPLE_COLUMNS = (
    "behavior_label",
    "label_source",
    "group",
    "stratum",
    "answer",
    *(f"n_tokens_{segment}" for segment in schema.SEGMENTS),
    "mean_logprob",
)


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Run:
    """A folder of tables made by one model on one set of conversations."""

    path: Path
    _keep: object = field(default=None, repr=False, compare=False)

    @classmethod
    def create(cls, path: Path | str | None, job: Mapping[str, Any], *, overwrite: bool = False) -> Run:
        """Start a run, or resume the one in the folder if it is the same job.

        Whoever writes into a folder that others can see holds it meanwhile
        (`foretell.storage.writer_lock.writing_alone`).

        Args:
            path: Folder of the run; None: a temporary one that is deleted with the returned object.
            job: Everything that determines the results: model, conversations, settings, seed; must be plain JSON.
            overwrite: Start anew: a run in the folder is removed first, other files stay.

        Raises:
            FolderTakenError: The folder has a run of another job, or other files.
        """
        job = json.loads(json.dumps(job))
        if path is None:
            folder = tempfile.TemporaryDirectory(prefix="foretell-run-")
            run = cls(Path(folder.name), folder)
            weakref.finalize(run, folder.cleanup)
        else:
            run = cls(Path(path))
        if overwrite:
            _remove(run.path)
        if is_run(run.path):
            refuse_other_job(run, job, {*run.manifest["job"], *job})
            return run
        if not overwrite and (held := content(run.path)):
            raise FolderTakenError(f"{run.path}: is not empty and holds no run but {held}; choose another folder")
        run._write_manifest(
            {"format": _FORMAT, "foretell": version("foretell"), "job": job, "parts": [], "finished": False}
        )
        return run

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
        return pl.read_parquet(files) if files else schema.empty(schema.TABLES[table])

    @property
    def samples(self) -> pl.DataFrame:
        """One row per sample (`schema.SAMPLES`), with the labels written last."""
        samples = self._read("samples")
        labels = self.path / _LABELS
        if labels.exists():
            columns = [column for column in schema.LABELS.dtypes if column != "id"]
            samples = samples.drop(columns).join(pl.read_parquet(labels), on="id", how="left")
        return schema.conform(samples, schema.SAMPLES).sort("id")

    @property
    def attention(self) -> pl.DataFrame:
        """One row per sample, layer and head (`schema.ATTENTION`)."""
        return self._read("attention").sort("id", "layer", "head")

    @property
    def checkpoints(self) -> pl.DataFrame:
        """One row per sample, layer, head and number of first generated tokens (`schema.CHECKPOINTS`)."""
        return self._read("checkpoints").sort("id", "layer", "head", "n_generated")

    @property
    def rows(self) -> pl.DataFrame:
        """One row per sample, layer, head and generated token (`schema.ROWS`); empty unless it was asked for."""
        return self._read("rows").sort("id", "layer", "head", "position")

    @property
    def tokens(self) -> pl.DataFrame:
        """One row per sample and token (`schema.TOKENS`)."""
        return self._read("tokens").sort("id", "position")

    @property
    def activity(self) -> pl.DataFrame:
        """One row per sample, layer, generated token and concept (`schema.ACTIVITY`)."""
        return self._read("activity").sort("id", "concept", "layer", "position")

    def conversations(self) -> list[Conversation]:
        """Return the samples as conversations that have this run's answers, tokens and labels.

        `foretell.read(model, run.conversations())` feeds exactly the tokens of this run, whatever the answers' texts
        would be turned into, and so gives its numbers again.

        Returns:
            One conversation per sample, by id. Samples without an answer are among them.
        """
        return [_conversation(row) for row in self.samples.iter_rows(named=True)]

    def table(self) -> pl.DataFrame:
        """Return the input of a study: the attention rows with each sample's label, baselines and answer.

        Rows of samples without a label are included, so that a study's ledger counts them.
        """
        samples = self.samples.select("id", *_SAMPLE_COLUMNS)
        return self.attention.join(samples, on="id", how="left").sort("dataset", "id", "layer", "head")

    def write_labels(self, labels: pl.DataFrame) -> None:
        """Replace the run's labels (`schema.LABELS`) by these.

        Raises:
            TableError: The frame is not a label table, or names a sample twice.
            InputError: It names a sample this run does not have.
        """
        conformed = schema.conform(labels, schema.LABELS)
        repeated = conformed.filter(pl.col("id").is_duplicated())
        if repeated.height:
            raise InputError(
                f"labels: id {repeated['id'][0]!r} stands in more than one row; give each sample one label"
            )
        unknown = sorted(set(conformed["id"]) - set(self._read("samples")["id"]))
        if unknown:
            raise InputError(f"labels: {len(unknown)} ids are not in the run {self.path}, such as {unknown[0]!r}")
        with written_whole(self.path / _LABELS) as draft:
            conformed.write_parquet(draft)

    def verify(self) -> None:
        """Check every part against the manifest.

        Raises:
            RunError: A part is missing or its bytes changed; the message names it.
        """
        for part in self.manifest["parts"]:
            for table, entry in part["files"].items():
                file = self.path / table / f"{part['name']}.parquet"
                if not file.exists() or _checksum(file) != entry["sha256"]:
                    raise RunError(f"{file}: is missing or was changed since it was written; read into a new folder")


def refuse_other_job(run: Run, job: Mapping[str, Any], keys: Iterable[str]) -> None:
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


def _remove(folder: Path) -> None:
    """Delete a run's own files; without its manifest it is none, wherever this is interrupted."""
    for path in (folder / MANIFEST, folder / _LABELS):
        path.unlink(missing_ok=True)
    for table in get_args(RunTable):
        for path in (folder / table).glob("*.parquet"):
            path.unlink()


def _conversation(row: Mapping[str, Any]) -> Conversation:
    return Conversation(
        id=row["id"],
        dataset=row["dataset"],
        messages=Conversation.messages_from_json(row["messages"]),
        answer=row["answer"],
        group=None if row["group"] == row["id"] else row["group"],
        stratum=row["stratum"],
        writer=row["writer"],
        verifier=None if row["verifier"] is None else json.loads(row["verifier"]),
        behavior_label=row["behavior_label"],
        label_source=row["label_source"],
        label_reason=row["label_reason"],
        answer_token_ids=None if row["answer_token_ids"] is None else tuple(row["answer_token_ids"]),
    )


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


def open_run(path: Path | str) -> Run:
    """Return the run in a folder.

    Raises:
        InputError: The folder does not exist or holds no run.
        RunError: Its manifest is damaged, or another version of foretell wrote it with other columns.
    """
    run = Run(Path(path))
    if not is_run(run.path):
        raise InputError(f"{run.path}: is no run (no {MANIFEST}); make one with `foretell read`")
    _ = run.manifest
    return run
