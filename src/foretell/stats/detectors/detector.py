"""Detectors: one score per sample, evaluated on held-out groups, alone and beside what is known without the internals.

Pairs of samples are compared only if the same fitted model scored both. An increment is the AUC of baselines and
detector together minus that of the baselines, of nested models on the same held-out samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int, Shaped

from foretell.stats.auc.fold_auc import Splits, fold_auc, nested_increment
from foretell.stats.auc.intervals import Estimate
from foretell.stats.auc.within_strata import NO_STRATUM
from foretell.stats.detectors.baselines import ALL_BASELINES, OF_WORDS
from foretell.stats.detectors.calibration import ReliabilityBin, brier_score, expected_calibration_error, reliability
from foretell.stats.detectors.features import Features, Role
from foretell.stats.detectors.held_out_scores import CrossValidation, HeldOutScores
from foretell.stats.detectors.learners import Estimator
from foretell.stats.folds import group_codes

__all__ = ["MAJORITY", "Detector", "Known", "judge_detectors", "scores_of_all"]

_RELIABILITY_BINS = 5
"""Few enough for each to hold samples of both labels."""

MAJORITY = "majority"


@dataclass(frozen=True)
class Detector:
    """A detector or baseline with its performance on held-out samples."""

    name: str
    role: Role
    heldout: HeldOutScores
    n: int
    n_features: int
    auc: Estimate
    within_strata: Estimate
    """AUC over pairs of samples of the same stratum, which removes the effect of the task type."""
    best_baseline: str | None
    """The single baseline with the highest AUC, within strata where there are strata."""
    increment: Estimate
    """AUC of all baselines and the detector together minus that of all baselines, within strata where there are
    strata; undefined where the table has no baseline."""
    evidence: Estimate
    """The increment, or the AUC minus one half where there is no baseline; its p-value decides the verdict."""
    brier: float | None
    calibration_error: float | None
    reliability: tuple[ReliabilityBin, ...]
    reason: str | None
    """Why there is no AUC."""
    signal: str = "baseline"
    """Family of signals that it belongs to."""


@dataclass(frozen=True)
class Known:
    """What the baselines of a dataset say of every sample."""

    scores: HeldOutScores | None
    """Of all baselines together; None where the table has none."""
    best: str | None
    """The single baseline with the highest AUC."""


def judge_detectors(
    features: Sequence[Features],
    label: Int[np.ndarray, " sample"],
    *,
    group: Shaped[np.ndarray, " sample"] | None = None,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    dataset: Shaped[np.ndarray, " sample"] | None = None,
    ids: Shaped[np.ndarray, " sample"] | None = None,
    estimators: Mapping[str, Estimator] | None = None,
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
    level: float = 0.95,
    folds: CrossValidation | None = None,
    advance: Callable[[str], None] | None = None,
) -> tuple[list[Detector], Known]:
    """Cross-validate each set of features on the same splits, alone and beside all baselines.

    All baselines together are one model of everything but words, and of the words beside that. A further
    estimator is held to baselines that it has fitted itself as well: it is given their columns, alone and with its own.

    Args:
        features: Feature sets of detectors and baselines.
        label: `(sample,)`, 0 or 1.
        group: `(sample,)` names of groups of dependent samples; None: all samples are independent.
        stratum: `(sample,)` names of task types; AUCs within strata and increments compare samples of the same one.
        dataset: `(sample,)` names of the datasets, where several are pooled; pairs are compared within one.
        ids: `(sample,)` unique names that make the result independent of the order of samples.
        estimators: Further estimators by name; each is also fitted on the features named "all heads".
        n_folds: Folds per repeat.
        n_repeats: Repeats with other folds; AUCs and probabilities are averaged over them.
        seed: Random seed.
        level: Coverage of the intervals.
        folds: The splits of an earlier call about the same samples; None: they are made of the above.
        advance: Called with a name after every detector.

    Returns:
        Detectors and baselines, and what all baselines together say.

    Undefined:
        A detector whose groups cannot be split has None everywhere and a `reason`, as have increments without any
        baseline.

    Source:
        Ridge models on all heads, as in Chuang et al. 2024 (Lookback Lens); nested models as in Pencina et al. 2008 and
        Demler et al. 2012, on held-out samples; intervals by `fold_auc` and `nested_increment`.

    Example:
        >>> column = np.arange(40.0)[:, None]
        >>> found, _ = judge_detectors([Features("x", "detector", (column,))], np.arange(40) // 20, n_repeats=1)
        >>> [(one.name, one.role) for one in found]
        [('x', 'detector'), ('majority', 'baseline')]
    """
    report = advance or (lambda _: None)
    folds = folds or CrossValidation(
        label, group=group, ids=ids, dataset=dataset, n_folds=n_folds, n_repeats=n_repeats, seed=seed
    )
    judge = _Judge(label.astype(np.int64), group, stratum, dataset, level)
    own = [one for one in features if one.role == "baseline"]
    baselines: list[tuple[Features, HeldOutScores]] = []
    for one in own:
        baselines.append((one, folds.scores(one)))
        report(one.name)
    known = Known(scores_of_all(folds, own), judge.best(baselines))
    found: list[Detector] = []
    for one in features:
        if one.role == "detector":
            alone, beside = folds.scores(one), _beside(folds, one, known.scores)
            found.append(judge.detector(one, alone, beside, known))
            report(one.name)
    for name, estimator in (estimators or {}).items():
        for one in features:
            if one.name == "all heads":
                named = replace(one, name=f"{one.name} ({name})")
                found.append(judge.estimated(named, own, estimator, folds, known))
                report(name)
    found += [judge.baseline(one, scores) for one, scores in baselines]
    if known.scores is not None and len(own) > 1:
        joined = Features(ALL_BASELINES, "baseline", tuple(block for one in own for block in one.blocks))
        found.append(judge.baseline(joined, known.scores))
    return [*found, judge.majority()], known


def scores_of_all(folds: CrossValidation, baselines: Sequence[Features]) -> HeldOutScores | None:
    """Return the scores of all baselines together: of everything but words, and of the words beside that.

    Args:
        folds: The splits.
        baselines: Feature sets of single baselines.

    Undefined:
        None where there is no baseline.
    """
    if not baselines:
        return None
    scores = folds.nothing()
    of_words = [one for one in baselines if one.name in OF_WORDS]
    for stage in ([one for one in baselines if one.name not in OF_WORDS], of_words):
        if stage:
            blocks = tuple(block for one in stage for block in one.blocks)
            scores = folds.scores(Features(ALL_BASELINES, "baseline", blocks), beside=scores)
    return scores


def _beside(folds: CrossValidation, one: Features, known: HeldOutScores | None) -> HeldOutScores | None:
    if known is None:
        return None
    return folds.scores(one if one.beside is None else replace(one, blocks=one.beside), beside=known)


@dataclass(frozen=True)
class _Judge:
    """The samples on which every detector is evaluated."""

    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"] | None
    stratum: Shaped[np.ndarray, " sample"] | None
    dataset: Shaped[np.ndarray, " sample"] | None
    level: float
    _splits: dict[tuple[bytes, bool], Splits] = field(default_factory=dict)
    """All scores of the same folds are compared over the same pairs, which are listed once."""

    def undefined(self, reason: str) -> Estimate:
        """Return an undefined estimate."""
        n_groups = len(self.label if self.group is None else np.unique(self.group))
        return Estimate(None, None, None, self.level, len(self.label), n_groups, "none", reason=reason)

    def splits(self, heldout: HeldOutScores, *, within: bool = False) -> Splits:
        """Return which scores are comparable: same fold, same dataset, and same stratum if `within`."""
        key = heldout.fold.tobytes(), within and self.stratum is not None
        if key not in self._splits:
            n = len(self.label)
            codes = np.zeros(n, dtype=np.int64) if self.dataset is None else group_codes(self.dataset)
            if key[1]:
                strata = group_codes(np.asarray(self.stratum))
                codes = strata + (int(strata.max()) + 1) * codes
            group = np.arange(n) if self.group is None else group_codes(self.group)
            self._splits[key] = heldout.splits(group, codes)
        return self._splits[key]

    def area(self, heldout: HeldOutScores, *, within: bool = False) -> Estimate:
        """Return the AUC over comparable pairs."""
        if within and self.stratum is None:
            return self.undefined(NO_STRATUM)
        if heldout.reason is not None:
            return self.undefined(heldout.reason)
        label = np.tile(self.label, heldout.n_repeats)
        found = fold_auc(heldout.score.ravel(), label, self.splits(heldout, within=within), level=self.level)
        if within and found.estimate is None:
            return self.undefined("no stratum has held-out samples of both labels")
        return found

    def difference(self, first: HeldOutScores, second: HeldOutScores | None) -> Estimate:
        """Return the AUC of nested scores minus that of what they are nested in, which may be nothing."""
        if first.reason is not None:
            return self.undefined(first.reason)
        label, splits = np.tile(self.label, first.n_repeats), self.splits(first, within=True)
        known = np.zeros(first.score.size) if second is None else second.score.ravel()
        return nested_increment(first.score.ravel(), known, label, splits, level=self.level)

    def best(self, baselines: Sequence[tuple[Features, HeldOutScores]]) -> str | None:
        """Return the baseline with the highest AUC, within strata where there are strata."""
        areas = {one.name: self.area(scores, within=self.stratum is not None).estimate for one, scores in baselines}
        defined = {name: area for name, area in areas.items() if area is not None}
        return max(defined, key=lambda name: defined[name]) if defined else None

    def detector(self, one: Features, alone: HeldOutScores, beside: HeldOutScores | None, known: Known) -> Detector:
        """Return one detector with its performance."""
        if beside is None:
            increment, evidence = self.undefined("the table has no baseline"), self.difference(alone, None)
        else:
            increment = evidence = self.difference(beside, known.scores)
        return self._made(one, alone, (known.best, increment, evidence))

    def estimated(
        self,
        one: Features,
        baselines: Sequence[Features],
        estimator: Estimator,
        folds: CrossValidation,
        known: Known,
    ) -> Detector:
        """Return a further estimator, beside baselines that it has fitted as well."""
        alone = folds.scores(one, estimator=estimator)
        if known.scores is None:
            return self.detector(one, alone, None, known)
        blocks = tuple(block for baseline in baselines for block in baseline.blocks)
        held_to = folds.scores(Features(one.name, "baseline", blocks), estimator=estimator, beside=known.scores)
        both = Features(one.name, "detector", (*one.blocks, *blocks))
        beside = folds.scores(both, estimator=estimator, beside=held_to)
        return self.detector(one, alone, beside, Known(held_to, known.best))

    def baseline(self, one: Features, scores: HeldOutScores) -> Detector:
        """Return one baseline with its performance."""
        nothing = self.undefined("a baseline")
        return self._made(one, scores, (None, nothing, nothing))

    def _made(self, one: Features, scores: HeldOutScores, against: tuple[str | None, Estimate, Estimate]) -> Detector:
        chance, area = scores.probability, self.area(scores)
        return Detector(
            one.name,
            one.role,
            scores,
            len(self.label),
            one.n_columns,
            area,
            self.area(scores, within=True),
            *against,
            None if chance is None else brier_score(chance, self.label),
            None if chance is None else expected_calibration_error(chance, self.label),
            ()
            if chance is None
            else tuple(reliability(chance, self.label, n_bins=_RELIABILITY_BINS, level=self.level)),
            area.reason if area.estimate is None else None,
            one.signal if one.role == "detector" else "baseline",
        )

    def majority(self) -> Detector:
        """Return the baseline that predicts the base rate of each dataset."""
        n = len(self.label)
        codes = np.zeros(n, dtype=np.int64) if self.dataset is None else group_codes(self.dataset)
        chance = (np.bincount(codes, weights=self.label) / np.maximum(np.bincount(codes), 1))[codes]
        zeros = np.zeros((1, n))
        heldout = HeldOutScores(zeros, zeros.astype(np.int64), chance, np.empty((1, 0, n)))
        no = self.undefined("a baseline")
        reason = None if len(np.unique(self.label)) == 2 else "only one label is present"
        constant = Estimate(None if reason else 0.5, None, None, self.level, n, no.n_groups, "constant", reason=reason)
        within = constant if self.stratum is not None else self.undefined(NO_STRATUM)
        brier = brier_score(chance, self.label) if n else None
        error = expected_calibration_error(chance, self.label) if n else None
        return Detector(MAJORITY, "baseline", heldout, n, 0, constant, within, None, no, no, brier, error, (), reason)
