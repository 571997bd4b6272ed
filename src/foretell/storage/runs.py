"""Runs: the results of one model on one set of conversations, as tables and labels.

run = foretell.open_run("run")
run.table().write_csv("table.csv")
run.hidden(16, "mean over answer")
"""

from __future__ import annotations

import io
import json
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import polars as pl

from foretell.conversations.conversation import Conversation
from foretell.errors import FolderTakenError, InputError
from foretell.schema import tables as schema
from foretell.storage.commits.job_identity import plain_job
from foretell.storage.commits.run_folder import (
    LABELS_COMMIT,
    LABELS_FILE,
    RunTable,
    checksum,
    is_run,
    refuse_other_job,
    remove_run,
)
from foretell.storage.commits.sealed_json import sealed
from foretell.storage.location.remote import located_run
from foretell.storage.state_files import checked_states, read_state_file
from foretell.storage.state_shards import write_states
from foretell.storage.targets import MANIFEST, content
from foretell.storage.upkeep.damage import Damage
from foretell.storage.views.run_view import RunView
from foretell.storage.writer_lock import writing_alone

__all__ = ["Run", "RunTable", "is_run", "open_run", "refuse_other_job"]

_SAMPLE_COLUMNS = (
    "behaviour",
    "behavior_label",
    "label_source",
    "group",
    "stratum",
    "messages",
    "answer",
    *(f"n_tokens_{segment}" for segment in schema.SEGMENTS),
    "mean_logprob",
)


