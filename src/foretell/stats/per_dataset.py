"""The parts of a study: each statistic for every dataset of a table, and for all of them together.

forests = forests_of(table, Settings(n_trees=50))
forests["alpaca"]["grouped"].auc
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from foretell.stats.detectors.detector import Detector, judge_detectors
from foretell.stats.detectors.held_out_scores import Estimator
from foretell.stats.detectors.samples import POOLED, Samples, pooled_samples, samples_of
from foretell.stats.detectors.transfer import Transfer, TransferSet, transfer
from foretell.stats.folds import Folds, derived_seed, grouped_folds
from foretell.stats.forest.random_forest import (
    PROTOCOLS,
    ForestResult,
    Protocol,
    judge_forest,
    pooled_forest,
    repeats_for,
)
from foretell.stats.forest.thresholds import ThresholdRule, threshold_rules
from foretell.stats.progress import Steps
from foretell.stats.settings import Settings
from foretell.stats.table.dense import dense
from foretell.stats.table.joined import StudyTable
from foretell.stats.table.source_rows import drawn, rows_of
from foretell.stats.verdicts import Verdict, detector_verdict, family_verdict, forest_verdict

__all__ = [
    "detectors_of",
    "forest_repeats",
    "forests_of",
    "notes_of",
    "samples_by_dataset",
    "thresholds_of",
    "transfers_of",
    "verdicts_of",
]


def samples_by_dataset(table: StudyTable, settings: Settings) -> dict[str, Samples]:
    """Return what detectors see of each dataset, and of all together where there are several.

    Args:
        table: From `read_table`.
        settings: Coordinates are used for shares only.
    """
    coordinates = settings.coordinates if table.compositional else "shares"
    arrays = [dense(table, dataset) for dataset in table.datasets]
    found = {array.dataset: samples_of(array, coordinates=coordinates) for array in arrays}
    if len(arrays) > 1 and POOLED not in found:
        found[POOLED] = pooled_samples(arrays, coordinates=coordinates)
    return found


def thresholds_of(
    table: StudyTable, settings: Settings, *, steps: Steps | None = None
) -> dict[tuple[str, str], list[ThresholdRule]]:
    """Return threshold rules on rows by dataset and metric, all of a dataset on one split by group.

    Args:
        table: From `read_table`.
        settings: Objectives, level and seed are used.
        steps: Told after every dataset.
    """
    found = {}
    for dataset in table.datasets:
        array = dense(table, dataset)
        rows = rows_of(array)
        seed = derived_seed(settings.seed, dataset)
        folds = grouped_folds(array.label.astype(np.int64), array.group, ids=np.asarray(array.ids), seed=seed)
        spread = Folds(folds.fold[rows.sample], folds.n_folds, folds.seed, folds.reason)
        for index, metric in enumerate(array.metrics):
            found[dataset, metric] = threshold_rules(
                rows.features[:, index],
                rows.label,
                rows.group,
                objectives=settings.objectives,
                folds=spread,
                level=settings.level,
                seed=seed,
            )
        if steps is not None:
            steps.advance(f"thresholds, {dataset}")
    return found


def _rows_by_dataset(table: StudyTable) -> dict[str, int]:
    return dict(table.frame.get_column("dataset").value_counts().sort("dataset").iter_rows())


def forest_repeats(table: StudyTable) -> int:
    """Return how often grouped forests are repeated, the same in all datasets so that their pairs weigh alike.

    Args:
        table: From `read_table`.
    """
    return repeats_for(max(_rows_by_dataset(table).values()))


def forests_of(
    table: StudyTable, settings: Settings, *, n_jobs: int = -1, steps: Steps | None = None
) -> dict[str, dict[Protocol, ForestResult]]:
    """Return forests on rows by dataset and protocol; all together are the same forests judged together.

    Args:
        table: From `read_table`.
        settings: Number of rows, trees and folds, level and seed are used.
        n_jobs: Threads; changes no number.
        steps: Told after every forest.
    """
    found: dict[str, dict[Protocol, ForestResult]] = {}
    for dataset in table.datasets:
        seed = derived_seed(settings.seed, "forest rows", dataset)
        array = dense(table, dataset)
        rows = drawn(rows_of(array), settings.forest_rows, seed=seed)

        def advance(protocol: str, dataset: str = dataset) -> None:
            if steps is not None:
                steps.advance(f"forest, {dataset}, {protocol}")

        found[dataset] = judge_forest(
            rows.features,
            rows.label,
            rows.sample,
            group=rows.group,
            stratum=None if array.stratum is None else array.stratum[rows.sample],
            n_trees=settings.n_trees,
            n_folds=settings.forest_folds,
            n_repeats=forest_repeats(table),
            seed=settings.seed,
            n_jobs=n_jobs,
            level=settings.level,
            advance=advance,
        )
    if len(found) > 1 and POOLED not in found:
        found[POOLED] = {
            protocol: pooled_forest([found[name][protocol] for name in table.datasets], level=settings.level)
            for protocol in PROTOCOLS
        }
    return found


def detectors_of(
    samples: Mapping[str, Samples],
    settings: Settings,
    *,
    estimators: Mapping[str, Estimator] | None = None,
    steps: Steps | None = None,
) -> dict[str, list[Detector]]:
    """Return detectors and baselines by dataset.

    Args:
        samples: From `samples_by_dataset`.
        settings: Folds, repeats, level and seed are used.
        estimators: Further estimators on all heads by name.
        steps: Told after every detector.
    """
    found = {}
    for dataset, one in samples.items():

        def advance(name: str, dataset: str = dataset) -> None:
            if steps is not None:
                steps.advance(f"detector, {dataset}, {name}")

        found[dataset] = judge_detectors(
            one.features,
            one.label,
            group=one.group,
            stratum=one.stratum,
            part=one.part,
            ids=one.ids,
            estimators=estimators,
            n_folds=settings.detector_folds,
            n_repeats=settings.detector_repeats,
            seed=derived_seed(settings.seed, dataset),
            level=settings.level,
            advance=advance,
        )
    return found


def transfers_of(samples: Mapping[str, Samples], settings: Settings) -> list[Transfer]:
    """Return how the detector on all heads does on datasets it has not learnt from; none for a single dataset.

    Args:
        samples: From `samples_by_dataset`.
        settings: Level and seed are used.
    """
    together = samples.get(POOLED)
    if together is None or together.part is None:
        return []
    matrix = together.features[0].matrix
    sets = {}
    for dataset in np.unique(together.part):
        here = together.part == dataset
        sets[str(dataset)] = TransferSet(matrix[here], together.label[here], together.group[here])
    return transfer(sets, seed=settings.seed, level=settings.level)


def verdicts_of(
    samples: Mapping[str, Samples],
    judged: Mapping[str, list[Detector]],
    forests: Mapping[str, Mapping[Protocol, ForestResult]],
    association: pl.DataFrame,
    *,
    level: float = 0.95,
) -> dict[str, list[Verdict]]:
    """Return verdicts by dataset: on every detector, on the forest on rows, and on any single head.

    Args:
        samples: From `samples_by_dataset`.
        judged: From `detectors_of`.
        forests: From `forests_of`.
        association: From `association`.
        level: 1 minus the accepted chance of a false alarm.
    """
    verdicts: dict[str, list[Verdict]] = {}
    for dataset, one in samples.items():
        n_positive, n_negative = one.n_groups(1), one.n_groups(0)
        verdicts[dataset] = [
            detector_verdict(detector, n_positive=n_positive, n_negative=n_negative)
            for detector in judged[dataset]
            if detector.role == "detector"
        ]
        verdicts[dataset].append(forest_verdict(forests[dataset], n_positive=n_positive, n_negative=n_negative))
        family = association.filter(pl.col("dataset") == dataset)
        if family.height:
            ranked = family.sort("p_max", "q_value", "layer", "head", "metric", nulls_last=True)
            best = family_verdict(
                ranked.row(0, named=True),
                n_tests=family.height,
                n_positive=n_positive,
                n_negative=n_negative,
                within_strata=one.stratum is not None,
                level=level,
            )
            verdicts[dataset].append(best)
    return verdicts


def notes_of(table: StudyTable, samples: Mapping[str, Samples], settings: Settings) -> tuple[str, ...]:
    """Return what a reader should know before the numbers: what is not there and how things were put together.

    Args:
        table: From `read_table`.
        samples: From `samples_by_dataset`.
        settings: Those of the study.
    """
    notes = [f"{dataset}: {note}" for dataset, one in samples.items() for note in one.notes]
    if POOLED in samples:
        notes.append(
            f"{POOLED}: datasets are put together with their own intercepts; only samples of one dataset are "
            "compared with each other, and the forests are those of the single datasets"
        )
    most = settings.forest_rows
    notes += [
        f"{dataset}: forests see {most} of {n_rows} rows, drawn at random (setting forest_rows)"
        for dataset, n_rows in _rows_by_dataset(table).items()
        if most is not None and n_rows > most
    ]
    if table.compositional:
        notes.append(
            "the metrics are shares of one whole: they carry one number less than there are columns, so their "
            "correlations with the label are not independent of each other"
        )
    return tuple(notes)
