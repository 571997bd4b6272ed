"""The statistics of one dataset of a file, accumulated block by block, and what is known of its samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from foretell.jobs.progress_bar import progress_bar
from foretell.stats.auc.rank_sums import ColumnSums, column_sums, joined_sums
from foretell.stats.auc.within_strata import auc_within_strata
from foretell.stats.heads.association import (
    ColumnStatistics,
    association_frame,
    column_statistics,
    dataset_permutations,
    statistics_from_sums,
)
from foretell.stats.heads.max_statistic import MaxStatistic, blockwise_max_statistic
from foretell.stats.heads.sorted_parquet import Block, NotSortedError
from foretell.stats.table.cleaning import REASONS, Ledger, Validity
from foretell.stats.table.contents import Contents
from foretell.stats.table.copies import grouped_with_copies, sample_notes, shared_notes
from foretell.stats.table.dense import sample_strata
from foretell.stats.table.joined import read_table
from foretell.stats.table.share_tolerance import Rounding, rounding_note

__all__ = ["SampleFacts", "SortedScan", "StreamSettings", "in_table_order", "joined_statistics", "notes_of_samples"]


@dataclass(frozen=True)
class StreamSettings:
    """How a file is read and tested."""

    metrics: tuple[str, ...]
    table: Mapping[str, Any]
    """Keyword arguments of `read_table`."""
    n_permutations: int
    seed: int
    level: float
    n_rows: int
    progress: bool | None

    def bar(self, work: Iterable[Any] | None = None, **options: Any) -> Any:
        """Return a progress bar."""
        return progress_bar(work, desc="association", progress=self.progress, **options)

    def largest(self, facts: SampleFacts, blocks: Iterable[Any]) -> MaxStatistic | None:
        """Return the max-statistic over blocks of columns of these samples."""
        if not self.n_permutations:
            return None
        permutations = dataset_permutations(
            facts.label,
            facts.contents.ranked,
            group=facts.group,
            stratum=facts.stratum,
            n_permutations=self.n_permutations,
            seed=self.seed,
        )
        return blockwise_max_statistic(blocks, permutations, stratum=facts.stratum)


@dataclass
class SampleFacts:
    """What is known of the samples of one dataset, in the order of its columns."""

    ids: Sequence[str]
    label: Any
    group: Any
    stratum: Any
    contents: Contents

    @classmethod
    def of(cls, samples: pl.DataFrame, order: Any = None) -> SampleFacts:
        """Return what a frame of samples says, before any column is read."""
        chosen = slice(None) if order is None else order
        stratum = sample_strata(samples)
        return cls(
            np.array(samples.get_column("id").to_list(), dtype=object)[chosen].tolist(),
            samples.get_column("behavior_label").to_numpy()[chosen],
            np.array(samples.get_column("group").to_list(), dtype=np.str_)[chosen],
            None if stratum is None else stratum[chosen],
            Contents.none(samples.height),
        )

    def regroup(self) -> bool:
        """Take copies as one group, now that all columns were read; return whether that changed the groups."""
        before, self.group = self.group, grouped_with_copies(self.group, self.contents)
        return not np.array_equal(before, self.group)


class SortedScan:
    """The statistics of one dataset of a sorted file, accumulated block by block."""

    def __init__(self, dataset: str, settings: StreamSettings, bar: Any) -> None:
        self.dataset, self.settings, self.bar = dataset, settings, bar
        self.results: list[tuple[pl.DataFrame, ColumnStatistics | ColumnSums, Any]] = []
        self.largest: MaxStatistic | None = None
        self.n_rows, self.n_missing, self.n_negative, self.deviation = 0, 0, 0, 0.0
        self.rounding = Rounding(0.0, "")

    def read(self, blocks: Iterator[Block]) -> None:
        """Take in the columns of the dataset: statistics, checks, and what its samples are."""
        first = next(blocks)
        self.table = read_table(first.samples, **self.settings.table, may_be_empty=True)
        samples = self.table.samples
        if samples.height != first.samples.height:
            raise NotSortedError(f'samples of dataset "{self.dataset}" need cleaning')
        ids = first.samples.select(pl.col("id").cast(pl.String)).get_column("id")
        order = ids.replace_strict(samples.get_column("id"), pl.int_range(samples.height, eager=True)).to_numpy()
        self.facts = SampleFacts.of(samples, order)
        for block in chain([first], blocks):
            self._account(block)
            for index, values in enumerate(block.values):
                self._evaluate(block, index, values)
                metric = np.full(block.layer.shape, index)
                ranked = self.settings.n_permutations > 0
                self.facts.contents.add(values, block.layer, block.head, metric, ranked=ranked)

    def read_again(self, blocks: Iterator[Block], *, regrouped: bool) -> None:
        """Permute labels, and repeat the statistics where groups turned out to be others."""
        if regrouped:
            self.results = []
        columns = self._columns(blocks, evaluate=regrouped)
        self.largest = self.settings.largest(self.facts, columns)
        deque(columns, maxlen=0)  # without permutations no column was read yet

    def frame(self) -> pl.DataFrame:
        """Return the association table of the dataset."""
        places = pl.concat([place for place, _, _ in self.results])
        sums = [found for _, found, _ in self.results if isinstance(found, ColumnSums)]
        clustered = [found for _, found, _ in self.results if isinstance(found, ColumnStatistics)]
        statistics = (
            statistics_from_sums(joined_sums(sums), level=self.settings.level) if sums else joined_statistics(clustered)
        )
        stratified = self.facts.stratum is not None
        if stratified:
            statistics = replace(statistics, auc_within=np.concatenate([within for _, _, within in self.results]))
        found = association_frame(self.dataset, places, statistics, self.largest, stratified=stratified)
        return in_table_order(found, self.settings.metrics)

    def _account(self, block: Block) -> None:
        """Count rows and check values."""
        self.n_rows += block.values[0].size
        self.deviation = max(self.deviation, block.max_deviation)
        self.rounding = max(self.rounding, block.rounding, key=lambda rounding: rounding.tolerance)
        self.bar.update(block.values[0].size)
        if not self.settings.table["compositional"]:
            self.n_missing += sum(int(np.count_nonzero(np.isnan(values))) for values in block.values)
            self.n_negative += sum(int(np.count_nonzero(values < 0)) for values in block.values)

    def _evaluate(self, block: Block, index: int, values: Any) -> None:
        """Add the statistics of the columns of one metric."""
        facts, level = self.facts, self.settings.level
        name = pl.lit(self.settings.metrics[index])
        place = pl.DataFrame({"layer": block.layer, "head": block.head}).with_columns(metric=name)
        within = None if facts.stratum is None else auc_within_strata(values, facts.label, facts.stratum)
        if np.unique(facts.group).size == facts.group.size:
            self.results.append((place, column_sums(values, facts.label), within))
        else:
            found = column_statistics(values.T, facts.label, group=facts.group, level=level)
            self.results.append((place, found, within))

    def _columns(self, blocks: Iterator[Block], *, evaluate: bool) -> Iterator[Any]:
        for block in blocks:
            for index, values in enumerate(block.values):
                if evaluate:
                    self._evaluate(block, index, values)
                yield values

    @property
    def ledger(self) -> Ledger:
        """The ledger of the dataset's rows; no row of a sorted file is dropped."""
        known = self.table.ledger
        notes = dict.fromkeys((*known.notes, *rounding_note(self.rounding, self.deviation, 0)))
        unmatched = (known.unmatched_table_ids, known.unmatched_label_ids)
        return Ledger(
            dict.fromkeys(REASONS, 0), self.n_rows, self.n_rows, *unmatched, tuple(notes), malformed=known.malformed
        )

    @property
    def validity(self) -> Validity:
        """How valid the rows are."""
        deviation = self.deviation if self.settings.table["compositional"] else None
        return Validity(self.n_rows, {}, deviation, deviation, self.rounding.tolerance, self.n_missing, self.n_negative)


def notes_of_samples(facts: Mapping[str, SampleFacts], samples: pl.DataFrame) -> list[str]:
    """Return the notes of `with_copies_grouped`."""
    notes = []
    for dataset, one in sorted(facts.items()):
        order = np.argsort(np.array(one.ids, dtype=np.str_), kind="stable")
        notes += sample_notes(dataset, [one.ids[index] for index in order], one.label[order], one.contents.at(order))
    return [*notes, *shared_notes(samples, {name: one.contents for name, one in facts.items()})]


def in_table_order(frame: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """Return an association table in its usual order."""
    rank = pl.col("metric").replace_strict(list(metrics), list(range(len(metrics))))
    return frame.sort("dataset", "layer", "head", rank)


def joined_statistics(parts: Sequence[ColumnStatistics]) -> ColumnStatistics:
    """Return the statistics of several blocks of columns as one."""
    names = [field.name for field in fields(ColumnStatistics) if field.name not in {"reason", "level", "method"}]
    reason = tuple(reason for part in parts for reason in part.reason)
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return ColumnStatistics(**joined, reason=reason, level=parts[0].level, method=parts[0].method)
