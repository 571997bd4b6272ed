"""The statistics that need a run: early curves, published detectors and single layers, for every dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from foretell.errors import InputError
from foretell.schema.study_tables import POOLED
from foretell.stats.detectors.detector import Detector
from foretell.stats.detectors.held_out_scores import CrossValidation
from foretell.stats.detectors.samples import Samples, fold_order
from foretell.stats.early.curves import Curve, CurveSamples, Point, early_curve, telling_words
from foretell.stats.early.probes import LayerProbe, layer_probes, published_probes
from foretell.stats.early.relative import INNER_POSITIONS, RelativePoint, relative_curve
from foretell.stats.progress import Steps
from foretell.stats.settings import Settings
from foretell.stats.signals.given import given_families
from foretell.stats.signals.run_signals import RESERVED, RunSignals, SampleSignals
from foretell.stats.table.joined import BASELINES, StudyTable
from foretell.storage.runs import Run, is_run, open_run

__all__ = ["EarlyResults", "behaviours", "early_notes", "early_steps", "run_of", "run_signals"]


def run_of(source: Any) -> Run | None:
    """Return the run, or the run in a folder, that a table is read from; None where it is something else."""
    if isinstance(source, str | Path) and is_run(source):
        return open_run(source)
    return source if isinstance(source, Run) else None


def run_signals(run: Run | None, signals: Mapping[str, Any] | None) -> RunSignals | None:
    """Return the signals of a run and of the user; None where there is no run.

    Raises:
        InputError: Signals are given without a run, or one of them cannot be used.
    """
    if run is None:
        if signals:
            raise InputError("signals belong to a run: give the run, or its folder, instead of a table")
        return None
    known = run.samples.get_column("id").to_list()
    return RunSignals(run, given_families(signals, known=known, reserved=RESERVED))


def behaviours(table: StudyTable) -> dict[str, str | None]:
    """Return what label 1 means in each dataset, and in all pooled; None where samples name several, or none."""
    if "behaviour" not in table.samples.columns:
        return dict.fromkeys((*table.datasets, POOLED))
    named = table.samples.select("dataset", "behaviour").drop_nulls()
    found: dict[str, str | None] = {}
    for dataset in (*table.datasets, POOLED):
        own = named if dataset not in table.datasets else named.filter(pl.col("dataset") == dataset)
        names = own.get_column("behaviour").unique().to_list()
        found[dataset] = names[0] if len(names) == 1 else None
    return found


class EarlyResults:
    """Early curves and what is judged at the last moment that counts, by dataset; empty without a run.

    Args:
        table: Of the study.
        samples: From `samples_by_dataset`; datasets that are pooled have no curve.
        signals: Of the run; None where there is none.
        settings: Of the study.
        steps: Progress, advanced after every moment and every kind of probe.
    """

    def __init__(
        self,
        table: StudyTable,
        samples: Mapping[str, Samples],
        signals: RunSignals | None,
        settings: Settings,
        steps: Steps,
    ) -> None:
        self.curves: dict[str, Curve] = {}
        self.relative: dict[str, tuple[RelativePoint, ...]] = {}
        self.words: dict[str, str | None] = {}
        """What of the words of whole answers tells the label by itself."""
        self.published: dict[str, Point] = {}
        self.layers: dict[str, list[LayerProbe]] = {}
        if signals is None or not settings.early:
            return
        for dataset in table.datasets:
            own = signals.of(samples[dataset].ids.tolist())
            known = _curve_samples(table, dataset, samples[dataset], settings)
            self._judge(dataset, known, own, settings, steps)

    def detectors(self, dataset: str) -> list[Detector]:
        """Return the families and the published detectors at the last moment that counts."""
        if dataset not in self.curves:
            return []
        points = (self.curves[dataset].last, self.published[dataset])
        return [one for point in points for one in point.detectors if one.role == "detector"]

    def _judge(
        self, dataset: str, samples: CurveSamples, signals: SampleSignals, settings: Settings, steps: Steps
    ) -> None:
        curve = early_curve(
            samples,
            signals,
            moments=_moments(signals, settings),
            words_auc=settings.words_auc,
            advance=lambda after: steps.advance("tokens", str(after), dataset),
        )
        last = curve.last.after
        self.curves[dataset] = curve
        if settings.first_tokens is not None:
            self.words[dataset] = telling_words(samples, signals, words_auc=settings.words_auc)
        else:
            self.words[dataset] = curve.words
            self.relative[dataset] = relative_curve(
                samples,
                signals,
                curve,
                words_auc=settings.words_auc,
                advance=lambda position: steps.advance("share of the answer", f"{position:.2f}", dataset),
            )
        self.published[dataset] = published_probes(samples, signals, after=last, saplma=settings.saplma)
        steps.advance("published detectors", dataset)
        self.layers[dataset] = layer_probes(samples, signals, after=last)
        steps.advance("layers", dataset)


def _curve_samples(table: StudyTable, dataset: str, samples: Samples, settings: Settings) -> CurveSamples:
    """Return the samples of a dataset as curves need them."""
    frame = table.samples.filter(pl.col("dataset") == dataset)
    folds_of = fold_order(samples, settings.seed)
    folds, once = (
        CrossValidation(
            samples.label,
            group=folds_of.group,
            ids=folds_of.place,
            n_folds=settings.detector_folds,
            n_repeats=n_repeats,
            seed=folds_of.seed,
        )
        for n_repeats in (settings.early_repeats, 1)
    )
    before = [
        name for name in BASELINES if name in frame.columns and name not in {"n_tokens_generated", "mean_logprob"}
    ]
    return CurveSamples(
        label=samples.label,
        group=folds_of.group,
        stratum=samples.stratum,
        folds=folds,
        one_repeat=once,
        columns={name: frame.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy() for name in before},
        prompt=frame.get_column("messages").to_list() if "messages" in frame.columns else None,
        level=settings.level,
    )


def early_notes(early: EarlyResults) -> list[str]:
    """Return notes for the reader: which moments do not count, and samples without a signal."""
    notes = []
    for dataset, curve in early.curves.items():
        if curve.words is not None:
            notes.append(f"{dataset}: {curve.words}")
        notes += [f"{dataset}: {note}" for note in curve.notes]
    return notes


def early_steps(table: StudyTable, signals: RunSignals | None, settings: Settings) -> int:
    """Return how many steps of progress there are.

    Args:
        table: Of the study.
        signals: Of the run; None where there is none.
        settings: Of the study.
    """
    if signals is None or not settings.early:
        return 0
    ids = table.samples.group_by("dataset").agg("id").get_column("id").to_list()
    more = 2 + (len(INNER_POSITIONS) if settings.first_tokens is None else 0)
    return sum(len(_moments(signals.of(one), settings)) + more for one in ids)


def _moments(signals: SampleSignals, settings: Settings) -> list[int]:
    """Return the numbers of generated tokens at which signals are judged."""
    most = settings.first_tokens
    return [after for after in signals.checkpoints if most is None or after <= most]
