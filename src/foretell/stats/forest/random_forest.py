"""Random forests on rows of a few metrics: as the source judged them, and as they must be judged.

result = judge_forest(rows, label, sample)          # rows of one dataset, label per row, sample of each row
result["rows"].auc.estimate - result["grouped"].auc.estimate      # the leak

Protocol `rows` splits rows at random, so a sample's rows are learnt from and judged at once; `placebo` does the same
with labels dealt anew to the samples, and shows how well pure recognition of samples scores; `grouped` keeps samples
whole. The forest is the same in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from foretell.stats.auc.fold_auc import Splits, auc_of_folds, shared_fits
from foretell.stats.auc.intervals import Estimate
from foretell.stats.folds import derived_seed, group_codes, grouped_folds, shuffled_between
from foretell.stats.forest.measures import Objective, confusion, measure, thinned_roc

__all__ = [
    "PROTOCOLS",
    "TEST_SIZE",
    "ForestResult",
    "Protocol",
    "judge_forest",
    "pooled_forest",
    "repeats_for",
]

Protocol = Literal["rows", "grouped", "placebo"]
PROTOCOLS: tuple[Protocol, ...] = ("rows", "grouped", "placebo")

TEST_SIZE = 0.2
"""Share of rows that the protocols `rows` and `placebo` hold out; the source does not state its own."""

_CHUNK = 4096
"""Rows that one thread scores at a time; each chunk adds its trees in one order, so threads change no bit."""
_ENOUGH_ROWS = 10_000
"""Splits and shuffles of small tables are repeated, at most five times, until this many rows have been scored."""


@dataclass(frozen=True)
class ForestResult:
    """Held-out scores of a forest under one protocol, and everything that follows from them."""

    protocol: Protocol
    score: Float[np.ndarray, " row"]
    """Held-out probability of label 1."""
    predicted: Bool[np.ndarray, " row"]
    """Whether label 1 was the more probable one."""
    label: Int[np.ndarray, " row"]
    majority: Int[np.ndarray, " row"]
    """Larger class of the training rows that each row's forest saw."""
    part: Int[np.ndarray, " row"]
    """Which forest (fold, dataset) scored the row; AUCs compare rows of one part."""
    sample: Int[np.ndarray, " row"]
    group: Int[np.ndarray, " row"]
    """Samples that depend on each other; intervals are over groups."""
    repeat: Int[np.ndarray, " row"]
    row: Int[np.ndarray, " row"]
    """Index of the row among the finite rows; a repeated split holds a row out again."""
    permuted: Float[np.ndarray, "repeat metric row"]
    """Held-out probability after one metric was shuffled among the held-out rows of its part."""
    impurity: Float[np.ndarray, "tree metric"]
    """Impurity importance of every tree."""
    stratum: Int[np.ndarray, " row"]
    """Kind of task of the row's sample; all the same where none is given."""
    n_folds: int = 1
    """Forests per repeat and dataset."""
    reason: str | None = None
    """Why there are no scores."""
    measures: dict[str, float | None] = field(default_factory=dict)
    """f1, accuracy, balanced_accuracy, mcc, average_precision and majority_accuracy of the held-out rows."""
    auc: Estimate = field(default_factory=lambda: Estimate(None, None, None, 0.95, 0, 0, "none"))
    """Area under the ROC curve over pairs of rows of one part, interval over groups."""
    within: Estimate = field(default_factory=lambda: Estimate(None, None, None, 0.95, 0, 0, "none"))
    """The same over pairs of rows of one kind of task: what is left when the kind cannot help."""

    @property
    def n_samples(self) -> int:
        """Samples among the held-out rows."""
        return len(np.unique(self.sample))

    @property
    def splits(self) -> Splits:
        """Which forest scored each row, and what depends on what."""
        heldout = None if self.protocol == "grouped" else TEST_SIZE
        inflation = shared_fits(self.n_folds, len(np.unique(self.repeat)), heldout=heldout)
        return Splits(self.repeat, self.part, self.group, inflation)

    @property
    def n_rows(self) -> int:
        """Distinct rows that were held out."""
        return len(np.unique(self.row))

    def points(self, n_points: int = 400) -> Float[np.ndarray, "point rate"]:
        """Return false and true positive rates of the held-out rows, at most `n_points`."""
        return thinned_roc(self.score, self.label, part=self.part, n_points=n_points)


