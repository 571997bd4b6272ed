"""The labelled answers of a run, and the numbers by which each part of the model may predict their labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Shaped

from foretell.conversations.conversation import Conversation
from foretell.errors import InputError
from foretell.interventions.changing.intervention import Head
from foretell.monitors.labelled import Labelled, labelled_samples
from foretell.schema.tables import MASSES, SEGMENTS
from foretell.stats.per_run import run_of
from foretell.stats.study import Study
from foretell.stats.table.joined import BASELINES
from foretell.storage.runs import Run

__all__ = ["LabelledRun", "labelled_run"]

_FLOOR = 1e-3
"""Added to a mass before its logarithm, as in monitors."""


@dataclass(frozen=True)
class LabelledRun:
    """The labelled answers of a run; every array is in the order of `samples.ids`."""

    run: Run
    samples: Labelled
    conversations: tuple[Conversation, ...]
    """With the labels and groups that count."""
    stratum: Shaped[np.ndarray, " sample"] | None
    baselines: Float[np.ndarray, "sample baseline"]
    """Logarithms of lengths, and the mean log-probability; those that the run has."""
    heads: tuple[Head, ...]
    """Heads whose masses the run has."""
    masses: Float[np.ndarray, "sample head segment"]
    """Logarithms of masses, averaged over the rows of each answer; nan where missing."""

    def head_columns(self, heads: tuple[Head, ...], segment: str | None) -> Float[np.ndarray, "sample column"]:
        """Return the columns by which heads may predict: all their masses, or those on one segment."""
        place = {head: at for at, head in enumerate(self.heads)}
        known = [self.masses[:, place[head]] for head in heads if head in place]
        if len(known) < len(heads):
            return np.full((len(self.conversations), 1), np.nan)
        columns = np.stack(known, axis=1)
        if segment is not None:
            columns = columns[:, :, [SEGMENTS.index(segment)]]
        return columns.reshape(len(columns), -1)


def labelled_run(source: Run | Study | Path | str, behaviour: str | None) -> LabelledRun:
    """Return the labelled answers of a run, its folder, or a study of one, whose labels and groups are then taken.

    Raises:
        InputError: It is no run, is not finished, has no labels, only one, or several behaviours to choose from.
    """
    known = None
    if isinstance(source, Study):
        run = None if source.signals is None else source.signals.run
        known = source.table.samples.select("id", "behavior_label", "group")
    else:
        run = run_of(source)
    if run is None:
        raise InputError(
            f"causes needs a run, its folder, or a study of a run, not {source!r}: it has to run the model"
        )
    samples = labelled_samples(run, behaviour, known)
    rows = pl.DataFrame({"id": samples.ids}).join(run.samples, on="id", how="left", maintain_order="left")
    by_id = {one.id: one for one in run.conversations()}
    conversations = tuple(
        _with_label(by_id[name], int(label), samples.group_names[group])
        for name, label, group in zip(samples.ids, samples.label, samples.group, strict=True)
    )
    strata = rows.get_column("stratum")
    heads, masses = _masses(run, samples.ids)
    return LabelledRun(
        run=run,
        samples=samples,
        conversations=conversations,
        stratum=None if strata.null_count() == len(strata) else strata.fill_null("").to_numpy().astype(str),
        baselines=_baselines(rows),
        heads=heads,
        masses=masses,
    )


def _with_label(one: Conversation, label: int, group: str) -> Conversation:
    return replace(one, behavior_label=label, group=group)


def _baselines(rows: pl.DataFrame) -> Float[np.ndarray, "sample baseline"]:
    columns = []
    for name in BASELINES:
        values = rows.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy()
        if np.isfinite(values).all():
            columns.append(np.log1p(values) if name.startswith("n_tokens") else values)
    return np.column_stack(columns) if columns else np.empty((rows.height, 0))


def _masses(run: Run, ids: tuple[str, ...]) -> tuple[tuple[Head, ...], Float[np.ndarray, "sample head segment"]]:
    attention = run.attention.join(pl.DataFrame({"id": ids, "sample": range(len(ids))}), on="id", how="inner")
    pairs = attention.select("layer", "head").unique().sort("layer", "head")
    heads = tuple((int(layer), int(head)) for layer, head in pairs.iter_rows())
    found = np.full((len(ids), len(heads), len(MASSES)), np.nan)
    placed = attention.join(pairs.with_row_index("place"), on=["layer", "head"], how="left")
    values = placed.select(pl.col(MASSES).cast(pl.Float64).fill_null(np.nan)).to_numpy()
    found[placed.get_column("sample").to_numpy(), placed.get_column("place").to_numpy()] = np.log(values + _FLOOR)
    return heads, found
