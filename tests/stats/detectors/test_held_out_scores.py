"""Cross-validated scores: who is scored by what, and that nothing but the numbers decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.metrics import roc_auc_score

from foretell.stats.detectors import held_out_scores
from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import CrossValidation, HeldOutScores
from foretell.stats.detectors.learners import Linear
from foretell.stats.detectors.stages import Learner, Predictor, Training, fit_stage
from foretell.stats.folds import derived_seed, grouped_folds


def features(matrix: np.ndarray, *, best: bool = False) -> Features:
    return Features("x", "detector", (matrix,), "best-column" if best else "given")


def planted(
    generator: np.random.Generator, n: int = 60, n_features: int = 4, effect: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(n) % 2
    return generator.normal(size=(n, n_features)) + effect * label[:, None], label


def mean_area(found: HeldOutScores, label: np.ndarray) -> float:
    """Return the mean of scikit-learn's AUC over folds and repeats."""
    areas = [
        roc_auc_score(label[fold == value], score[fold == value])
        for score, fold in zip(found.score, found.fold, strict=True)
        for value in np.unique(fold)
    ]
    return float(np.mean(areas))


def test_ranks_order_samples_by_the_comparisons_that_the_auc_makes(generator: np.random.Generator) -> None:
    matrix, label = planted(generator)
    found = CrossValidation(label, n_folds=4, n_repeats=3, seed=2).scores(features(np.round(matrix)))
    expected = np.zeros((3, len(label)))
    for repeat, sample in np.ndindex(expected.shape):
        score, fold = found.score[repeat], found.fold[repeat]
        others = (fold == fold[sample]) & (np.arange(len(label)) != sample)
        expected[repeat, sample] = np.mean((score[others] < score[sample]) + 0.5 * (score[others] == score[sample]))
    assert found.ranks() == pytest.approx(expected.mean(axis=0), abs=1e-12)
    # Adding a number to all scores of one fold, as a base rate does, changes no rank.
    shifted = replace(found, score=found.score + 5.0 * found.fold)
    assert shifted.ranks() == pytest.approx(found.ranks(), abs=1e-12)


def test_a_sample_without_others_in_its_fold_has_no_rank() -> None:
    fold = np.array([[0, 1, 1], [0, 1, 1]])
    found = HeldOutScores(np.array([[3.0, 1.0, 2.0]] * 2), fold, None, np.empty((2, 2, 3)))
    assert found.ranks()[1:].tolist() == [0.0, 1.0]
    assert np.isnan(found.ranks()[0])
    nothing = CrossValidation(np.zeros(3, dtype=np.int64)).scores(features(np.ones((3, 1))))
    assert nothing.reason is not None
    assert np.isnan(nothing.ranks()).all()


def test_every_fold_is_a_stage_on_top_of_the_base_rate(generator: np.random.Generator) -> None:
    matrix, group = generator.normal(size=(60, 4)), np.arange(60) // 2
    label = group % 2
    folds = CrossValidation(label, group=group, n_folds=4, n_repeats=2, seed=5)
    found = folds.scores(features(matrix))
    for repeat in range(2):
        split = grouped_folds(label, group, ids=np.arange(60), n_folds=4, seed=derived_seed(5, "repeat", repeat))
        assert (found.fold[repeat] == split.fold).all()
        for fold in range(4):
            train, heldout = split.train(fold), split.heldout(fold)
            base = float(logit((label[train].sum() + 0.5) / (train.sum() + 1.0)))
            training = Training(label[train], group[train], np.full(int(train.sum()), base))
            learner = Linear(np.zeros(4, dtype=np.int64))
            stage = fit_stage(learner, matrix[train], training, seed=derived_seed(5, "fit", repeat, fold))
            expected = base + max(stage.slope, 1e-3) * stage.change(matrix[heldout])
            assert found.score[repeat, heldout] == pytest.approx(expected, abs=1e-12)
            assert found.inner[repeat, fold, train] == pytest.approx(base + stage.inner, abs=1e-12)
            assert np.isnan(found.inner[repeat, fold, heldout]).all()
    assert found.probability == pytest.approx(expit(found.score).mean(axis=0), abs=1e-12)


