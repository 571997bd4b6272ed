"""Detectors: one score per sample, evaluated on held-out groups next to baselines without the model's internals.

Pairs of samples are compared only if the same fitted model scored both. An increment is the difference of two AUCs on
the same held-out samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from foretell.stats.auc.fold_auc import Splits, fold_auc, fold_auc_difference
from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.baselines import ALL_BASELINES
from foretell.stats.detectors.calibration import ReliabilityBin, brier_score, expected_calibration_error, reliability
from foretell.stats.detectors.features import Features, Role
from foretell.stats.detectors.held_out_scores import Estimator, HeldOutScores, held_out_scores
from foretell.stats.folds import group_codes

__all__ = ["MAJORITY", "Detector", "judge_detectors"]

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
    increment: Estimate
    """AUC minus that of the best single baseline (or of all together, if that is higher)."""
    increment_over_all: Estimate
    """AUC minus that of all baselines together."""
    brier: float | None
    calibration_error: float | None
    reliability: tuple[ReliabilityBin, ...]
    reason: str | None
    """Why there is no AUC."""


def judge_detectors(
    features: Sequence[Features],
    label: Int[np.ndarray, " sample"],
    *,
    group: Shaped[np.ndarray, " sample"] | None = None,
    stratum: Shaped[np.ndarray, " sample"] | None = None,
    dataset: Shaped[np.ndarray, " sample"] | None = None,
    ids: Sequence[str] | np.ndarray | None = None,
    estimators: Mapping[str, Estimator] | None = None,
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
    level: float = 0.95,
    advance: Callable[[str], None] | None = None,
) -> list[Detector]:
    """Cross-validate each set of features on the same splits, and compare detectors with baselines.

    Args:
        features: Feature sets of detectors and baselines.
        label: `(sample,)`, 0 or 1.
        group: `(sample,)` names of groups of dependent samples; None: all samples are independent.
        stratum: `(sample,)` names of task types, for the AUC within strata.
        dataset: `(sample,)` names of the datasets, where several are pooled; pairs are compared within one.
        ids: `(sample,)` unique names that make the result independent of the order of samples.
        estimators: Further estimators by name; each is also fitted on the features named "all heads".
        n_folds: Folds per repeat.
        n_repeats: Repeats with other folds; AUCs and probabilities are averaged over them.
        seed: Random seed.
        level: Coverage of the intervals.
        advance: Called with a name after every detector.

    Undefined:
        A detector whose groups cannot be split has None everywhere and a `reason`, as have increments without any
        baseline.

    Source:
        Ridge logistic regression on all heads, as in Chuang et al. 2024 (Lookback Lens); intervals by
        `fold_auc` and `fold_auc_difference`.

    Example:
        >>> column = np.arange(40.0)[:, None]
        >>> found = judge_detectors([Features("x", "detector", (column,))], np.arange(40) // 20, n_repeats=1)
        >>> [(one.name, one.role) for one in found]
        [('x', 'detector'), ('majority', 'baseline')]
    """
    report = advance or (lambda _: None)
    runs: list[tuple[str, Features, Estimator]] = [(one.name, one, "logistic") for one in features]
    for name, estimator in (estimators or {}).items():
        runs += [(f"{one.name} ({name})", one, estimator) for one in features if one.name == "all heads"]
    scored: list[tuple[str, Features, HeldOutScores]] = []
    for name, one, estimator in runs:
        heldout = held_out_scores(
            one,
            label,
            group=group,
            ids=ids,
            dataset=dataset,
            estimator=estimator,
            n_folds=n_folds,
            n_repeats=n_repeats,
            seed=seed,
        )
        scored.append((name, one, heldout))
        report(name)
    judge = _Judge(label.astype(np.int64), group, stratum, dataset, level)
    increments = judge.increments(scored)
    judged = [judge.detector(name, one, heldout, increments) for name, one, heldout in scored]
    return [*judged, judge.majority()]


@dataclass(frozen=True)
class _Judge:
    """The samples on which every detector is evaluated."""

    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"] | None
    stratum: Shaped[np.ndarray, " sample"] | None
    dataset: Shaped[np.ndarray, " sample"] | None
    level: float

    def undefined(self, reason: str) -> Estimate:
        """Return an undefined estimate."""
        n_groups = len(self.label if self.group is None else np.unique(self.group))
        return Estimate(None, None, None, self.level, len(self.label), n_groups, "none", reason=reason)

    def splits(self, heldout: HeldOutScores, *, within: bool = False) -> Splits:
        """Return which scores are comparable: same fold, same dataset, and same stratum if `within`."""
        n = len(self.label)
        codes = np.zeros(n, dtype=np.int64) if self.dataset is None else group_codes(self.dataset)
        if within and self.stratum is not None:
            strata = group_codes(self.stratum)
            codes = strata + (int(strata.max()) + 1) * codes
        group = np.arange(n) if self.group is None else group_codes(self.group)
        return heldout.splits(group, codes)

    def area(self, heldout: HeldOutScores, *, within: bool = False) -> Estimate:
        """Return the AUC over comparable pairs."""
        if within and self.stratum is None:
            return self.undefined("no stratum is given")
        label = np.tile(self.label, heldout.n_repeats)
        return fold_auc(heldout.score.ravel(), label, self.splits(heldout, within=within), level=self.level)

    def increment(self, heldout: HeldOutScores, baseline: HeldOutScores) -> Estimate:
        """Return the AUC of a detector minus that of a baseline on the same splits."""
        label = np.tile(self.label, heldout.n_repeats)
        splits = self.splits(heldout)
        return fold_auc_difference(heldout.score.ravel(), baseline.score.ravel(), label, splits, level=self.level)

    def increments(
        self, scored: Sequence[tuple[str, Features, HeldOutScores]]
    ) -> dict[str, tuple[str, Estimate, Estimate]]:
        """Return per detector the best baseline, and the increments over it and over all baselines together."""
        defined = [(name, one, heldout) for name, one, heldout in scored if heldout.reason is None]
        baselines = {name: heldout for name, one, heldout in defined if one.role == "baseline"}
        if not baselines:
            return {}
        areas = {name: self.area(heldout).estimate or 0.0 for name, heldout in baselines.items()}
        best = max(areas, key=lambda name: areas[name])
        together = ALL_BASELINES if ALL_BASELINES in baselines else best
        return {
            name: (best, self.increment(heldout, baselines[best]), self.increment(heldout, baselines[together]))
            for name, one, heldout in defined
            if one.role == "detector"
        }

    def detector(
        self, name: str, one: Features, heldout: HeldOutScores, increments: Mapping[str, tuple[str, Estimate, Estimate]]
    ) -> Detector:
        """Return one detector with its performance."""
        n, n_features = len(self.label), one.matrix.shape[1]
        if heldout.reason is not None:
            no = self.undefined(heldout.reason)
            return Detector(
                name, one.role, heldout, n, n_features, no, no, None, no, no, None, None, (), heldout.reason
            )
        missing = self.undefined("a baseline" if one.role == "baseline" else "the table has no baseline")
        best, over_best, over_all = increments.get(name, (None, missing, missing))
        area = self.area(heldout)
        chance = heldout.probability
        return Detector(
            name,
            one.role,
            heldout,
            n,
            n_features,
            area,
            self.area(heldout, within=True),
            best,
            over_best,
            over_all,
            None if chance is None else brier_score(chance, self.label),
            None if chance is None else expected_calibration_error(chance, self.label),
            () if chance is None else tuple(reliability(chance, self.label, level=self.level)),
            area.reason if area.estimate is None else None,
        )

    def majority(self) -> Detector:
        """Return the baseline that predicts the base rate of each dataset."""
        n = len(self.label)
        codes = np.zeros(n, dtype=np.int64) if self.dataset is None else group_codes(self.dataset)
        chance = (np.bincount(codes, weights=self.label) / np.maximum(np.bincount(codes), 1))[codes]
        heldout = HeldOutScores(np.zeros((1, n)), np.zeros((1, n), dtype=np.int64), chance)
        no = self.undefined("a baseline")
        reason = None if len(np.unique(self.label)) == 2 else "only one label is present"
        constant = Estimate(None if reason else 0.5, None, None, self.level, n, no.n_groups, "constant", reason=reason)
        brier, error = brier_score(chance, self.label), expected_calibration_error(chance, self.label)
        return Detector(
            MAJORITY,
            "baseline",
            heldout,
            n,
            0,
            constant,
            constant if self.stratum is not None else self.undefined("no stratum is given"),
            None,
            no,
            no,
            brier if n else None,
            error if n else None,
            (),
            reason,
        )