def judge_forest(  # noqa: PLR0913 - one keyword more than elsewhere, each a choice of its own
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
    """How well a forest on a few metrics tells the label of rows it did not learn from, by protocol.

    Rows with a value that is not finite are left out. AUC compares rows scored by the same forest only, and weighs
    every pair the same; intervals are clustered DeLong over groups, in the grouped protocol widened for what forests
    share.

    Args:
        features: `(row, metric)`, one row per sample, layer and head, sorted by sample name, layer, head.
        label: `(row,)`, 0 or 1, constant within a sample.
        sample: `(row,)` names.
        group: `(row,)` names of what depends on each other; None: the sample.
        stratum: `(row,)` names of kinds of task, for the AUC within them.
        protocols: Which to run.
        n_trees: Trees per forest.
        n_folds: Folds of the grouped protocol.
        n_repeats: How often the grouped protocol is repeated with other folds; None: until 10,000 rows were scored, at
            most five times.
        seed: Start of the random numbers; also `random_state` of every forest.
        n_jobs: Threads; changes no number.
        level: Coverage of the intervals.
        advance: Called with a word after every forest.

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
    samples = group_codes(np.asarray(sample)[finite])
    groups = samples if group is None else group_codes(np.asarray(group)[finite])
    kinds = np.zeros_like(samples) if stratum is None else group_codes(np.asarray(stratum)[finite])
    truth = label[finite].astype(np.int64)
    trainer = _Trainer(rows, samples, groups, kinds, n_trees, seed, n_jobs, advance or (lambda _: None))
    results: dict[Protocol, ForestResult] = {}
    for protocol in protocols:
        if protocol == "grouped":
            results[protocol] = _grouped(trainer, truth, n_folds, n_repeats, level)
        else:
            dealt = truth if protocol == "rows" else _placebo(truth, samples, seed)
            results[protocol] = _row_split(trainer, dealt, protocol, level)
    return results


@dataclass(frozen=True)
class _Trainer:
    """What every forest of one dataset shares."""

    rows: Float[np.ndarray, "row metric"]
    sample: Int[np.ndarray, " row"]
    group: Int[np.ndarray, " row"]
    stratum: Int[np.ndarray, " row"]
    n_trees: int
    seed: int
    n_jobs: int | None
    advance: Callable[[str], None]

    def fit(self, label: Int[np.ndarray, " row"], train: np.ndarray) -> RandomForestClassifier:
        """Return the source's forest fitted on the rows `train`."""
        forest = RandomForestClassifier(n_estimators=self.n_trees, random_state=self.seed, n_jobs=self.n_jobs)
        return forest.fit(self.rows[train], label[train])

    def permuted(
        self, forest: RandomForestClassifier, heldout: Int[np.ndarray, " heldout"], n_repeats: int, seed: int
    ) -> Float[np.ndarray, "repeat metric heldout"]:
        """Return the scores of held-out rows after each metric in turn was shuffled among them."""
        generator = np.random.default_rng(derived_seed(self.seed, "permuted", seed))
        scores = np.empty((n_repeats, self.rows.shape[1], len(heldout)))
        for repeat in range(n_repeats):
            for metric in range(self.rows.shape[1]):
                shuffled = self.rows[heldout]
                shuffled[:, metric] = shuffled[generator.permutation(len(heldout)), metric]
                scores[repeat, metric] = _probability(forest, shuffled, self.n_jobs)[:, 1]
        return scores


def _probability(
    forest: RandomForestClassifier, rows: Float[np.ndarray, "row metric"], n_jobs: int | None
) -> Float[np.ndarray, "row class_"]:
    """Return the probability of label 0 and 1 of each row, the same to the last bit whatever `n_jobs` is.

    scikit-learn adds trees in the order in which threads finish; here a thread takes rows instead of trees.
    """
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    if len(chunks) == 1:
        return _summed(forest, rows)
    scored = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(_summed)(forest, chunk) for chunk in chunks)
    return np.concatenate(scored)


