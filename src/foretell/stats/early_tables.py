"""The tables of a study that need a run, computed when first used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import polars as pl

from foretell.stats import to_tables as frames
from foretell.stats.detectors.detector import Detector, Known
from foretell.stats.detectors.samples import Samples
from foretell.stats.early.told_by import told_by
from foretell.stats.per_run import EarlyResults, behaviours
from foretell.stats.progress import Steps
from foretell.stats.settings import Settings
from foretell.stats.signals.run_signals import RunSignals
from foretell.stats.table.joined import StudyTable
from foretell.stats.verdicts.rules import Verdict

__all__ = ["EarlyTables"]


class EarlyTables:
    """What a study knows of single moments of the answers; its tables are empty where it has no run."""

    table: StudyTable
    settings: Settings
    signals: RunSignals | None
    _steps: Steps

    @property
    def samples(self) -> Mapping[str, Samples]:
        """The samples of each dataset."""
        raise NotImplementedError

    @property
    def judged(self) -> Mapping[str, tuple[list[Detector], Known]]:
        """Detectors and baselines by dataset, and what all baselines together say."""
        raise NotImplementedError

    def detectors_of(self, dataset: str) -> list[Detector]:
        """Return detectors and baselines of a dataset with their held-out scores, those of single moments last."""
        return [*self.judged[dataset][0], *self._early.detectors(dataset)]

    @cached_property
    def held_out_scores(self) -> pl.DataFrame:
        """Score and rank of every sample by every detector and baseline, fitted on other groups.

        The rows of datasets that are pooled are those of the single datasets. Families of signals score at the last
        moment that counts.
        """
        ids = {dataset: self.samples[dataset].ids.tolist() for dataset in self.table.datasets}
        return frames.held_out_frame({dataset: self.detectors_of(dataset) for dataset in ids}, ids)

    @property
    def found(self) -> Mapping[str, Sequence[Verdict]]:
        """Verdicts by dataset."""
        raise NotImplementedError

    @cached_property
    def behaviours(self) -> dict[str, str | None]:
        """What label 1 means in each dataset; None where samples name several behaviours, or none."""
        return behaviours(self.table)

    @cached_property
    def _early(self) -> EarlyResults:
        return EarlyResults(self.table, self.samples, self.signals, self.settings, self._steps)

    @cached_property
    def early(self) -> pl.DataFrame:
        """Performance of every family of signals, and of the baselines, after 0, 1, 2, 4, ... tokens of the answer."""
        return frames.early_frame(self._early.curves, self.behaviours)

    @cached_property
    def early_relative(self) -> pl.DataFrame:
        """Performance of the same when a share of each answer is written; empty with `first_tokens`."""
        return frames.relative_frame(self._early.relative, self._early.curves, self.behaviours)

    @cached_property
    def told_by(self) -> pl.DataFrame:
        """After how many tokens each family of signals tells the label."""
        found = {(dataset, one.signal): one.verdict for dataset, several in self.found.items() for one in several}
        moments = told_by(self._early.curves, found, error_rate=self.settings.error_rate)
        return frames.first_moment_frame(moments, self.behaviours)

    @cached_property
    def hidden_layers(self) -> pl.DataFrame:
        """Performance of every layer and pool of the hidden states by itself."""
        return frames.hidden_layers_frame(self._early.layers, self._early.curves, self.behaviours)
