"""The statistics of a study for every dataset of a table, and for all datasets pooled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import UInt

from foretell.schema.study_tables import POOLED
from foretell.stats.detectors.detector import Detector, Known, judge_detectors
from foretell.stats.detectors.learners import Estimator
from foretell.stats.detectors.samples import Samples, dataset_samples, fold_order, pooled_samples
from foretell.stats.detectors.transfer import Transfer, TransferSet, transfer
from foretell.stats.folds import Folds, group_numbers, grouped_folds
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
from foretell.stats.settings import MOST_REPEATS, Settings
from foretell.stats.table.contents import content_order, content_seed, dataset_contents, in_order, row_keys
from foretell.stats.table.copies import pooled_groups
from foretell.stats.table.dense import DenseDataset, dense_dataset
from foretell.stats.table.joined import StudyTable
from foretell.stats.table.source_rows import dataset_rows, subsampled

__all__ = [
    "dataset_transfers",
    "detectors_by_dataset",
    "forest_steps",
    "forests_by_dataset",
    "samples_by_dataset",
    "study_notes",
    "thresholds_by_dataset",
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
        together = np.concatenate(list(pooled_groups(table).values()))
        found[POOLED] = replace(pooled_samples(datasets, log_ratios=log_ratios), group=together)
    return found


def _by_content(table: StudyTable, dataset: str) -> tuple[DenseDataset, UInt[np.ndarray, " sample"], np.ndarray]:
    """Return a dataset in the order of its samples' contents, with their keys, and the order."""
    data = dense_dataset(table, dataset)
    content = dataset_contents(data).ranked
    order = content_order(content, data.label, group=data.group, stratum=data.stratum)
    return in_order(data, order), content[order], order


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
        data, content, _ = _by_content(table, dataset)
        group = group_numbers(data.group)
        rows = dataset_rows(data)
        seed = content_seed(settings.seed, "thresholds", content)
        folds = grouped_folds(data.label.astype(np.int64), group, ids=np.arange(len(group)), seed=seed)
        row_folds = Folds(folds.fold[rows.sample], folds.n_folds, folds.seed, folds.reason)
        for index, metric in enumerate(data.metrics):
            found[dataset, metric] = threshold_rules(
                rows.features[:, index],
                rows.label,
                group[rows.sample],
                objectives=settings.objectives,
                folds=row_folds,
                level=settings.level,
                seed=seed,
            )
        steps.advance("thresholds", dataset)
    return found


def _rows_by_dataset(table: StudyTable) -> dict[str, int]:
    return dict(table.frame.get_column("dataset").value_counts().sort("dataset").iter_rows())


def forest_steps(table: StudyTable, settings: Settings) -> int:
    """Return how many forests are fitted on all datasets, if every dataset can be split.

    Args:
        table: From `read_table`.
        settings: The number of folds is used.
    """
    return sum(2 + settings.forest_folds * repeats_needed(n_rows) for n_rows in _rows_by_dataset(table).values())


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
    pooled = pooled_groups(table) if len(table.datasets) > 1 else {}
    groups = []
    for dataset in table.datasets:
        data, content, order = _by_content(table, dataset)
        every = dataset_rows(data)
        rows = subsampled(every, settings.forest_rows, seed=content_seed(settings.seed, "forest rows", content))
        group = group_numbers(data.group)
        found[dataset] = judge_forest(
            rows.features,
            rows.label,
            rows.sample,
            group=group[rows.sample],
            stratum=None if data.stratum is None else group_numbers(data.stratum)[rows.sample],
            n_trees=settings.n_trees,
            n_folds=settings.forest_folds,
            n_repeats=repeats_needed(len(every.label)),
            seed=settings.seed,
            n_jobs=n_jobs,
            level=settings.level,
            advance=partial(steps.advance, "forest", dataset),
        )
        places = order[np.unique(rows.sample)]
        found[dataset] = {protocol: replace(one, places=places) for protocol, one in found[dataset].items()}
        if pooled:
            groups.append(pooled[dataset][places])
    if len(found) > 1 and POOLED not in found:
        found[POOLED] = {
            protocol: pooled_forest(
                [found[name][protocol] for name in table.datasets], groups=groups, level=settings.level
            )
            for protocol in PROTOCOLS
        }
    return found


def detectors_by_dataset(
    samples: Mapping[str, Samples],
    settings: Settings,
    *,
    estimators: Mapping[str, Estimator] | None = None,
    steps: Steps,
) -> dict[str, tuple[list[Detector], Known]]:
    """Return detectors and baselines by dataset, and what all baselines together say.

    Args:
        samples: From `samples_by_dataset`.
        settings: Folds, repeats, level and seed are used.
        estimators: Further estimators on all heads by name.
        steps: Progress, advanced after every detector.
    """
    found = {}
    for dataset, one in samples.items():
        folds_of = fold_order(one, settings.seed)
        order, place = folds_of.order, folds_of.place
        found[dataset] = judge_detectors(
            one.features,
            one.label,
            group=folds_of.group,
            stratum=one.stratum,
            dataset=None if one.dataset is None else group_numbers(one.dataset[order])[place],
            ids=place,
            estimators=estimators,
            n_folds=settings.detector_folds,
            n_repeats=settings.repeats_of(len(one.label)),
            seed=folds_of.seed,
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
        here = np.flatnonzero(together.dataset == dataset)
        content = row_keys([matrix[here]])
        here = here[content_order(content, together.label[here], group=together.group[here])]
        sets[str(dataset)] = TransferSet(matrix[here], together.label[here], together.group[here])
    return transfer(sets, seed=settings.seed, level=settings.level)


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
    notes.append(
        f"verdicts: at most {100 * settings.error_rate:g} in 100 studies of noise say signal or weak signal anywhere; "
        "the p-values of all signals of all datasets are adjusted together (Hommel's procedure, setting error_rate)"
    )
    most = settings.forest_rows
    larger = {name: n for name, n in _rows_by_dataset(table).items() if most is not None and n > most}
    if larger:
        counts = ", ".join(f"{n_rows} ({dataset})" for dataset, n_rows in larger.items())
        notes.append(f"forests use {most} rows, drawn at random, of {counts} (setting forest_rows)")
    if settings.detector_repeats is None:
        repeats = {name: settings.repeats_of(len(one.label)) for name, one in samples.items()}
        fewer = ", ".join(f"{n} ({dataset})" for dataset, n in repeats.items() if n < MOST_REPEATS)
        if fewer:
            notes.append(
                f"detectors are judged in fewer than {MOST_REPEATS} repeats of the folds, because folds of so many "
                f"samples hardly differ (setting detector_repeats): {fewer}"
            )
    if table.compositional:
        notes.append(
            "the metrics are shares that sum to 1: one of them is determined by the others, so their correlations "
            "with the label are not independent"
        )
    return tuple(notes)
