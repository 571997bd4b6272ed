"""Random forests on rows of a few metrics, evaluated by a random split of rows and by a split of whole samples.

Protocol `rows` splits rows at random, as in the source study, so rows of one sample are in both training and test sets.
`placebo` does the same with labels dealt anew by whole groups and measures the score of recognising samples and groups.
`grouped` keeps samples whole. The forest is the same in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from foretell.stats.auc.fold_auc import Splits, fold_auc, nadeau_bengio_factor
from foretell.stats.auc.intervals import Estimate
from foretell.stats.auc.within_strata import NO_STRATUM, NO_STRATUM_WITH_BOTH
from foretell.stats.folds import derived_seed, group_codes, grouped_folds, shuffled_labels
from foretell.stats.forest.measures import Objective, confusion, measure, thinned_roc
from foretell.stats.forest.tree_scores import probability_of

__all__ = [
    "PROTOCOLS",
    "TEST_SIZE",
    "ForestResult",
    "Protocol",
    "judge_forest",
    "pooled_forest",
    "repeats_needed",
]

Protocol = Literal["rows", "grouped", "placebo"]
PROTOCOLS: tuple[Protocol, ...] = ("rows", "grouped", "placebo")

TEST_SIZE = 0.2
"""Test share of the protocols `rows` and `placebo`; the source study does not state its own."""

_ENOUGH_ROWS = 10_000
"""Splits and shuffles of small tables are repeated, at most five times, until this many rows are scored."""

_ROW_FIELDS = ("score", "predicted", "label", "majority", "fold", "repeat", "sample", "group", "stratum", "row")
"""Fields of a result with one entry per held-out row."""


@dataclass(frozen=True)
class ForestResult:
    """Held-out scores of a forest under one protocol, and the measures computed from them."""

    protocol: Protocol
    score: Float[np.ndarray, " row"]
    """Held-out probability of label 1."""
    predicted: Bool[np.ndarray, " row"]
    """Whether label 1 was the more probable one."""
    label: Int[np.ndarray, " row"]
    majority: Int[np.ndarray, " row"]
    """Majority class of the training rows of each row's forest."""
    fold: Int[np.ndarray, " row"]
    """Fold (and dataset) of the forest that scored the row; AUCs compare rows of one fold."""
    sample: Int[np.ndarray, " row"]
    group: Int[np.ndarray, " row"]
    """Group of dependent samples; intervals are over groups."""
    repeat: Int[np.ndarray, " row"]
    row: Int[np.ndarray, " row"]
    """Index of the row among the finite rows; repeats hold the same row out again."""
    permuted: Float[np.ndarray, "repeat metric row"]
    """Held-out probability after one metric was shuffled among the held-out rows of its fold."""
    impurity: Float[np.ndarray, "tree metric"]
    """Impurity importance of every tree."""
    stratum: Int[np.ndarray, " row"]
    """Task type of the row's sample; constant where none is given."""
    n_folds: int = 1
    """Forests per repeat and dataset."""
    reason: str | None = None
    """Why there are no scores."""
    measures: dict[str, float | None] = field(default_factory=dict)
    """f1, accuracy, balanced_accuracy, mcc, average_precision and majority_accuracy of the held-out rows."""
    auc: Estimate = field(default_factory=lambda: Estimate(None, None, None, 0.95, 0, 0, "none"))
    """AUC over pairs of rows of one fold, interval over groups."""
    within: Estimate = field(default_factory=lambda: Estimate(None, None, None, 0.95, 0, 0, "none"))
    """The same over pairs of rows of one task type, which removes the effect of the task type."""
    places: Int[np.ndarray, " code"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Place of each sample of `sample` in its dataset; empty where several datasets are pooled."""

    @property
    def n_samples(self) -> int:
        """Samples among the held-out rows."""
        return len(np.unique(self.sample))

    @property
    def splits(self) -> Splits:
        """Repeat, fold and group of each row, for `fold_auc`."""
        heldout = None if self.protocol == "grouped" else TEST_SIZE
        inflation = nadeau_bengio_factor(self.n_folds, len(np.unique(self.repeat)), heldout=heldout)
        return Splits(self.repeat, self.fold, self.group, inflation)

    @property
    def n_rows(self) -> int:
        """Distinct rows that were held out."""
        return len(np.unique(self.row))

    def points(self) -> Float[np.ndarray, "point rate"]:
        """Return false and true positive rates of the held-out rows, thinned for drawing."""
        return thinned_roc(self.score, self.label, within=self.fold)


def judge_forest(
    features: Float[np.ndarray, "row metric"],
    label: Int[np.ndarray, " row"],
    sample: Sequence[object] | np.ndarray,
    *,
    group: Sequence[object] | np.ndarray | None = None,
    stratum: Sequence[object] | np.ndarray | None = None,
    protocols: Sequence[Protocol] = PROTOCOLS,
    n_trees: int = 200,
    n_folds: int = 3,
    n_repeats: int | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    level: float = 0.95,
    advance: Callable[[str], None] | None = None,
) -> dict[Protocol, ForestResult]:
    """Held-out scores of a random forest on a few metrics, by protocol.

    Rows with a value that is not finite are ignored. The AUC compares rows scored by the same forest only, and every
    pair has the same weight; intervals are clustered DeLong over groups, Nadeau-Bengio corrected for overlapping
    training sets.

    Args:
        features: `(row, metric)`, one row per sample, layer and head, sorted by sample name, layer, head.
        label: `(row,)`, 0 or 1, constant within a sample.
        sample: `(row,)` names.
        group: `(row,)` names of groups of dependent samples; None: the sample.
        stratum: `(row,)` names of task types, for the AUC within them.
        protocols: Which to run.
        n_trees: Trees per forest.
        n_folds: Folds of the grouped protocol.
        n_repeats: How often the grouped protocol is repeated with other folds; None: until 10,000 rows are scored, at
            most five times.
        seed: Random seed; also `random_state` of every forest.
        n_jobs: Number of threads; does not change the result.
        level: Coverage of the intervals.
        advance: Called with the protocol after every forest.

    Undefined:
        `reason` is set, and there are no scores, where one class is missing or a class is too rare to split.

    Source:
        Protocol `rows` is scikit-learn's `train_test_split(test_size=0.2, stratify=label, random_state=seed)` and
        `RandomForestClassifier(n_estimators=200, random_state=seed)`, and its numbers equal `sklearn.metrics`.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> label = np.repeat(np.arange(20) % 2, 4)
        >>> rows = label[:, None] + generator.normal(size=(80, 3))
        >>> found = judge_forest(rows, label, np.repeat(np.arange(20), 4), protocols=("grouped",), n_trees=10)
        >>> found["grouped"].auc.estimate > 0.6
        True
    """
    finite = np.isfinite(features).all(axis=1)
    rows = np.ascontiguousarray(features[finite], dtype=np.float32)
    samples = group_codes(sample)[finite]
    groups = samples if group is None else group_codes(group)[finite]
    kinds = np.zeros_like(samples) if stratum is None else group_codes(np.asarray(stratum)[finite])
    truth = label[finite].astype(np.int64)
    trainer = _Trainer(rows, samples, groups, kinds, n_trees, seed, n_jobs, advance or (lambda _: None))
    results: dict[Protocol, ForestResult] = {}
    for protocol in protocols:
        if protocol == "grouped":
            results[protocol] = _grouped(trainer, truth, n_folds, n_repeats, level)
        else:
            used = truth if protocol == "rows" else _placebo(truth, samples, groups, seed)
            results[protocol] = _row_split(trainer, used, protocol, level)
    return results


@dataclass(frozen=True)
class _Trainer:
    """The data and settings shared by all forests of one dataset."""

    rows: Float[np.ndarray, "row metric"]
    sample: Int[np.ndarray, " row"]
    group: Int[np.ndarray, " row"]
    stratum: Int[np.ndarray, " row"]
    n_trees: int
    seed: int
    n_jobs: int | None
    advance: Callable[[str], None]

    def fit(self, label: Int[np.ndarray, " row"], train: np.ndarray) -> RandomForestClassifier:
        """Return the forest of the source study fitted on the rows `train`."""
        forest = RandomForestClassifier(n_estimators=self.n_trees, random_state=self.seed, n_jobs=self.n_jobs)
        return forest.fit(self.rows[train], label[train])

    def permuted(
        self, forest: RandomForestClassifier, heldout: Int[np.ndarray, " heldout"], n_repeats: int, seed: int
    ) -> Float[np.ndarray, "repeat metric heldout"]:
        """Return the scores of held-out rows with each metric in turn shuffled among them."""
        generator = np.random.default_rng(derived_seed(self.seed, "permuted", seed))
        scores = np.empty((n_repeats, self.rows.shape[1], len(heldout)))
        for repeat in range(n_repeats):
            for metric in range(self.rows.shape[1]):
                shuffled = self.rows[heldout]
                shuffled[:, metric] = shuffled[generator.permutation(len(heldout)), metric]
                scores[repeat, metric] = probability_of(forest, shuffled, self.n_jobs)[:, 1]
        return scores


def _placebo(
    label: Int[np.ndarray, " row"], sample: Int[np.ndarray, " row"], group: Int[np.ndarray, " row"], seed: int
) -> Int[np.ndarray, " row"]:
    """Return the labels dealt anew by whole groups, one per sample."""
    _, first, codes = np.unique(sample, return_index=True, return_inverse=True)
    return np.asarray(shuffled_labels(label[first], group=group[first], seed=seed)[codes.reshape(-1)])


def _row_split(trainer: _Trainer, label: Int[np.ndarray, " row"], protocol: Protocol, level: float) -> ForestResult:
    """Return the result of one random split of rows, stratified by label."""
    rarer = int(np.bincount(label, minlength=2).min())
    if rarer < 2:
        trainer.advance(protocol)
        reason = "a label has one row: a split needs two" if rarer else "only one label is present"
        return _nothing(protocol, trainer, reason if len(label) else "no rows")
    train, heldout = train_test_split(
        np.arange(len(label)), test_size=TEST_SIZE, random_state=trainer.seed, stratify=label
    )
    return _evaluated(_scored_fold(trainer, label, train, heldout, protocol=protocol, place=(0, 0)), level)


def _grouped(
    trainer: _Trainer, label: Int[np.ndarray, " row"], n_folds: int, n_repeats: int | None, level: float
) -> ForestResult:
    """Return the result of stratified folds that keep groups whole; every row is held out once per repeat."""
    if len(np.unique(label)) == 1:  # checked here because the split below counts rows, not samples
        trainer.advance("grouped")
        return _nothing("grouped", trainer, f"all {len(np.unique(trainer.sample))} samples have one label")
    repeats = n_repeats or repeats_needed(len(label))
    scored: list[ForestResult] = []
    for repeat in range(repeats):
        folds = grouped_folds(label, trainer.group, n_folds=n_folds, seed=derived_seed(trainer.seed, "forest", repeat))
        if folds.reason is not None:
            trainer.advance("grouped")
            return _nothing("grouped", trainer, folds.reason)
        for fold in range(folds.n_folds):
            train, heldout = np.flatnonzero(folds.train(fold)), np.flatnonzero(folds.heldout(fold))
            place = (repeat, len(scored))
            scored.append(_scored_fold(trainer, label, train, heldout, protocol="grouped", place=place))
    return _evaluated(replace(_joined(scored), n_folds=len(scored) // repeats), level)


def repeats_needed(n_rows: int) -> int:
    """Return how often a split or a shuffle is repeated: until enough rows are scored, at most five times."""
    return int(np.clip(-(-_ENOUGH_ROWS // max(n_rows, 1)), 1, 5))


def _scored_fold(
    trainer: _Trainer,
    label: Int[np.ndarray, " row"],
    train: Int[np.ndarray, " train"],
    heldout: Int[np.ndarray, " heldout"],
    *,
    protocol: Protocol,
    place: tuple[int, int],
) -> ForestResult:
    """Return the scores of one forest, fitted on `train`, for `heldout`; its place is repeat and fold."""
    forest = trainer.fit(label, train)
    probability = probability_of(forest, trainer.rows[heldout], trainer.n_jobs)
    n_shuffles = 1 if protocol == "grouped" else repeats_needed(2 * len(heldout))
    permuted = trainer.permuted(forest, heldout, n_shuffles, place[1])
    trainer.advance(protocol)
    return ForestResult(
        protocol=protocol,
        score=probability[:, 1],
        predicted=probability[:, 1] > probability[:, 0],
        label=label[heldout],
        majority=np.full(len(heldout), int(2 * label[train].sum() > len(train))),
        fold=np.full(len(heldout), place[1]),
        repeat=np.full(len(heldout), place[0]),
        sample=trainer.sample[heldout],
        group=trainer.group[heldout],
        stratum=trainer.stratum[heldout],
        row=heldout,
        permuted=permuted,
        impurity=np.array([tree.feature_importances_ for tree in forest.estimators_]),
    )


def _joined(folds: Sequence[ForestResult]) -> ForestResult:
    """Return the rows of several forests as one result without measures."""
    fewest = min(len(fold.permuted) for fold in folds)
    joined: dict[str, Any] = {name: np.concatenate([getattr(fold, name) for fold in folds]) for name in _ROW_FIELDS}
    joined["impurity"] = np.concatenate([fold.impurity for fold in folds])
    permuted = np.concatenate([fold.permuted[:fewest] for fold in folds], axis=2)
    return replace(folds[0], permuted=permuted, **joined)


def pooled_forest(
    results: Sequence[ForestResult],
    *,
    groups: Sequence[Int[np.ndarray, " _sample"]] | None = None,
    level: float = 0.95,
) -> ForestResult:
    """Pooled result of several datasets' forests: pairs are compared within a dataset, so base rates have no effect.

    Only as many repeats are used as each dataset has, so that all pairs have the same weight.

    Args:
        results: One result per dataset, all of one protocol.
        groups: Per dataset the group of each sample, by its code in `ForestResult.sample`, in which samples of several
            datasets can be together; None: datasets have no group in common.
        level: Coverage of the interval.

    Undefined:
        `reason` is set where no dataset has scores.

    Example:
        >>> rows, label = np.arange(40.0)[:, None] % 7, np.repeat(np.arange(10) % 2, 4)
        >>> one = judge_forest(rows, label, np.repeat(np.arange(10), 4), protocols=("grouped",), n_trees=3)["grouped"]
        >>> both = pooled_forest([one, one], groups=[np.arange(10), np.arange(10)])
        >>> both.n_samples, both.auc.n_groups
        (20, 10)
    """
    defined = [index for index, result in enumerate(results) if result.reason is None]
    if not defined:
        return replace(results[0], reason="no dataset has scores")
    n_repeats = min(len(np.unique(results[index].repeat)) for index in defined)
    starts = dict.fromkeys(("fold", "sample", "group", "row"), 0)
    shifted = []
    for index in defined:
        result, kept = results[index], results[index].repeat < n_repeats
        rows = {name: getattr(result, name)[kept] for name in _ROW_FIELDS}
        result = replace(result, permuted=result.permuted[..., kept], **rows)
        codes = {name: getattr(result, name) + start for name, start in starts.items()}
        starts = {name: int(code.max()) + 1 for name, code in codes.items()}
        if groups is not None:
            codes["group"] = groups[index][result.sample]
        shifted.append(replace(result, **codes))
    n_folds = min(results[index].n_folds for index in defined)
    return _evaluated(replace(_joined(shifted), n_folds=n_folds), level)


def _evaluated(result: ForestResult, level: float) -> ForestResult:
    """Return the result with its measures and AUC."""
    counts = confusion(result.predicted, result.label)
    names: tuple[Objective, ...] = ("f1", "accuracy", "balanced_accuracy", "mcc")
    values = {str(name): float(measure(counts, name)) for name in names}
    both = len(np.unique(result.label)) == 2
    values["average_precision"] = float(average_precision_score(result.label, result.score)) if both else np.nan
    values["majority_accuracy"] = float(np.mean(result.majority == result.label))
    defined = {name: None if np.isnan(value) else value for name, value in values.items()}
    area = fold_auc(result.score, result.label, result.splits, level=level)
    kinds = result.fold * (int(result.stratum.max()) + 1) + result.stratum
    within = replace(area, estimate=None, lower=None, upper=None, reason=NO_STRATUM)
    if result.stratum.any():
        within = fold_auc(result.score, result.label, replace(result.splits, within=kinds), level=level)
        if within.estimate is None:
            within = replace(within, reason=NO_STRATUM_WITH_BOTH)
    return replace(result, measures=defined, auc=area, within=within)


def _nothing(protocol: Protocol, trainer: _Trainer, reason: str) -> ForestResult:
    codes: dict[str, Any] = dict.fromkeys(_ROW_FIELDS, np.empty(0, dtype=np.int64))
    codes |= {"score": np.empty(0), "predicted": np.empty(0, dtype=bool)}
    n_metrics = trainer.rows.shape[1]
    return ForestResult(
        protocol=protocol,
        permuted=np.empty((0, n_metrics, 0)),
        impurity=np.empty((0, n_metrics)),
        reason=reason,
        **codes,
    )