def _summed(forest: RandomForestClassifier, rows: Float[np.ndarray, "row metric"]) -> Float[np.ndarray, "row class_"]:
    total = np.zeros((len(rows), 2))
    for tree in forest.estimators_:
        total += tree.predict_proba(rows, check_input=False)
    return np.asarray(total / len(forest.estimators_))


def _placebo(label: Int[np.ndarray, " row"], sample: Int[np.ndarray, " row"], seed: int) -> Int[np.ndarray, " row"]:
    of_sample = np.zeros(int(sample.max()) + 1 if len(sample) else 0, dtype=np.int64)
    of_sample[sample] = label
    return np.asarray(shuffled_between(of_sample, seed=seed)[sample])


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
    return _judged(_piece(trainer, label, train, heldout, protocol=protocol, place=(0, 0)), level)


def _grouped(
    trainer: _Trainer, label: Int[np.ndarray, " row"], n_folds: int, n_repeats: int | None, level: float
) -> ForestResult:
    """Return the result of stratified folds that keep groups whole; every row is held out once per repeat."""
    if len(np.unique(label)) == 1:  # said here because the split below knows rows, not samples
        trainer.advance("grouped")
        return _nothing("grouped", trainer, f"all {len(np.unique(trainer.sample))} samples have one label")
    repeats = n_repeats or repeats_for(len(label))
    pieces: list[ForestResult] = []
    for repeat in range(repeats):
        folds = grouped_folds(label, trainer.group, n_folds=n_folds, seed=derived_seed(trainer.seed, "forest", repeat))
        if folds.reason is not None:
            trainer.advance("grouped")
            return _nothing("grouped", trainer, folds.reason)
        for fold in range(folds.n_folds):
            train, heldout = np.flatnonzero(folds.train(fold)), np.flatnonzero(folds.heldout(fold))
            pieces.append(_piece(trainer, label, train, heldout, protocol="grouped", place=(repeat, len(pieces))))
    return _judged(replace(_joined(pieces), n_folds=len(pieces) // repeats), level)


def repeats_for(n_rows: int) -> int:
    """Return how often a split or a shuffle is repeated: until enough rows were scored, at most five times."""
    return int(np.clip(-(-_ENOUGH_ROWS // max(n_rows, 1)), 1, 5))


def _piece(
    trainer: _Trainer,
    label: Int[np.ndarray, " row"],
    train: Int[np.ndarray, " train"],
    heldout: Int[np.ndarray, " heldout"],
    *,
    protocol: Protocol,
    place: tuple[int, int],
) -> ForestResult:
    """Return what one forest, learnt from `train`, says of `heldout`; its place is repeat and number."""
    forest = trainer.fit(label, train)
    probability = _probability(forest, trainer.rows[heldout], trainer.n_jobs)
    n_shuffles = 1 if protocol == "grouped" else repeats_for(2 * len(heldout))
    permuted = trainer.permuted(forest, heldout, n_shuffles, place[1])
    trainer.advance(protocol)
    return ForestResult(
        protocol=protocol,
        score=probability[:, 1],
        predicted=probability[:, 1] > probability[:, 0],
        label=label[heldout],
        majority=np.full(len(heldout), int(2 * label[train].sum() > len(train))),
        part=np.full(len(heldout), place[1]),
        repeat=np.full(len(heldout), place[0]),
        sample=trainer.sample[heldout],
        group=trainer.group[heldout],
        stratum=trainer.stratum[heldout],
        row=heldout,
        permuted=permuted,
        impurity=np.array([tree.feature_importances_ for tree in forest.estimators_]),
    )


def _joined(pieces: Sequence[ForestResult]) -> ForestResult:
    """Return the rows of several forests as one result without numbers."""
    first = pieces[0]
    fewest = min(len(piece.permuted) for piece in pieces)
    return replace(
        first,
        score=np.concatenate([piece.score for piece in pieces]),
        predicted=np.concatenate([piece.predicted for piece in pieces]),
        label=np.concatenate([piece.label for piece in pieces]),
        majority=np.concatenate([piece.majority for piece in pieces]),
        part=np.concatenate([piece.part for piece in pieces]),
        repeat=np.concatenate([piece.repeat for piece in pieces]),
        sample=np.concatenate([piece.sample for piece in pieces]),
        group=np.concatenate([piece.group for piece in pieces]),
        stratum=np.concatenate([piece.stratum for piece in pieces]),
        row=np.concatenate([piece.row for piece in pieces]),
        permuted=np.concatenate([piece.permuted[:fewest] for piece in pieces], axis=2),
        impurity=np.concatenate([piece.impurity for piece in pieces]),
    )


def pooled_forest(results: Sequence[ForestResult], *, level: float = 0.95) -> ForestResult:
    """Several datasets' forests judged together: pairs are compared within a dataset, so base rates cannot help.

    Args:
        results: One result per dataset, all of one protocol.
        level: Coverage of the interval.

    Undefined:
        `reason` is set where no dataset has scores.

    Example:
        >>> rows, label = np.arange(40.0)[:, None] % 7, np.repeat(np.arange(10) % 2, 4)
        >>> one = judge_forest(rows, label, np.repeat(np.arange(10), 4), protocols=("grouped",), n_trees=3)["grouped"]
        >>> pooled_forest([one, one]).n_samples
        20
    """
    there = [result for result in results if result.reason is None]
    if not there:
        return replace(results[0], reason="no dataset has scores")
    starts = dict.fromkeys(("part", "sample", "group", "row"), 0)
    shifted = []
    for result in there:
        codes = {name: getattr(result, name) + start for name, start in starts.items()}
        starts = {name: int(code.max()) + 1 for name, code in codes.items()}
        shifted.append(replace(result, **codes))
    return _judged(replace(_joined(shifted), n_folds=min(result.n_folds for result in there)), level)


def _judged(result: ForestResult, level: float) -> ForestResult:
    """Return the result with its measures and its AUC."""
    counts = confusion(result.predicted, result.label)
    names: tuple[Objective, ...] = ("f1", "accuracy", "balanced_accuracy", "mcc")
    values = {str(name): float(measure(counts, name)) for name in names}
    both = len(np.unique(result.label)) == 2
    values["average_precision"] = float(average_precision_score(result.label, result.score)) if both else np.nan
    values["majority_accuracy"] = float(np.mean(result.majority == result.label))
    defined = {name: None if np.isnan(value) else value for name, value in values.items()}
    area = auc_of_folds(result.score, result.label, result.splits, level=level)
    kinds = result.part * (int(result.stratum.max()) + 1) + result.stratum
    within = replace(area, estimate=None, lower=None, upper=None, reason="no stratum is given")
    if len(np.unique(kinds)) > len(np.unique(result.part)):
        within = auc_of_folds(result.score, result.label, replace(result.splits, part=kinds), level=level)
    return replace(result, measures=defined, auc=area, within=within)


def _nothing(protocol: Protocol, trainer: _Trainer, reason: str) -> ForestResult:
    no_rows, no_codes = np.empty(0), np.empty(0, dtype=np.int64)
    n_metrics = trainer.rows.shape[1]
    return ForestResult(
        protocol=protocol,
        score=no_rows,
        predicted=np.empty(0, dtype=bool),
        label=no_codes,
        majority=no_codes,
        part=no_codes,
        repeat=no_codes,
        sample=no_codes,
        group=no_codes,
        stratum=no_codes,
        row=no_codes,
        permuted=np.empty((0, n_metrics, 0)),
        impurity=np.empty((0, n_metrics)),
        reason=reason,
    )