@dataclass(frozen=True, repr=False)
class Run(RunView):
    """A folder of tables made by one model on one set of conversations."""

    @classmethod
    def create(cls, path: Path | str | None, job: Mapping[str, Any], *, overwrite: bool = False) -> Run:
        """Start a run, or resume the one in the folder if it is the same job.

        Whoever writes into a folder that others can see holds it meanwhile
        (`foretell.storage.writer_lock.writing_alone`).

        Args:
            path: Folder or URL of the run; None: a temporary folder that is deleted with the returned object.
            job: Everything that determines the results: model, conversations, settings, seed; must be plain JSON.
            overwrite: Start anew: a run in the folder is removed first, other files stay.

        Raises:
            FolderTakenError: The folder has a run of another job (the message names all that differs, with both
                values) or of an older format, or other files.
        """
        job = plain_job(job)
        if path is None:
            folder = tempfile.TemporaryDirectory(prefix="foretell-run-")
            run = cls(Path(folder.name), None, folder)
            weakref.finalize(run, folder.cleanup)
        else:
            run = cls.at(path)
        if overwrite:
            remove_run(run)
        if run.is_there():
            if run.read_manifest().listed is not None:
                raise FolderTakenError(
                    f"{run.location}: holds a run of an older format, which can be opened but not continued; choose "
                    "another folder, or replace it with --overwrite (in Python: overwrite=True)"
                )
            refuse_other_job(run, job)
            return run
        if not overwrite and run.remote is None and (held := content(run.path)):
            raise FolderTakenError(f"{run.location}: is not empty and holds no run but {held}; choose another folder")
        run.start(job)
        return run

    @classmethod
    def at(cls, place: Path | str) -> Run:
        """Return the run in a folder or at a URL, whether there is one yet or not."""
        path, remote, keep = located_run(place)
        run = cls(path, remote, keep)
        if keep is not None:
            weakref.finalize(run, keep.cleanup)
        return run

    def is_there(self) -> bool:
        """Whether the folder or URL holds a run."""
        return self.exists(MANIFEST)

    def add_hidden(
        self,
        layer: int,
        pool: str,
        ids: Sequence[str],
        states: Any,
        n_generated: int | None = None,
        *,
        dtype: Literal["float16", "float32"] = "float16",
    ) -> None:
        """Add hidden states that were computed elsewhere, which `hidden` then returns like the run's own.

        Args:
            layer: Block index from 0.
            pool: As in `hidden`.
            ids: Samples of this run.
            states: `(sample, width)`, in the order of the ids.
            n_generated: First generated tokens that they are pooled over; None: each whole answer.
            dtype: How they are stored; states beyond what float16 holds (65,504) are stored in float32.

        Raises:
            InputError: An id is not in the run or stands there twice, was not read, has fewer tokens or such states
                already, or the states are no finite matrix of one row per id.
        """
        with writing_alone(self.location):
            by_id = checked_states(self.state_index(), (layer, pool, n_generated), list(map(str, ids)), states)
            numbers = [int(name[7:]) for name in self.part_names if name.startswith("states-") and name[7:].isdigit()]
            name = f"states-{max(numbers, default=-1) + 1:05d}"
            self.append(name, {"hidden": write_states(self.path / "hidden", name, [layer], by_id, dtype)})

    def import_hidden(
        self,
        path: Path | str,
        layer: int,
        pool: str,
        *,
        ids: Sequence[str] | None = None,
        n_generated: int | None = None,
        dtype: Literal["float16", "float32"] = "float16",
    ) -> None:
        """Add hidden states from a file: `add_hidden` with the ids and the array that it holds.

        Args:
            path: `.npz` with `ids` and one more array; `.npy`, or `.safetensors` with one array. Their ids are in
                `NAME.ids.json` beside them, in the safetensors metadata `ids` (a JSON list), or given here.
            layer: As in `add_hidden`, with the rest.
            pool: As in `add_hidden`.
            ids: Samples in the order of the rows, where the file has none.
            n_generated: As in `add_hidden`.
            dtype: As in `add_hidden`.

        Raises:
            InputError: The file has no ids or not one array, or as in `add_hidden`. Nothing in it is ever executed.
        """
        found, states = read_state_file(path, ids)
        self.add_hidden(layer, pool, found, states, n_generated, dtype=dtype)

    def conversations(self) -> list[Conversation]:
        """Return the samples as conversations that have this run's answers, tokens and labels.

        `foretell.read(model, run.conversations())` feeds exactly the tokens of this run, whatever the answers' texts
        would be turned into, and so gives its numbers again.

        Returns:
            One conversation per sample, by id. Samples without an answer are among them.
        """
        return [_conversation(row) for row in self.samples.iter_rows(named=True)]

    def table(self) -> pl.DataFrame:
        """Return the input of a study: the attention rows with each sample's label, baselines, messages and answer.

        Rows of samples without a label are included, so that a study's ledger counts them.
        """
        samples = self.samples.select("id", *_SAMPLE_COLUMNS)
        return self.attention.join(samples, on="id", how="left").sort("dataset", "id", "layer", "head")

    def write_labels(self, labels: pl.DataFrame) -> None:
        """Replace the run's labels (`schema.LABELS`) by these.

        Raises:
            TableError: The frame is not a label table, or names a sample twice.
            InputError: It names a sample this run does not have.
            FolderTakenError: Somebody is writing into the run.
        """
        conformed = schema.conform(labels, schema.LABELS)
        repeated = conformed.filter(pl.col("id").is_duplicated())
        if repeated.height:
            raise InputError(
                f"labels: id {repeated['id'][0]!r} stands in more than one row; give each sample one label"
            )
        unknown = sorted(set(conformed["id"]) - set(self._read("samples")["id"]))
        if unknown:
            raise InputError(f"labels: {len(unknown)} ids are not in the run {self.location}, such as {unknown[0]!r}")
        buffer = io.BytesIO()
        conformed.write_parquet(buffer)
        with writing_alone(self.location):
            self.fetch([LABELS_FILE], anew=True)
            before = self.contained(LABELS_FILE)
            known = [sha256(buffer.getbuffer()).hexdigest(), *([checksum(before)] if before.exists() else [])]
            if len(known) == 2 and known[0] == known[1] and self.exists(LABELS_COMMIT):
                return
            self.write(LABELS_COMMIT, sealed({"labels": known}).encode())
            self.write(LABELS_FILE, buffer.getvalue())

    def check(self) -> list[Damage]:
        """Look at every file of the run and say what is wrong with it.

        Returns:
            One entry per damaged file or part; none where the run is whole. See `foretell.storage.upkeep.check`.
        """
        from foretell.storage.upkeep.check import check_run

        return list(check_run(self).damages)

    def repair(self) -> list[Damage]:
        """Remove what is broken, so that the call that read the run reads it again to equal tables.

        Returns:
            What was broken.

        Raises:
            RunError: Neither the manifest nor its copy can be read.
            FolderTakenError: Somebody is writing into the run.
        """
        from foretell.storage.upkeep.repair import repair_run

        return repair_run(self)

    def compact(self) -> None:
        """Put the rows of many parts into few files, sorted, one per dataset and layer.

        Tables, checks and resuming stay the same; statistics of single layers and hidden states are read faster. A
        damaged file then costs all parts that were compacted, so compact what is finished.

        Raises:
            FolderTakenError: Somebody is writing into the run.
            RunError: A file is damaged, or something cannot be written; the run is as it was.
        """
        from foretell.storage.upkeep.compaction import compact_run

        compact_run(self)


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
        behaviour=row["behaviour"],
    )


def open_run(path: Path | str) -> Run:
    """Return the run in a folder, or at a URL of any file system that fsspec knows.

    Files of a URL are copied into a temporary folder when they are needed, which lives as long as the returned object.

    Raises:
        InputError: The folder does not exist or holds no run.
        MissingExtraError: It is a URL, and fsspec is not installed (`pip install 'foretell[remote]'`).
        RunError: Its manifest is damaged, or another version of foretell wrote it with other columns.
    """
    run = Run.at(path)
    if not run.is_there():
        raise InputError(f"{run.location}: is no run (no {MANIFEST}); make one with `foretell read`")
    run.read_manifest()
    return run
