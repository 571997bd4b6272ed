"""Detectors beside baselines: AUCs of one fit, increments of nested models, and both within strata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.svm import LinearSVC

from foretell.stats.detectors.baselines import baselines, smooth
from foretell.stats.detectors.detector import Detector, judge_detectors
from foretell.stats.detectors.features import Features, head_features
from foretell.stats.detectors.held_out_scores import CrossValidation, HeldOutScores
from foretell.stats.detectors.learners import Estimator
from tests.stats.fingerprints import head_rows


def heads(matrix: np.ndarray) -> Features:
    return Features("all heads", "detector", (matrix,))


def baseline(matrix: np.ndarray, name: str = "known") -> Features:
    return Features(name, "baseline", (matrix,))


def by_name(*features: Features, label: np.ndarray, **options: Any) -> dict[str, Detector]:
    found, _ = judge_detectors(features, label, **{"n_repeats": 2, **options})
    return {one.name: one for one in found}


def pair_auc(heldout: HeldOutScores, label: np.ndarray, within: np.ndarray | None = None) -> float:
    """Return the AUC over pairs of one fold (and code), mean over repeats, by scikit-learn."""
    areas = []
    codes = np.zeros(len(label)) if within is None else within
    for score, fold in zip(heldout.score, heldout.fold, strict=True):
        wins = pairs = 0.0
        for value in np.unique(fold):
            for code in np.unique(codes):
                here = (fold == value) & (codes == code)
                n = int(label[here].sum()) * int((1 - label[here]).sum())
                if n:
                    wins, pairs = wins + n * float(roc_auc_score(label[here], score[here])), pairs + n
        areas.append(wins / pairs)
    return float(np.mean(areas))


def test_auc_is_that_of_pairs_scored_by_one_fit(generator: np.random.Generator) -> None:
    label, stratum = np.arange(60) % 2, np.arange(60) % 3
    matrix = generator.normal(size=(60, 3)) + 0.7 * label[:, None]
    one = by_name(heads(matrix), label=label, stratum=stratum, n_folds=3)["all heads"]
    assert one.auc.estimate == pytest.approx(pair_auc(one.heldout, label), abs=1e-12)
    assert one.within_strata.estimate == pytest.approx(pair_auc(one.heldout, label, stratum), abs=1e-12)
    assert one.brier == pytest.approx(brier_score_loss(label, one.heldout.probability), abs=1e-12)


@pytest.mark.parametrize("stratified", [False, True])
def test_an_increment_is_the_difference_of_nested_aucs_on_the_same_samples(
    stratified: bool, generator: np.random.Generator
) -> None:
    label = np.arange(90) % 2
    stratum = np.arange(90) % 3 if stratified else None
    known, matrix = generator.normal(size=(90, 1)) + label[:, None], generator.normal(size=(90, 4))
    matrix[:, 0] += label
    found, all_known = judge_detectors([heads(matrix), baseline(known)], label, stratum=stratum, n_repeats=2)
    assert all_known.scores is not None
    nested = CrossValidation(label, n_repeats=2).scores(heads(matrix), beside=all_known.scores)
    expected = pair_auc(nested, label, stratum) - pair_auc(all_known.scores, label, stratum)
    assert found[0].increment.estimate == pytest.approx(expected, abs=1e-12)
    assert found[0].evidence == found[0].increment
    assert found[0].best_baseline == "known"


def test_a_signal_that_the_baselines_know_adds_nothing(generator: np.random.Generator) -> None:
    for effect in (0.0, 1.5):
        label = np.arange(120) % 2
        known = generator.normal(size=(120, 1)) + effect * label[:, None]
        one = by_name(heads(known), baseline(known), label=label)["all heads"]
        assert one.increment.estimate == pytest.approx(0, abs=0.02)
        assert one.increment.p_above is not None
        assert one.increment.p_above > 0.05
        assert (one.auc.estimate or 0) > (0.7 if effect else 0.3)


def test_a_signal_that_is_taken_out_altogether_adds_exactly_nothing(generator: np.random.Generator) -> None:
    label = np.arange(80) % 2
    known = generator.normal(size=(80, 1)) + label[:, None]
    signal = Features("all heads", "detector", (known,), beside=(np.zeros((80, 1)),))
    one = by_name(signal, baseline(known), label=label)["all heads"]
    assert one.increment.estimate == 0.0
    assert one.increment.p_above is not None
    assert one.increment.p_above >= 0.5
    assert (one.auc.lower or 0) > 0.5


def test_what_baselines_do_not_know_is_an_increment(generator: np.random.Generator) -> None:
    known, new = generator.normal(size=(2, 300))
    label = (generator.random(300) < expit(known + 1.5 * new)).astype(np.int64)
    found = by_name(heads(np.column_stack([new, known])), baseline(known[:, None]), label=label)["all heads"]
    assert (found.increment.lower or 0) > 0.05
    assert (found.increment.p_above or 1) < 0.001


def test_a_signal_of_a_baselines_other_shape_adds_nothing(generator: np.random.Generator) -> None:
    length = generator.normal(4.0, 0.8, size=300)
    label = (generator.random(300) < expit(3 * ((length - 4) ** 2 - 0.5))).astype(np.int64)
    curve = np.column_stack([(length - 4) ** 2 + 0.1 * generator.normal(size=300)])
    straight, curved = (
        by_name(heads(curve), baseline(matrix), label=label)["all heads"].increment
        for matrix in (length[:, None], smooth(length))
    )
    assert (straight.lower or 0) > 0.1
    assert (curved.p_above or 0) > 0.01


def test_without_a_baseline_the_evidence_is_the_auc_over_one_half(generator: np.random.Generator) -> None:
    label = np.arange(80) % 2
    one = by_name(heads(generator.normal(size=(80, 2)) + label[:, None]), label=label)["all heads"]
    assert (one.increment.estimate, one.increment.reason) == (None, "the table has no baseline")
    assert one.evidence.estimate == pytest.approx((one.auc.estimate or 0) - 0.5, abs=1e-12)
    assert (one.evidence.p_above or 1) < 0.01
    assert one.best_baseline is None


@pytest.mark.parametrize(
    "alone", [np.arange(60) % 2, np.r_[np.arange(30), np.arange(30)] % 2], ids=["no group", "groups of two"]
)
def test_a_perfect_detector_has_a_p_value_although_its_variance_is_zero(alone: np.ndarray) -> None:
    group = None if alone[0] == alone[1] else np.arange(60) // 2 * 2 + alone
    one = by_name(heads(10.0 * alone[:, None]), label=alone, group=group)["all heads"]
    assert one.auc.estimate == 1.0
    assert one.evidence.estimate == 0.5
    assert one.evidence.p_above is not None
    assert 0 < one.evidence.p_above < 1e-4


def test_a_detector_of_a_constant_has_a_p_value_of_one_half() -> None:
    one = by_name(heads(np.ones((60, 3))), label=np.arange(60) % 2)["all heads"]
    assert (one.auc.estimate, one.evidence.estimate, one.evidence.p_above) == (0.5, 0.0, 0.5)


def test_strata_are_what_increments_are_compared_within(generator: np.random.Generator) -> None:
    kind = np.arange(240) % 3
    label = (generator.random(240) < np.array([0.9, 0.5, 0.1])[kind]).astype(np.int64)
    matrix = generator.normal(size=(240, 30))
    matrix[:, :3] += 3 * np.eye(3)[kind]
    names = np.array(["easy", "fair", "hard"])[kind]
    known, _ = baselines(names, {})
    found = by_name(heads(matrix), *known, label=label, stratum=names)
    signal, task = found["all heads"], found["kind of task"]
    assert (signal.auc.lower or 0) > 0.6
    assert signal.within_strata.lower is not None
    assert signal.within_strata.lower < 0.5
    assert task.within_strata.estimate == 0.5
    assert (signal.evidence.p_above or 0) > 0.05
    assert signal.best_baseline == "kind of task"


def test_strata_of_one_label_leave_nothing_to_compare(generator: np.random.Generator) -> None:
    label = np.arange(60) % 2
    stratum = np.array(["a", "b"])[label]
    known, _ = baselines(stratum, {})
    one = by_name(heads(generator.normal(size=(60, 2))), *known, label=label, stratum=stratum)["all heads"]
    assert (one.within_strata.estimate, one.within_strata.reason) == (
        None,
        "no stratum has held-out samples of both labels",
    )
    assert one.increment.estimate is one.evidence.estimate is one.evidence.p_above is None
    assert one.evidence.reason
    assert one.auc.estimate is not None


def test_all_baselines_are_one_model_with_words_last(generator: np.random.Generator) -> None:
    label = np.arange(80) % 2
    topic = ["rain wind cloud", "bread flour oven"]
    answer = [topic[one if generator.random() < 0.8 else 1 - one] for one in label]
    columns = {"mean_logprob": generator.normal(size=80), "n_tokens_generated": generator.normal(9, 1, size=80)}
    known, _ = baselines(None, columns, answer)
    found = by_name(heads(generator.normal(size=(80, 2))), *known, label=label)
    assert list(found) == [
        "all heads",
        "answer length",
        "log-probability",
        "words of the answer",
        "all baselines",
        "majority",
    ]
    assert found["all heads"].best_baseline == "words of the answer"
    assert found["all baselines"].n_features == sum(one.n_columns for one in known)
    assert (found["all baselines"].auc.lower or 0) > 0.5
    for name, one in found.items():
        assert (one.role == "baseline") == (name != "all heads")
        assert one.role == "detector" or one.increment.estimate is None
    single = by_name(heads(generator.normal(size=(80, 2))), known[0], label=label)
    assert "all baselines" not in single


@pytest.mark.parametrize("estimator", ["random-forest", "gradient-boosting", LinearSVC(), RandomForestClassifier(10)])
def test_any_estimator_plugs_in(generator: np.random.Generator, estimator: Estimator) -> None:
    label = np.arange(60) % 2
    matrix = generator.normal(size=(60, 3)) + 2.0 * label[:, None]
    matrix[0, 0] = np.nan
    first, again = (
        by_name(heads(matrix), label=label, estimators={"other": estimator}, n_folds=2, n_repeats=1) for _ in range(2)
    )
    one = first["all heads (other)"]
    assert (one.auc.estimate or 0) > 0.85
    assert one.brier is not None
    assert one.auc == again["all heads (other)"].auc


def test_an_estimator_is_held_to_baselines_that_it_has_fitted_itself(generator: np.random.Generator) -> None:
    first, second = generator.normal(size=(2, 400))
    label = (generator.random(400) < expit(4 * np.sign(first * second))).astype(np.int64)
    known = baseline(np.column_stack([first, second]))
    noise = heads(generator.normal(size=(400, 3)))
    options: dict[str, Any] = {"estimators": {"trees": "gradient-boosting"}, "n_folds": 3, "n_repeats": 1}
    none = by_name(noise, known, label=label, **options)["all heads (trees)"]
    assert (none.increment.p_above or 0) > 0.05  # trees see the interaction of the baselines, the line does not
    signal = heads(np.column_stack([first, second]))
    only_first = by_name(signal, baseline(first[:, None]), label=label, **options)
    assert (only_first["all heads (trees)"].increment.lower or 0) > 0.1
    assert (only_first["all heads"].increment.p_above or 0) > 0.01


@pytest.mark.parametrize("swap", ["order", "label"])
def test_order_of_samples_and_names_of_labels_change_no_increment(swap: str, generator: np.random.Generator) -> None:
    label = np.arange(60) % 2
    matrix, known = generator.normal(size=(60, 5)) + 0.5 * label[:, None], generator.normal(size=(60, 1))
    stratum, ids = np.arange(60) % 3, np.arange(60)

    def judged(at: np.ndarray, truth: np.ndarray) -> Detector:
        options: dict[str, Any] = {"stratum": stratum[at], "ids": ids[at], "seed": 1}
        return by_name(heads(matrix[at]), baseline(known[at]), label=truth[at], **options)["all heads"]

    first = judged(ids, label)
    second = judged(ids, 1 - label) if swap == "label" else judged(generator.permutation(60), label)
    for name in ("auc", "within_strata", "increment", "evidence"):
        one, other = getattr(first, name), getattr(second, name)
        assert (other.estimate, other.lower, other.upper) == pytest.approx(
            (one.estimate, one.lower, one.upper), abs=1e-9
        )
    assert second.evidence.p_above == pytest.approx(first.evidence.p_above, abs=1e-9)
    assert second.brier == pytest.approx(first.brier, abs=1e-6)


def test_groups_widen_increments(generator: np.random.Generator) -> None:
    group = np.repeat(np.arange(30), 6)
    label = (np.arange(30) % 2)[group]
    matrix = (generator.normal(size=(30, 2)) + 0.6 * (np.arange(30) % 2)[:, None])[group]
    known = generator.normal(size=(180, 1))
    apart, together = (
        by_name(heads(matrix), baseline(known), label=label, group=one)["all heads"].increment for one in (None, group)
    )
    assert (apart.n_groups, together.n_groups) == (180, 30)
    assert None not in (apart.lower, apart.upper, together.lower, together.upper)
    assert (together.upper or 0) - (together.lower or 0) > 1.5 * ((apart.upper or 0) - (apart.lower or 0))


def test_datasets_put_together_keep_their_base_rates_apart(generator: np.random.Generator) -> None:
    dataset = np.repeat(["a", "b"], 60)
    label = (generator.random(120) < np.repeat([0.2, 0.8], 60)).astype(np.int64)
    matrix = generator.normal(size=(120, 5)) + 10.0 * (dataset == "b")[:, None]
    found = by_name(heads(matrix), label=label, dataset=dataset, n_repeats=3)
    one = found["all heads"]
    assert one.auc.upper is not None
    assert 0.3 < (one.auc.estimate or 0) < 0.66
    assert (one.brier or 1) < 0.2
    assert one.auc.estimate == pytest.approx(pair_auc(one.heldout, label, dataset == "b"), abs=1e-12)
    majority = np.mean([label[dataset == name].var() for name in ("a", "b")])
    assert found["majority"].brier == pytest.approx(majority, abs=1e-12)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (np.ones(10, dtype=np.int64), "all 10 samples have one label"),
        ((np.arange(10) == 0).astype(np.int64), "only 1 group has label 1: splitting needs at least 2"),
    ],
)
def test_hopeless_data_have_a_reason(label: np.ndarray, reason: str) -> None:
    known = baseline(np.arange(10.0)[:, None])
    for one in by_name(heads(np.arange(10.0)[:, None]), known, label=label).values():
        if one.name != "majority":
            assert one.reason == one.auc.reason == reason
            assert one.auc.estimate is one.brier is one.increment.estimate is one.evidence.p_above is None
            assert one.reliability == ()


def test_no_column_is_a_reason() -> None:
    for known in ([], [baseline(np.arange(10.0)[:, None])]):
        one = by_name(heads(np.empty((10, 0))), *known, label=np.arange(10) % 2)["all heads"]
        assert one.reason == "no feature column"
        assert one.evidence.reason == "no feature column"


def test_what_all_baselines_say_is_returned(generator: np.random.Generator) -> None:
    label = np.arange(40) % 2
    _, nothing = judge_detectors([heads(generator.normal(size=(40, 2)))], label, n_repeats=1)
    assert (nothing.scores, nothing.best) == (None, None)
    several = [baseline(np.arange(40.0)[:, None]), baseline(1.0 * label[:, None], "good")]
    _, known = judge_detectors(several, label, n_repeats=1)
    assert known.best == "good"
    assert known.scores is not None
    assert known.scores.score.shape == (1, 40)


def test_every_detector_is_reported(generator: np.random.Generator) -> None:
    names: list[str] = []
    features = [heads(generator.normal(size=(40, 2))), baseline(generator.normal(size=(40, 1)))]
    judge_detectors(features, np.arange(40) % 2, n_repeats=1, estimators={"svm": LinearSVC()}, advance=names.append)
    assert sorted(names) == ["all heads", "known", "svm"]


def test_one_head_is_lost_in_the_mean_and_found_by_one_row_per_sample() -> None:
    rows = head_rows(n_samples=80, n_heads=24, effect_in_one_head=1.5, noise=0.5)
    found = by_name(*head_features(rows.values, log_ratios="centred"), label=rows.label_of_sample)
    assert (found["all heads"].auc.lower or 0) > 0.55
    assert (found["best single head"].auc.lower or 0) > 0.8
    assert (found["mean over heads"].auc.estimate or 1) < 0.8


@pytest.mark.calibration
@pytest.mark.slow
@pytest.mark.parametrize("known_effect", [0.0, 1.5])
def test_nothing_is_found_in_noise_more_often_than_it_may(known_effect: float) -> None:
    found, gained, areas = [], [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        label = generator.permutation(np.arange(60) % 3 == 0).astype(np.int64)
        known, _ = baselines(None, {"mean_logprob": generator.normal(size=60) + known_effect * label})
        features = [heads(generator.normal(size=(60, 5))), *known]
        one = judge_detectors(features, label, n_folds=3, n_repeats=1, seed=seed)[0][0]
        assert one.auc.lower is not None
        assert one.increment.p_above is not None
        found.append(one.auc.lower > 0.5)
        gained.append(one.increment.p_above <= 0.05)
        areas.append(one.auc.estimate or 0)
    assert np.mean(found) <= 0.06
    assert np.mean(gained) <= 0.09  # 5 of 100, and what chance allows among 200
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)
