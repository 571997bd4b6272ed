"""The statistics of a study for every dataset of a table, and for all datasets pooled."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import polars as pl

from foretell.stats.detectors.detector import Detector, judge_detectors
from foretell.stats.detectors.held_out_scores import Estimator
from foretell.stats.detectors.samples import POOLED, Samples, dataset_samples, pooled_samples
from foretell.stats.detectors.transfer import Transfer, TransferSet, transfer
from foretell.stats.folds import Folds, derived_seed, grouped_folds
from foretell.stats.forest.random_forest import (
    PROTOCOLS,
    ForestResult,
    Protocol,
    judge_forest,
    pooled_forest,
    repeats_needed,
)
from foretell.stats.forest.thresholds import ThresholdRule, threshold_rules
from foretell.stats.progress import Steps
from foretell.stats.settings import Settings
from foretell.stats.table.dense import dense_dataset
from foretell.stats.table.joined import StudyTable
from foretell.stats.table.source_rows import dataset_rows, subsampled
from foretell.stats.verdicts import Verdict, detector_verdict, family_verdict, forest_verdict

__all__ = [
    "dataset_transfers",
    "detectors_by_dataset",
    "forest_repeats",
    "forests_by_dataset",
    "samples_by_dataset",
    "study_notes",
    "thresholds_by_dataset",
    "verdicts_by_dataset",
]


def samples_by_dataset(table: StudyTable, settings: Settings) -> dict[str, Samples]:
    """Return the samples of each dataset, and of all datasets pooled where there are several.

    Args:
        table: From `read_table`.
        settings: Log-ratios are used for shares only.
    """
    log_ratios = settings.log_ratios if table.compositional else "shares"
    datasets = [dense_dataset(table, dataset) for dataset in table.datasets]
    found = {data.dataset: dataset_samples(data, log_ratios=log_ratios) for data in datasets}
    if len(datasets) > 1 and POOLED not in found:
        found[POOLED] = pooled_samples(datasets, log_ratios=log_ratios)
    return found


def thresholds_by_dataset(
    table: StudyTable, settings: Settings, *, steps: Steps
) -> dict[tuple[str, str], list[ThresholdRule]]:
    """Return threshold rules on rows by dataset and metric; all rules of a dataset use the same grouped split.

    Args:
        table: From `read_table`.
        settings: Objectives, level and seed are used.
        steps: Progress, advanced after every dataset.
    """
    found = {}
    for dataset in table.datasets:
        data = dense_dataset(table, dataset)
        rows = dataset_rows(data)
        seed = derived_seed(settings.seed, dataset)
        folds = grouped_folds(data.label.astype(np.int64), data.group, ids=np.asarray(data.ids), seed=seed)
        row_folds = Folds(folds.fold[rows.sample], folds.n_folds, folds.seed, folds.reason)
        for index, metric in enumerate(data.metrics):
            found[dataset, metric] = threshold_rules(
                rows.features[:, index],
                rows.label,
                rows.group,
                objectives=settings.objectives,
                folds=row_folds,
                level=settings.level,
                seed=seed,
            )
        steps.advance("thresholds", dataset)
    return found


def _rows_by_dataset(table: StudyTable) -> dict[str, int]:
    return dict(table.frame.get_column("dataset").value_counts().sort("dataset").iter_rows())


def forest_repeats(table: StudyTable) -> int:
    """Return the number of repeats of grouped forests, the same for all datasets so that pairs have equal weight.

    Args:
        table: From `read_table`.
    """
    return repeats_needed(max(_rows_by_dataset(table).values()))


def forests_by_dataset(
    table: StudyTable, settings: Settings, *, n_jobs: int = -1, steps: Steps
) -> dict[str, dict[Protocol, ForestResult]]:
    """Return forests on rows by dataset and protocol; the pooled result uses the forests of the single datasets.

    Args:
        table: From `read_table`.
        settings: Number of rows, trees and folds, level and seed are used.
        n_jobs: Number of threads; does not change the result.
        steps: Progress, advanced after every forest.
    """
    found: dict[str, dict[Protocol, ForestResult]] = {}
    for dataset in table.datasets:
        seed = derived_seed(settings.seed, "forest rows", dataset)
        data = dense_dataset(table, dataset)
        rows = subsampled(dataset_rows(data), settings.forest_rows, seed=seed)
        found[dataset] = judge_forest(
            rows.features,
            rows.label,
            rows.sample,
            group=rows.group,
            stratum=None if data.stratum is None else data.stratum[rows.sample],
            n_trees=settings.n_trees,
            n_folds=settings.forest_folds,
            n_repeats=forest_repeats(table),
            seed=settings.seed,
            n_jobs=n_jobs,
            level=settings.level,
            advance=partial(steps.advance, "forest", dataset),
        )
    if len(found) > 1 and POOLED not in found:
        found[POOLED] = {
            protocol: pooled_forest([found[name][protocol] for name in table.datasets], level=settings.level)
            for protocol in PROTOCOLS
        }
    return found


def detectors_by_dataset(
    samples: Mapping[str, Samples],
    settings: Settings,
    *,
    estimators: Mapping[str, Estimator] | None = None,
    steps: Steps,
) -> dict[str, list[Detector]]:
    """Return detectors and baselines by dataset.

    Args:
        samples: From `samples_by_dataset`.
        settings: Folds, repeats, level and seed are used.
        estimators: Further estimators on all heads by name.
        steps: Progress, advanced after every detector.
    """
    found = {}
    for dataset, one in samples.items():
        found[dataset] = judge_detectors(
            one.features,
            one.label,
            group=one.group,
            stratum=one.stratum,
            dataset=one.dataset,
            ids=one.ids,
            estimators=estimators,
            n_folds=settings.detector_folds,
            n_repeats=settings.detector_repeats,
            seed=derived_seed(settings.seed, dataset),
            level=settings.level,
            advance=partial(steps.advance, "detector", dataset),
        )
    return found


def dataset_transfers(samples: Mapping[str, Samples], settings: Settings) -> list[Transfer]:
    """Return the transfer of the detector on all heads between datasets; none for a single dataset.

    Args:
        samples: From `samples_by_dataset`.
        settings: Level and seed are used.
    """
    together = samples.get(POOLED)
    if together is None or together.dataset is None:
        return []
    matrix = together.features[0].matrix
    sets = {}
    for dataset in np.unique(together.dataset):
        here = together.dataset == dataset
        sets[str(dataset)] = TransferSet(matrix[here], together.label[here], together.group[here])
    return transfer(sets, seed=settings.seed, level=settings.level)


def verdicts_by_dataset(
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
        judged: From `detectors_by_dataset`.
        forests: From `forests_by_dataset`.
        association: From `association`.
        level: 1 minus the accepted false-positive rate.
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


def study_notes(table: StudyTable, samples: Mapping[str, Samples], settings: Settings) -> tuple[str, ...]:
    """Return notes for the reader: missing columns, pooling, subsampling.

    Args:
        table: From `read_table`.
        samples: From `samples_by_dataset`.
        settings: Settings of the study.
    """
    notes = [f"{dataset}: {note}" for dataset, one in samples.items() for note in one.notes]
    if POOLED in samples:
        notes.append(
            f"{POOLED}: datasets are pooled with separate intercepts; only samples of the same dataset are compared, "
            "and the forests are those of the single datasets"
        )
    most = settings.forest_rows
    notes += [
        f"{dataset}: forests use {most} of {n_rows} rows, drawn at random (setting forest_rows)"
        for dataset, n_rows in _rows_by_dataset(table).items()
        if most is not None and n_rows > most
    ]
    if table.compositional:
        notes.append(
            "the metrics are shares that sum to 1: one of them is determined by the others, so their correlations "
            "with the label are not independent"
        )
    return tuple(notes)
