"""Runs: the results of one model on one set of conversations, as tables and labels.

run = foretell.open_run("run")
run.table().write_csv("table.csv")
run.hidden(16, "mean over answer")
"""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.conversations.conversation import Conversation
from foretell.errors import FolderTakenError, InputError
from foretell.schema import tables as schema
from foretell.storage.atomic import written_whole
from foretell.storage.run_folder import LABELS_FILE, RunFolder, RunTable, is_run, refuse_other_job, remove_run
from foretell.storage.state_files import checked_states, read_state_file
from foretell.storage.state_shards import StateIndex, state_index, write_states
from foretell.storage.targets import MANIFEST, content
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


@dataclass(frozen=True)
class Run(RunFolder):
    """A folder of tables made by one model on one set of conversations."""

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
            remove_run(run.path)
        if is_run(run.path):
            refuse_other_job(run, job, {*run.manifest["job"], *job})
            return run
        if not overwrite and (held := content(run.path)):
            raise FolderTakenError(f"{run.path}: is not empty and holds no run but {held}; choose another folder")
        run.start(job)
        return run

    @property
    def samples(self) -> pl.DataFrame:
        """One row per sample (`schema.SAMPLES`), with the labels written last."""
        samples = self._read("samples")
        labels = self.path / LABELS_FILE
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

    @property
    def hidden_states(self) -> pl.DataFrame:
        """Which hidden states are stored and where (`schema.HIDDEN`); empty unless they were asked for."""
        return self._read("hidden").sort("id", "layer", "pool", "n_generated")

    def hidden(
        self, layer: int, pool: str, n_generated: int | None = None
    ) -> tuple[list[str], Float[np.ndarray, "sample width"]]:
        """Return hidden states after one block, pooled over tokens of each sample.

        Only what is asked for is read from the files. `hidden_states` lists what is there.

        Args:
            layer: Block index from 0; the state is what the next block is given.
            pool: "last prompt token", "mean over answer" or "last answer token".
            n_generated: First generated tokens that count (1, 2, 4, 8, ...), which gives the samples that have so many;
                None: the whole answer. "last prompt token" takes None or 0.

        Returns:
            Ids of the samples in order, and their states in float32.

        Raises:
            InputError: The run has no such states; the message says which it has.
            RunError: A file is missing or damaged.
        """
        return self._state_index().states(layer, pool, n_generated)

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
        with writing_alone(self.path):
            by_id = checked_states(self._state_index(), (layer, pool, n_generated), list(map(str, ids)), states)
            number = sum(name.startswith("states-") for name in self.part_names)
            name = f"states-{number:05d}"
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

    def _state_index(self) -> StateIndex:
        entries = [part for part in self.manifest["parts"] if {"samples", "hidden"} & set(part["files"])]
        return state_index(self.path, json.dumps(entries, sort_keys=True))

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
        with written_whole(self.path / LABELS_FILE) as draft:
            conformed.write_parquet(draft)


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