@pytest.mark.parametrize("model", [LogisticRegression(C=0.5), Perceptron(random_state=0)])
def test_another_estimator_ranks_as_it_does_by_itself(model: Any, generator: np.random.Generator) -> None:
    matrix, label = planted(generator)
    found = CrossValidation(label, n_folds=3, n_repeats=1).scores(features(matrix), estimator=model)
    for fold in range(3):
        here = found.fold[0] == fold
        model.fit(matrix[~here], label[~here])
        order = np.argsort(model.decision_function(matrix[here]))
        assert (np.diff(found.score[0, here][order]) >= -1e-12).all()


class Spy:
    """A learner that remembers every training set and every set that it scored, by the first column."""

    n_candidates = 1

    def __init__(self) -> None:
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    def learn(self, features: np.ndarray, training: Training, *, only: int | None, seed: int) -> Predictor:
        def predict(others: np.ndarray) -> np.ndarray:
            self.seen.append((features[:, 0].astype(int), others[:, 0].astype(int)))
            return np.zeros((1, len(others)))

        return predict


@pytest.mark.parametrize("dataset", [None, np.arange(60) % 2], ids=["one dataset", "pooled"])
def test_no_group_is_in_training_and_test_of_any_model(
    dataset: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, label = np.arange(60) // 4, (np.arange(60) // 4) % 2
    spy = Spy()

    def learner(*_: object) -> Learner:
        return spy

    def uncentred(matrix: np.ndarray, *_: object) -> np.ndarray:
        return matrix

    monkeypatch.setattr(held_out_scores, "_learner", learner)
    monkeypatch.setattr(held_out_scores, "_centred", uncentred)
    folds = CrossValidation(label, group=group, dataset=dataset, n_folds=3, n_repeats=2)
    first = folds.scores(features(np.arange(60.0)[:, None]))
    folds.scores(features(np.arange(60.0)[:, None]), beside=first)
    assert len(spy.seen) == 2 * 2 * 3 * (3 + 1)  # calls, repeats, folds; inner folds and the fit on all
    for train, scored in spy.seen:
        assert set(group[train]).isdisjoint(group[scored])
    assert {len(train) + len(scored) for train, scored in spy.seen} < {60, *range(60)}


def test_a_stage_is_fitted_to_what_is_known_by_models_that_did_not_see_the_group(
    generator: np.random.Generator,
) -> None:
    matrix, label = planted(generator)
    folds = CrossValidation(label, n_folds=3, n_repeats=1)
    known = folds.scores(features(matrix[:, :1]))
    found = folds.scores(features(matrix[:, 1:]), beside=known)
    for fold in range(3):
        here = known.fold[0] == fold
        training = Training(label[~here], np.flatnonzero(~here), known.inner[0, fold, ~here])
        learner = Linear(np.zeros(3, dtype=np.int64))
        stage = fit_stage(learner, matrix[~here, 1:], training, seed=derived_seed(0, "fit", 0, fold))
        expected = known.score[0, here] + stage.slope * stage.change(matrix[here, 1:])
        assert found.score[0, here] == pytest.approx(expected, abs=1e-12)


def test_the_scores_that_are_known_are_left_as_they_are(generator: np.random.Generator) -> None:
    matrix, label = planted(generator)
    folds = CrossValidation(label, n_repeats=1)
    known = folds.scores(features(matrix[:, :1]))
    before = known.score.copy(), known.inner.copy()
    folds.scores(features(matrix[:, 1:]), beside=known)
    assert (known.score == before[0]).all()
    np.testing.assert_array_equal(known.inner, before[1])


def test_a_stage_with_slope_zero_adds_exactly_nothing(generator: np.random.Generator) -> None:
    matrix, label = planted(generator, n=100, effect=1.5)
    folds = CrossValidation(label, n_folds=4, n_repeats=3)
    known = folds.scores(features(matrix))
    untouched = 0
    for _ in range(10):
        found = folds.scores(features(generator.normal(size=(100, 1))), beside=known)
        for repeat in range(3):
            for fold in range(4):
                train, here = known.fold[repeat] != fold, known.fold[repeat] == fold
                if (found.inner[repeat, fold, train] == known.inner[repeat, fold, train]).all():
                    untouched += 1
                    assert (found.score[repeat, here] == known.score[repeat, here]).all()
    assert untouched >= 30  # of 120: noise often has a slope of 0


@pytest.mark.parametrize("best", [False, True])
def test_the_order_of_samples_changes_nothing(best: bool, generator: np.random.Generator) -> None:
    matrix, label = planted(generator, n=50)
    ids = np.array([f"s{index:02d}" for index in range(50)])
    group, dataset = np.arange(50) // 2, np.arange(50) % 4 // 2
    order = generator.permutation(50)

    def scored(at: np.ndarray) -> HeldOutScores:
        folds = CrossValidation(label[at], group=group[at], ids=ids[at], dataset=dataset[at], n_repeats=2, seed=1)
        known = folds.scores(features(matrix[at, :1], best=best))
        return folds.scores(features(matrix[at, 1:], best=best), beside=known)

    first, moved = scored(np.arange(50)), scored(order)
    assert (moved.fold == first.fold[:, order]).all()
    assert (moved.score == first.score[:, order]).all()
    np.testing.assert_array_equal(moved.inner, first.inner[:, :, order])


def test_names_of_samples_groups_and_datasets_change_nothing(generator: np.random.Generator) -> None:
    matrix, label = planted(generator, n=48)
    number = np.arange(48)

    def scored(prefix: str) -> HeldOutScores:
        names: dict[str, Any] = {
            "ids": np.array([f"{prefix}{index:03d}" for index in number]),
            "group": np.array([f"{prefix}{index:03d}" for index in number // 3]),
            "dataset": np.array([f"{prefix}{index}" for index in number // 24]),
        }
        return CrossValidation(label, **names, n_repeats=1).scores(features(matrix))

    assert (scored("a").score == scored("zebra-").score).all()


@pytest.mark.parametrize("grouped", [False, True])
def test_swapped_labels_swap_the_scores(grouped: bool, generator: np.random.Generator) -> None:
    matrix, label = planted(generator, n=60)
    group = np.arange(60) // 2 if grouped else None

    def scored(truth: np.ndarray) -> HeldOutScores:
        folds = CrossValidation(truth, group=group, n_repeats=2)
        return folds.scores(features(matrix[:, 1:]), beside=folds.scores(features(matrix[:, :1])))

    plain, swapped = scored(label), scored(1 - label)
    assert (swapped.fold == plain.fold).all()
    assert swapped.score == pytest.approx(-plain.score, abs=1e-6)
    assert swapped.probability == pytest.approx(1 - np.asarray(plain.probability), abs=1e-6)


def test_an_affine_transform_of_a_column_changes_nothing(generator: np.random.Generator) -> None:
    matrix, label = planted(generator)
    folds = CrossValidation(label, n_repeats=1)
    moved = matrix * np.array([1e-5, 3.0, -1.0, 1e5]) + np.array([1.0, -2e3, 0.0, 7.0])
    assert folds.scores(features(moved)).score == pytest.approx(folds.scores(features(matrix)).score, abs=1e-5)


def test_only_the_base_rate_of_its_dataset_is_known_of_nothing() -> None:
    dataset = np.repeat(["a", "b"], 40)
    label = np.r_[np.arange(40) % 4 == 0, np.arange(40) % 4 != 0].astype(np.int64)
    found = CrossValidation(label, dataset=dataset, n_folds=4, n_repeats=2).nothing()
    for repeat in range(2):
        for fold in range(4):
            here = found.fold[repeat] == fold
            for name in ("a", "b"):
                train = ~here & (dataset == name)
                base = logit((label[train].sum() + 0.5) / (train.sum() + 1))
                assert found.score[repeat, here & (dataset == name)] == pytest.approx(base)
                assert found.inner[repeat, fold, train] == pytest.approx(base)
            assert np.isnan(found.inner[repeat, fold, here]).all()
    assert found.probability is not None
    assert found.probability[:40] == pytest.approx(0.25, abs=0.03)


def test_columns_of_pooled_datasets_are_centred_on_their_training_samples(generator: np.random.Generator) -> None:
    matrix, label = planted(generator, n=80, effect=1.0)
    dataset = np.arange(80) % 4 // 2
    folds = CrossValidation(label, dataset=dataset, n_repeats=1)
    shift = np.where(dataset[:, None] == 1, 1e4, -3.0)
    near, far = (folds.scores(features(values)).score for values in (matrix, matrix + shift))
    assert far == pytest.approx(near, abs=1e-6)
    one = CrossValidation(label, n_repeats=1)
    assert mean_area(one.scores(features(matrix + shift)), label) < mean_area(one.scores(features(matrix)), label)


def test_datasets_are_in_every_fold() -> None:
    dataset, label = np.repeat([0, 1, 2], 30), np.arange(90) % 2
    found = CrossValidation(label, dataset=dataset, n_folds=5, n_repeats=1).nothing()
    for fold in range(5):
        here = found.fold[0] == fold
        assert len({*zip(dataset[here], label[here], strict=True)}) == 6


def test_a_dataset_too_small_to_be_in_every_fold_takes_no_folds_away() -> None:
    dataset, label = np.r_[np.zeros(40, dtype=np.int64), 1, 1, 1], np.r_[np.arange(40) % 2, 0, 1, 1]
    assert CrossValidation(label, dataset=dataset, n_folds=5, n_repeats=1).nothing().n_folds == 5


def test_a_detector_that_shows_nothing_inside_still_has_its_own_ranking() -> None:
    generator = np.random.default_rng(2)
    for _ in range(5):
        found = CrossValidation(np.arange(40) % 2, n_repeats=2).scores(features(generator.normal(size=(40, 6))))
        for score, fold in zip(found.score, found.fold, strict=True):
            for value in range(5):
                assert len(np.unique(score[fold == value])) == np.sum(fold == value)


def test_splits_hold_fold_and_stratum_apart(generator: np.random.Generator) -> None:
    matrix, label = planted(generator, n=24)
    found = CrossValidation(label, n_folds=3, n_repeats=2).scores(features(matrix))
    stratum, group = np.arange(24) % 2, np.arange(24) // 2
    splits = found.splits(group, stratum)
    assert (splits.repeat == np.repeat([0, 1], 24)).all()
    assert (splits.group == np.tile(group, 2)).all()
    seen = {*zip(splits.within.tolist(), found.fold.ravel().tolist(), np.tile(stratum, 2).tolist(), strict=True)}
    assert len(seen) == len(set(splits.within)) == 6
    assert splits.inflation == pytest.approx(1 / 2 + 3 / 2 * 1)


@pytest.mark.parametrize(
    ("label", "group", "reason"),
    [
        (np.ones(10, dtype=np.int64), None, "all 10 samples have one label"),
        (np.zeros(10, dtype=np.int64), None, "all 10 samples have one label"),
        (np.arange(10) // 9, None, "only 1 group has label 1: splitting needs at least 2"),
        (np.arange(10) % 2, np.zeros(10), "only 1 group has label 0: splitting needs at least 2"),
        (np.empty(0, dtype=np.int64), None, "no samples"),
    ],
)
def test_groups_that_cannot_be_split_have_a_reason_and_no_score(
    label: np.ndarray, group: np.ndarray | None, reason: str
) -> None:
    folds = CrossValidation(label, group=group)
    for found in (
        folds.nothing(),
        folds.scores(features(np.zeros((len(label), 1)))),
        folds.scores(features(np.zeros((len(label), 1))), beside=folds.nothing()),
    ):
        assert (found.reason, found.n_repeats, found.n_folds, found.probability) == (reason, 0, 1, None)
        assert found.score.shape == (0, len(label))


def test_no_column_is_a_reason(generator: np.random.Generator) -> None:
    folds = CrossValidation(np.arange(10) % 2)
    empty = folds.scores(features(np.empty((10, 0))))
    assert empty.reason == "no feature column"
    beside = folds.scores(features(np.zeros((10, 1))), beside=empty)
    assert beside.reason == "no feature column"


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
@pytest.mark.parametrize("best", [False, True])
def test_columns_without_a_value_or_a_difference_leave_the_base_rate(value: float, best: bool) -> None:
    folds = CrossValidation(np.arange(30) % 3 // 2, n_repeats=1)
    found = folds.scores(features(np.full((30, 3), value), best=best))
    assert (np.ptp(found.score[0][found.fold[0] == 0])) == 0
    beside = folds.scores(features(np.full((30, 3), value), best=best), beside=folds.nothing())
    assert beside.score == pytest.approx(folds.nothing().score, abs=0.2)
    assert (np.ptp(beside.score[0][beside.fold[0] == 0])) == 0


def test_missing_values_are_no_obstacle(generator: np.random.Generator) -> None:
    matrix, label = planted(generator, n=80, effect=1.5)
    matrix[generator.random(matrix.shape) < 0.3] = np.nan
    found = CrossValidation(label, n_repeats=1).scores(features(matrix))
    assert np.isfinite(found.score).all()
    assert mean_area(found, label) > 0.75


def test_folds_fitted_side_by_side_give_the_same_to_the_bit(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix, label = planted(generator, n=90)
    one_by_one = CrossValidation(label, n_repeats=2).scores(features(matrix))
    monkeypatch.setattr(held_out_scores, "_LARGE", 4)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    together = CrossValidation(label, n_repeats=2).scores(features(matrix))
    assert np.array_equal(one_by_one.score, together.score)
    assert np.array_equal(one_by_one.inner, together.inner, equal_nan=True)


def test_a_baseline_is_fitted_once_and_other_blocks_are_another(generator: np.random.Generator) -> None:
    label, columns = np.arange(60) % 2, generator.normal(size=(60, 6))
    columns[:, 0] += label
    folds = CrossValidation(label, n_repeats=1)
    together = Features("x", "baseline", (columns,))
    apart = Features("x", "baseline", (columns[:, :1], columns[:, 1:]))
    assert folds.scores(together) is folds.scores(replace(together, name="y"))
    assert not np.array_equal(folds.scores(together).score, folds.scores(apart).score)
    assert folds.scores(replace(together, role="detector")).score.tolist() == folds.scores(together).score.tolist()


def test_one_given_split_is_fitted_on_what_it_does_not_hold_out(generator: np.random.Generator) -> None:
    matrix, label = planted(generator)
    held = np.arange(60) % 3 == 0
    found = CrossValidation(label, held=held, seed=5).scores(features(matrix))
    base = float(logit((label[~held].sum() + 0.5) / (40 + 1.0)))
    training = Training(label[~held], np.flatnonzero(~held), np.full(40, base))
    stage = fit_stage(Linear(np.zeros(4, dtype=np.int64)), matrix[~held], training, seed=derived_seed(5, "fit", 0, 0))
    assert found.score[:, held] == pytest.approx((base + stage.slope * stage.change(matrix[held]))[None], abs=1e-12)
    assert found.inner[0, 0, ~held] == pytest.approx(base + stage.inner, abs=1e-12)
    flipped = np.where(held, 1 - label, label)
    again = CrossValidation(flipped, held=held, seed=5).scores(features(matrix))
    np.testing.assert_array_equal(again.score[:, held], found.score[:, held])
