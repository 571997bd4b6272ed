"""What two studies or runs have of the same data set, sample by sample, and which of it can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Shaped
from scipy import sparse

from foretell.errors import InputError
from foretell.schema.tables import SHARES
from foretell.stats.detectors.baselines import ALL_BASELINES
from foretell.stats.detectors.held_out_scores import HeldOutScores
from foretell.stats.folds import group_codes
from foretell.stats.per_run import run_of
from foretell.stats.study import Study, study
from foretell.stats.table.dense import dense_dataset
from foretell.storage.runs import Run
from foretell.storage.views.dense_arrays import dense_array

__all__ = ["Pair", "Side", "pairs_of", "rows_of", "sides_of"]


@dataclass(frozen=True, eq=False)
class Side:
    """The samples of one data set on one side."""

    ids: Shaped[np.ndarray, " sample"]
    label: Float[np.ndarray, " sample"]
    """1 the behaviour happened, 0 it did not, nan unknown."""
    group: Shaped[np.ndarray, " sample"]
    stratum: Shaped[np.ndarray, " sample"] | None
    values: Float[np.ndarray, "sample layer head metric"]
    places: tuple[tuple[int, ...], tuple[int, ...]]
    """Layers and heads of the axes."""
    metrics: tuple[str, ...]
    behaviour: str | None = None
    prompts: tuple[str | None, ...] | None = None
    scores: Mapping[str, HeldOutScores] = field(default_factory=dict)
    """Held-out scores of the samples by detector."""

    def at(self, places: Int[np.ndarray, " chosen"]) -> Side:
        """Return some samples in another order."""
        scores = {
            name: replace(one, score=one.score[:, places], fold=one.fold[:, places], probability=None)
            for name, one in self.scores.items()
        }
        return replace(
            self,
            ids=self.ids[places],
            label=self.label[places],
            group=self.group[places],
            stratum=None if self.stratum is None else self.stratum[places],
            values=self.values[places],
            prompts=None if self.prompts is None else tuple(self.prompts[place] for place in places),
            scores=scores,
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """A data set on both sides."""

    dataset: str
    first: Side
    second: Side
    codes: tuple[Int[np.ndarray, " sample"], Int[np.ndarray, " other"]]
    """Group of each sample; a group that is on both sides has one code."""
    paired: bool
    """Whether both sides have the same samples, in the same order."""
    notes: tuple[str, ...]

    @property
    def n_groups(self) -> int:
        """Groups of both sides."""
        return 1 + max(int(codes.max(initial=-1)) for codes in self.codes)


def sides_of(source: Any) -> tuple[dict[str, Side], str]:
    """Return what a study, a run, or anything that `foretell.study` reads has of each data set, and its name.

    Args:
        source: A study gives its own held-out scores; of anything else, a study is made. A run without labels gives its
            attention.

    Raises:
        TableError: It cannot be read.
    """
    run = None if isinstance(source, Study) else run_of(source)
    if run is not None and not run.sample_columns(["behavior_label"]).get_column("behavior_label").count():
        return _unlabelled(run), run.location
    made = source if isinstance(source, Study) else study(source if run is None else run, compute=False)
    name = run.location if run is not None else made.settings.source
    return {dataset: _studied(made, dataset) for dataset in made.datasets}, name


def _studied(made: Study, dataset: str) -> Side:
    data = dense_dataset(made.table, dataset)
    scores = {
        one.name: one.heldout
        for one in made.detectors_of(dataset)
        if one.heldout.reason is None and (one.role == "detector" or one.name == ALL_BASELINES)
    }
    return Side(
        np.asarray(data.ids),
        data.label.astype(np.float64),
        data.group,
        data.stratum,
        data.values,
        (data.layers, data.heads),
        data.metrics,
        made.behaviours[dataset],
        data.prompt,
        scores,
    )


def _unlabelled(run: Run) -> dict[str, Side]:
    """Return the attention of a run whose samples have no label."""
    samples = run.sample_columns(["id", "dataset", "group", "messages", "reason"]).filter(pl.col("reason").is_null())
    attention = run.attention
    found = {}
    for (dataset,), own in samples.group_by("dataset", maintain_order=True):
        rows = attention.filter(pl.col("id").is_in(own.get_column("id").to_list()))
        arrays = [dense_array(rows, ("layer", "head"), metric) for metric in SHARES]
        about = own.join(pl.DataFrame({"id": arrays[0].ids}), on="id", how="right", maintain_order="right")
        layers, heads = (tuple(map(int, places)) for places in arrays[0].places.values())
        found[str(dataset)] = Side(
            np.asarray(arrays[0].ids),
            np.full(len(about), np.nan),
            np.array(about.get_column("group").to_list(), dtype=np.str_),
            None,
            np.stack([one.values for one in arrays], axis=-1),
            (layers, heads),
            SHARES,
            prompts=tuple(about.get_column("messages")),
        )
    return found


def pairs_of(first: Mapping[str, Side], second: Mapping[str, Side]) -> list[Pair]:
    """Return each data set that is on both sides, with the samples that are.

    Data sets are joined by name, or as they are where each side has only one. Where no id is on both sides, all samples
    are taken, as two independent sides.

    Raises:
        InputError: No data set is on both sides.
    """
    named = [(name, name) for name in first if name in second]
    if not named and len(first) == len(second) == 1:
        named = [(next(iter(first)), next(iter(second)))]
    if not named:
        raise InputError(
            f"nothing is comparable: one side has the data sets {_listed(first)}, the other {_listed(second)}; give "
            "both the same names, or compare sides of one data set each"
        )
    return [
        _pair(one if one == other else f"{one} / {other}", first[one], second[other]) for one, other in sorted(named)
    ]


def _listed(names: Mapping[str, Side]) -> str:
    return ", ".join(map(repr, names))


def _pair(dataset: str, first: Side, second: Side) -> Pair:
    common, left, right = np.intersect1d(first.ids, second.ids, assume_unique=True, return_indices=True)
    notes = []
    if len(common):
        counts = [len(side.ids) for side in (first, second)]
        if max(counts) > len(common):
            n = f"{len(common)} of {counts[0]} and {counts[1]}"
            notes.append(f"{dataset}: {n} samples are on both sides, and others are left out")
        first, second = first.at(left), second.at(right)
        notes += _different_prompts(dataset, first, second)
    else:
        notes.append(
            f"{dataset}: no id is on both sides, so the intervals are those of two independent sets of samples"
        )
    if first.behaviour != second.behaviour:
        notes.append(f"{dataset}: label 1 means {first.behaviour!r} on one side and {second.behaviour!r} on the other")
    return Pair(dataset, first, second, _codes(first, second, paired=len(common) > 0), len(common) > 0, tuple(notes))


def _different_prompts(dataset: str, first: Side, second: Side) -> list[str]:
    if first.prompts is None or second.prompts is None:
        return []
    n = sum(one != other for one, other in zip(first.prompts, second.prompts, strict=True))
    return [f"{dataset}: {n} of {len(first.ids)} samples of one id have other messages on the other side"] if n else []


def _codes(first: Side, second: Side, *, paired: bool) -> tuple[Int[np.ndarray, " sample"], Int[np.ndarray, " other"]]:
    """Return one code per group: groups of one name, and groups that a sample joins, are one."""
    nodes = group_codes(np.concatenate([first.group, second.group]))
    left, right = nodes[: len(first.ids)], nodes[len(first.ids) :]
    if not paired:
        return left, right
    n = int(nodes.max(initial=-1)) + 1
    joined = sparse.coo_array((np.ones(len(left)), (left, right)), shape=(n, n))
    component = sparse.csgraph.connected_components(joined, directed=False)[1]
    codes = group_codes(component[left])
    return codes, codes


def rows_of(
    values: Float[np.ndarray, "sample layer head metric"], metrics: Sequence[int]
) -> Float[np.ndarray, "column sample"]:
    """Return chosen metrics as columns, one per layer, head and metric, in rows."""
    chosen = values[..., list(metrics)]
    return np.ascontiguousarray(chosen.reshape(len(values), -1).T)
