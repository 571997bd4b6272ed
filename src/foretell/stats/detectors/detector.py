"""Detectors: one score per sample, judged on held-out groups beside baselines that look at nothing inside.

found = judge_detectors(features, label, group=prompt, stratum=kind)
found[0].auc, found[0].increment, found[0].within_strata

Pairs of samples are compared only if the same fitted detector scored both, so that nothing but the features can tell
them apart. An increment compares two scores of the same held-out samples, so what both share cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from foretell.stats.auc.fold_auc import Splits, auc_of_folds, gain_of_folds
from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.baselines import ALL_BASELINES
from foretell.stats.detectors.calibration import ReliabilityBin, brier_score, expected_calibration_error, reliability
from foretell.stats.detectors.features import Features, Role
from foretell.stats.detectors.held_out_scores import Estimator, HeldOut, held_out_scores
from foretell.stats.folds import group_codes

__all__ = ["MAJORITY", "Detector", "judge_detectors"]

MAJORITY = "majority"


@dataclass(frozen=True)
class Detector:
    """A detector or baseline and how it did on samples it had not learnt from."""

    name: str
    role: Role
    heldout: HeldOut
    n: int
    n_features: int
    auc: Estimate
    within_strata: Estimate
    """AUC over pairs of samples of the same stratum: what is left when the kind of task cannot help."""
    best_baseline: str | None
    increment: Estimate
    """AUC above that of the best single baseline (or of all together, if that is higher)."""
    increment_over_all: Estimate
    """AUC above that of all baselines together."""
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
    part: Shaped[np.ndarray, " sample"] | None = None,
    ids: Sequence[str] | np.ndarray | None = None,
    estimators: Mapping[str, Estimator] | None = None,
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
    level: float = 0.95,
    advance: Callable[[str], None] | None = None,
) -> list[Detector]:
    """How well each set of features tells the label of samples in held-out groups, and how much above baselines.

    Args:
        features: What the detectors and baselines see; all are judged on the same splits.
        label: `(sample,)`, 0 or 1.
        group: `(sample,)` names of what depends on each other; None: each sample by itself.
        stratum: `(sample,)` names of kinds of task, for the AUC within strata.
        part: `(sample,)` names of datasets that were put together; pairs are compared within one.
        ids: `(sample,)` unique names that make the result independent of the order of samples.
        estimators: Further estimators by name: each also judges the features named "all heads".
        n_folds: Folds per repeat.
        n_repeats: Repeats with other folds; AUCs are means over them, probabilities are averaged.
        seed: Start of the random numbers.
        level: Coverage of the intervals.
        advance: Called with a name after every detector.

    Undefined:
        A detector whose groups cannot be split has None everywhere and a `reason`; so have increments where the
        table allows no baseline.

    Source:
        Ridge logistic regression on all heads, as in Chuang et al. 2024 (Lookback Lens); intervals by
        `auc_of_folds` and `gain_of_folds`.

    Example:
        >>> column = np.arange(40.0)[:, None]
        >>> found = judge_detectors([Features("x", "detector", (column,))], np.arange(40) // 20, n_repeats=1)
        >>> [(one.name, one.role) for one in found]
        [('x', 'detector'), ('majority', 'baseline')]
    """
    tell = advance or (lambda _: None)
    runs: list[tuple[str, Features, Estimator]] = [(one.name, one, "logistic") for one in features]
    for name, estimator in (estimators or {}).items():
        runs += [(f"{one.name} ({name})", one, estimator) for one in features if one.name == "all heads"]
    scored: list[tuple[str, Features, HeldOut]] = []
    for name, one, estimator in runs:
        heldout = held_out_scores(
            one,
            label,
            group=group,
            ids=ids,
            part=part,
            estimator=estimator,
            n_folds=n_folds,
            n_repeats=n_repeats,
            seed=seed,
        )
        scored.append((name, one, heldout))
        tell(name)
    judge = _Judge(label.astype(np.int64), group, stratum, part, level)
    gains = judge.gains(scored)
    judged = [judge.detector(name, one, heldout, gains) for name, one, heldout in scored]
    return [*judged, judge.majority()]


@dataclass(frozen=True)
class _Judge:
    """The samples on which every detector is judged."""

    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"] | None
    stratum: Shaped[np.ndarray, " sample"] | None
    part: Shaped[np.ndarray, " sample"] | None
    level: float

    def nothing(self, reason: str) -> Estimate:
        """Return an estimate of nothing."""
        n_groups = len(self.label if self.group is None else np.unique(self.group))
        return Estimate(None, None, None, self.level, len(self.label), n_groups, "none", reason=reason)

    def splits(self, heldout: HeldOut, *, within: bool = False) -> Splits:
        """Return what can be compared with what: scores of one fit, of one dataset, and of one stratum if asked."""
        n = len(self.label)
        parts = np.zeros(n, dtype=np.int64) if self.part is None else group_codes(self.part)
        if within and self.stratum is not None:
            strata = group_codes(self.stratum)
            parts = strata + (int(strata.max()) + 1) * parts
        group = np.arange(n) if self.group is None else group_codes(self.group)
        return heldout.splits(group, parts)

    def area(self, heldout: HeldOut, *, within: bool = False) -> Estimate:
        """Return the AUC over pairs that can be compared."""
        if within and self.stratum is None:
            return self.nothing("no stratum is given")
        label = np.tile(self.label, heldout.n_repeats)
        return auc_of_folds(heldout.score.ravel(), label, self.splits(heldout, within=within), level=self.level)

    def gain(self, heldout: HeldOut, rival: HeldOut) -> Estimate:
        """Return the AUC of one detector above that of another on the same splits."""
        label = np.tile(self.label, heldout.n_repeats)
        splits = self.splits(heldout)
        return gain_of_folds(heldout.score.ravel(), rival.score.ravel(), label, splits, level=self.level)

    def gains(self, scored: Sequence[tuple[str, Features, HeldOut]]) -> dict[str, tuple[str, Estimate, Estimate]]:
        """Return per detector the best baseline and the increments over it and over all together."""
        there = [(name, one, heldout) for name, one, heldout in scored if heldout.reason is None]
        rivals = {name: heldout for name, one, heldout in there if one.role == "baseline"}
        if not rivals:
            return {}
        areas = {name: self.area(heldout).estimate or 0.0 for name, heldout in rivals.items()}
        best = max(areas, key=lambda name: areas[name])
        together = ALL_BASELINES if ALL_BASELINES in rivals else best
        return {
            name: (best, self.gain(heldout, rivals[best]), self.gain(heldout, rivals[together]))
            for name, one, heldout in there
            if one.role == "detector"
        }

    def detector(
        self, name: str, one: Features, heldout: HeldOut, gains: Mapping[str, tuple[str, Estimate, Estimate]]
    ) -> Detector:
        """Return how one detector did."""
        n, n_features = len(self.label), one.matrix.shape[1]
        if heldout.reason is not None:
            no = self.nothing(heldout.reason)
            return Detector(
                name, one.role, heldout, n, n_features, no, no, None, no, no, None, None, (), heldout.reason
            )
        missing = self.nothing("a baseline" if one.role == "baseline" else "the table allows no baseline")
        best, over_best, over_all = gains.get(name, (None, missing, missing))
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
        """Return the baseline that knows only the base rate of each dataset."""
        n = len(self.label)
        parts = np.zeros(n, dtype=np.int64) if self.part is None else group_codes(self.part)
        chance = (np.bincount(parts, weights=self.label) / np.maximum(np.bincount(parts), 1))[parts]
        heldout = HeldOut(np.zeros((1, n)), np.zeros((1, n), dtype=np.int64), chance)
        no = self.nothing("a baseline")
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
            constant if self.stratum is not None else self.nothing("no stratum is given"),
            None,
            no,
            no,
            brier if n else None,
            error if n else None,
            (),
            reason,
        )
