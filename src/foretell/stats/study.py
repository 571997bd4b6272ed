"""A study: all statistics of one table, computed lazily.

    study = foretell.study("attention.csv", labels="labels.csv")
    study.verdicts
    study.write_tables("results")

The same table and seed give the same results, for any order of the rows and any number of threads.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from foretell.errors import InputError
from foretell.records.skipped import Errors
from foretell.schema.study_tables import POOLED
from foretell.schema.tables import SHARES
from foretell.stats import to_tables as frames
from foretell.stats.auc.roc import RocCurves, roc_curves
from foretell.stats.detectors.detector import Detector, Known
from foretell.stats.detectors.learners import Estimator
from foretell.stats.detectors.samples import Samples
from foretell.stats.early_tables import EarlyTables
from foretell.stats.forest.importances import importances
from foretell.stats.forest.random_forest import ForestResult, Protocol
from foretell.stats.heads.association import association
from foretell.stats.per_dataset import (
    dataset_transfers,
    detectors_by_dataset,
    forest_steps,
    forests_by_dataset,
    samples_by_dataset,
    study_notes,
    thresholds_by_dataset,
)
from foretell.stats.per_run import early_notes, early_steps, run_of, run_signals
from foretell.stats.progress import Steps
from foretell.stats.settings import Settings
from foretell.stats.signals.run_signals import RunSignals
from foretell.stats.study_view import TABLE_NAMES, StudyView
from foretell.stats.table.cleaning import Ledger, Validity
from foretell.stats.table.joined import StudyTable, read_table
from foretell.stats.verdicts.judged import curve_evidence, evidence_by_dataset, explained_by_dataset, of_whole_answers
from foretell.stats.verdicts.rules import Evidence, Verdict, verdicts
from foretell.storage.export import write_results

__all__ = ["POOLED", "TABLE_NAMES", "Settings", "Study", "study"]


@dataclass(frozen=True, repr=False)
class Study(StudyView, EarlyTables):
    """The statistics of one table; each table is computed on first access and cached."""

    table: StudyTable
    settings: Settings
    n_jobs: int = -1
    """Number of threads of the forests; does not change the result."""
    estimators: Mapping[str, Estimator] = field(default_factory=dict)
    signals: RunSignals | None = field(default=None, repr=False, compare=False)
    """Signals of the run that the table was read from; None: it was read from something else."""
    _steps: Steps = field(default_factory=Steps, repr=False, compare=False)

    @property
    def ledger(self) -> Ledger:
        """Dropped rows by reason."""
        return self.table.ledger

    @property
    def validity(self) -> Validity:
        """Checks of the kept rows."""
        return self.table.validity

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets, sorted."""
        return self.table.datasets

    @property
    def versions(self) -> dict[str, str]:
        """Versions of Python and of the libraries used."""
        names = ("foretell", "numpy", "polars", "scipy", "scikit-learn")
        return {**{name: version(name) for name in names}, "python": platform.python_version()}

    @cached_property
    def association(self) -> pl.DataFrame:
        """Correlations and AUC of every layer, head and metric, with corrected p-values."""
        settings = self.settings
        frame = association(
            self.table,
            explained=explained_by_dataset(self.samples, self.judged),
            n_permutations=settings.n_permutations,
            seed=settings.seed,
            level=settings.level,
            progress=False,
        )
        self._steps.advance("association")
        return frame

    @cached_property
    def _roc(self) -> RocCurves:
        curves = roc_curves(self.table, level=self.settings.level)
        self._steps.advance("ROC")
        return curves

    @property
    def roc(self) -> pl.DataFrame:
        """AUC of every single metric, at row and sample level."""
        return self._roc.curves

    @property
    def roc_points(self) -> pl.DataFrame:
        """Points of the ROC curves."""
        return self._roc.points

    @cached_property
    def samples(self) -> dict[str, Samples]:
        """The samples of each dataset, and of all datasets pooled where there are several."""
        return samples_by_dataset(self.table, self.settings)

    @cached_property
    def thresholds(self) -> pl.DataFrame:
        """Threshold rules chosen on training groups and evaluated on held-out groups."""
        return frames.threshold_frame(thresholds_by_dataset(self.table, self.settings, steps=self._steps))

    @cached_property
    def forests(self) -> dict[str, dict[Protocol, ForestResult]]:
        """Forests on rows by dataset and protocol."""
        return forests_by_dataset(self.table, self.settings, n_jobs=self.n_jobs, steps=self._steps)

    @cached_property
    def forest(self) -> pl.DataFrame:
        """Performance of the forest on rows, by protocol."""
        return frames.forest_frame(self.forests)

    @cached_property
    def forest_points(self) -> pl.DataFrame:
        """Points of the forest's ROC curves."""
        return frames.forest_points_frame(self.forests)

    @cached_property
    def importances(self) -> pl.DataFrame:
        """Importances of each column in the forest."""
        level = self.settings.level
        found = {
            dataset: [one for result in results.values() for one in importances(result, level=level)]
            for dataset, results in self.forests.items()
        }
        return frames.importance_frame(found, self.table.metrics)

    @cached_property
    def judged(self) -> dict[str, tuple[list[Detector], Known]]:
        """Detectors and baselines by dataset, and what all baselines together say."""
        return detectors_by_dataset(self.samples, self.settings, estimators=self.estimators, steps=self._steps)

    @cached_property
    def detectors(self) -> pl.DataFrame:
        """Performance of detectors and baselines."""
        return frames.detector_frame({name: self.detectors_of(name) for name in self.judged}, self.behaviours)

    @cached_property
    def reliability(self) -> pl.DataFrame:
        """Predicted and observed frequency of every detector."""
        return frames.reliability_frame({dataset: found for dataset, (found, _) in self.judged.items()})

    @cached_property
    def transfer(self) -> pl.DataFrame:
        """Performance of the detector on all heads on other datasets."""
        cells = dataset_transfers(self.samples, self.settings)
        self._steps.advance("transfer")
        return frames.transfer_frame(cells, "all heads")

    @cached_property
    def evidence(self) -> dict[str, list[Evidence]]:
        """What each signal shows, by dataset."""
        level = self.settings.level
        found = evidence_by_dataset(self.samples, self.judged, self.forests, self.association, level=level)
        found = of_whole_answers(found, self._early.words)
        for dataset, curve in self._early.curves.items():
            found[dataset] += curve_evidence(self.samples[dataset], curve, self._early.published[dataset])
        return found

    @cached_property
    def found(self) -> dict[str, list[Verdict]]:
        """Verdicts by dataset."""
        return verdicts(self.evidence, error_rate=self.settings.error_rate)

    @cached_property
    def verdicts(self) -> pl.DataFrame:
        """The verdict per dataset and signal."""
        return frames.verdict_frame(self.found, self.behaviours)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the reader: missing columns, pooling, subsampling."""
        return (*study_notes(self.table, self.samples, self.settings), *early_notes(self._early))

    def compute(self, *, progress: bool | None = None) -> Study:
        """Compute all tables now.

        Args:
            progress: Whether to show a bar; None: on a terminal only.
        """
        with self._steps.bar(self._n_steps(), progress=progress):
            for name in TABLE_NAMES:
                getattr(self, name)
        return self

    def _n_steps(self) -> int:
        forests = forest_steps(self.table, self.settings)
        detectors = sum(len(samples.features) + len(self.estimators) for samples in self.samples.values())
        return 3 + len(self.datasets) + forests + detectors + early_steps(self.table, self.signals, self.settings)

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return every table by its name in `foretell.schema.tables.TABLES`."""
        return {name: getattr(self, name) for name in TABLE_NAMES}

    def summary(self) -> dict[str, Any]:
        """Return settings, ledger, validity, verdicts, notes and versions as plain data, without timestamps."""
        return {
            "settings": asdict(self.settings),
            "ledger": asdict(self.ledger),
            "validity": asdict(self.validity),
            "verdicts": self.verdicts.to_dicts(),
            "notes": list(self.notes),
            "versions": self.versions,
        }

    def to_json(self) -> str:
        """Return `summary` as JSON text; undefined is null."""
        return json.dumps(self.summary(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write_tables(self, folder: Path | str) -> list[Path]:
        """Write one Parquet file per table, and `study.json`; all tables are computed before the first is written.

        Args:
            folder: Created if it does not exist.

        Returns:
            The files, tables first; each is written atomically.
        """
        return write_results(folder, self.tables(), {"study.json": self.to_json()})


def study(
    table_or_run: Any,
    *,
    labels: Any = None,
    metrics: Sequence[str] = SHARES,
    group: Any = None,
    stratum: Any = None,
    compositional: bool | None = None,
    errors: Errors = "refuse",
    estimators: Mapping[str, Estimator] | None = None,
    signals: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_jobs: int = -1,
    progress: bool | None = None,
    compute: bool = True,
    **settings: Any,
) -> Study:
    """Test whether per-head metrics predict a binary behaviour, on held-out groups and against baselines.

    Args:
        table_or_run: A run, a StudyTable, or anything `read_table` reads: file, folder, frame or dict with the columns
            id, dataset, layer, head, the metrics, and behavior_label unless `labels` has it.
        labels: File, frame, mapping or series with id and behavior_label, and dataset where datasets share ids.
        metrics: Columns to study.
        group: The groups of dependent samples: a column, a mapping from id or (dataset, id), or one value per sample in
            the order in which they first appear.
        stratum: The task types, given in the same ways.
        compositional: Whether the metrics are shares that sum to 1; None: only for the three normalised shares.
        errors: "refuse" raises at the first malformed record; "skip" leaves such records out, in the ledger.
        estimators: Further detectors on all heads by name: "random-forest", "gradient-boosting" or any scikit-learn
            classifier.
        signals: Further families of signals of a run by name: a frame with id, columns of numbers and, where they are
            known before the answer is whole, n_generated; a mapping from id to numbers; ids and an array; or a path.
        seed: Random seed; the same seed gives the same results.
        n_jobs: Number of threads of the forests, -1 for all cores; does not change the result.
        progress: Whether to show a bar; None: on a terminal only.
        compute: Compute all tables now; False: on first access.
        settings: Other fields of `foretell.stats.settings.Settings`, such as n_trees or n_permutations.

    Raises:
        TableError: The table cannot be used; the message says where and why.
        InputError: A setting is unknown or out of range, or a family of signals cannot be used.

    Example:
        >>> rows = {"id": ["a", "b"], "dataset": "x", "layer": 0, "head": 0, "score": [0.1, 0.9]}
        >>> table = pl.DataFrame({**rows, "behavior_label": [0, 1]})
        >>> found = study(table, metrics=["score"], n_permutations=0, n_trees=5)
        >>> found.verdicts["verdict"].unique().to_list()
        ['not enough data']
    """
    known = [one.name for one in fields(Settings)]
    unknown = sorted(set(settings).difference(known))
    if unknown:
        raise InputError(f'unknown setting "{unknown[0]}": choose among {", ".join(known)}')
    asked = {
        "labels": labels,
        "group": group,
        "stratum": stratum,
        "compositional": compositional,
        "sum_tolerance": settings.get("sum_tolerance"),
    }
    if isinstance(table_or_run, StudyTable):
        families = run_signals(None, signals)
        ignored = [name for name, value in asked.items() if value is not None]
        if ignored:
            raise InputError(f"{ignored[0]} cannot change a table that is already read: give it to `read_table`")
        table = table_or_run
    else:
        own = run_of(table_or_run)
        families = run_signals(own, signals)
        table = read_table(table_or_run if own is None else own, metrics=metrics, errors=errors, **asked)
    if families is None and settings.get("first_tokens") is not None:
        raise InputError(
            "first_tokens belongs to a run, whose signals are stored token by token: give the run, or its folder"
        )
    chosen = Settings(
        metrics=table.metrics,
        seed=seed,
        estimators=tuple(estimators or {}),
        signals=tuple(signals or {}),
        source=table.source,
        group=_named(group, "group", table.samples),
        stratum=_named(stratum, "stratum", table.samples),
        **settings,
    )
    found = Study(table, chosen, n_jobs=n_jobs, estimators=dict(estimators or {}), signals=families)
    return found.compute(progress=progress) if compute else found


def _named(given: Any, default: str, samples: pl.DataFrame) -> str | None:
    """Return where groups or strata come from: a column, "mapping", "values", or the default column of the table."""
    if given is not None:
        return given if isinstance(given, str) else "mapping" if isinstance(given, Mapping) else "values"
    own = samples.get_column(default)
    return default if (own.is_not_null() & (own != samples.get_column("id"))).any() else None
