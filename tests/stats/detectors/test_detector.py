from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.svm import LinearSVC

from foretell.errors import InputError
from foretell.stats.detectors.baselines import baselines
from foretell.stats.detectors.detector import Detector, judge_detectors
from foretell.stats.detectors.features import Features, head_features
from foretell.stats.detectors.held_out_scores import Estimator, held_out_scores
from foretell.stats.detectors.transfer import ITSELF, OTHERS, TransferSet, transfer
from foretell.stats.folds import derived_seed, grouped_folds
from foretell.stats.forest.random_forest import judge_forest
from foretell.stats.verdicts.rules import detector_verdict
from tests.stats.fingerprints import head_rows


def _features(matrix: np.ndarray, name: str = "all heads") -> Features:
    return Features(name, "detector", (matrix,))


def _by_name(found: list[Detector]) -> dict[str, Detector]:
    return {one.name: one for one in found}


def test_held_out_scores_equal_scikit_learn_on_the_same_splits(generator: np.random.Generator) -> None:
    matrix, label = generator.normal(size=(60, 4)), np.arange(60) % 2
    group = np.arange(60) // 2
    model = LogisticRegression(C=0.5)
    found = held_out_scores(_features(matrix), label, group=group, estimator=model, n_repeats=1, seed=5)
    folds = grouped_folds(label, group, n_folds=5, seed=derived_seed(5, "repeat", 0))
    for fold in range(5):
        train, heldout = folds.train(fold), folds.heldout(fold)
        expected = LogisticRegression(C=0.5).fit(matrix[train], label[train])
        assert found.probability is not None
        assert found.probability[heldout] == pytest.approx(expected.predict_proba(matrix[heldout])[:, 1], abs=1e-12)
        assert found.score[0, heldout] == pytest.approx(expected.decision_function(matrix[heldout]), abs=1e-9)


def test_auc_is_that_of_pairs_scored_by_one_fit(generator: np.random.Generator) -> None:
    label = np.arange(60) % 2
    matrix = generator.normal(size=(60, 3)) + 0.7 * label[:, None]
    one = judge_detectors([_features(matrix)], label, n_folds=3, n_repeats=2, seed=1)[0]
    areas = []
    for repeat in range(2):
        wins = pairs = 0.0
        for fold in range(3):
            here = one.heldout.fold[repeat] == fold
            n = int(label[here].sum()) * int((1 - label[here]).sum())
            wins, pairs = wins + n * roc_auc_score(label[here], one.heldout.score[repeat, here]), pairs + n
        areas.append(wins / pairs)
    assert one.auc.estimate == pytest.approx(np.mean(areas), abs=1e-12)
    assert one.brier == pytest.approx(brier_score_loss(label, one.heldout.probability), abs=1e-12)


def test_a_stratum_is_seen_through(generator: np.random.Generator) -> None:
    stratum = np.array(["easy", "fair", "hard"])[np.arange(120) % 3]
    rate = np.array([0.9, 0.5, 0.1])[np.arange(120) % 3]
    label = (generator.random(120) < rate).astype(np.int64)
    matrix = generator.normal(size=(120, 30))
    matrix[:, :3] += 3 * np.eye(3)[np.arange(120) % 3]
    known, _ = baselines(stratum, {})
    found = _by_name(judge_detectors([_features(matrix), *known], label, stratum=stratum, n_repeats=3))
    heads, kind = found["all heads"], found["kind of task"]
    assert (heads.auc.estimate or 0) > 0.7
    assert heads.within_strata.lower is not None
    assert heads.within_strata.lower < 0.5
    assert kind.within_strata.estimate == 0.5
    assert (heads.increment.estimate or 0) < 0.05
    assert heads.best_baseline == "kind of task"
    verdict = detector_verdict(heads, n_positive=60, n_negative=60)
    assert verdict.verdict == "no signal found"
    assert "confounded by task type: within one type its AUC is" in verdict.why


def test_one_head_is_lost_in_pooled_rows_and_found_by_one_row_per_sample() -> None:
    rows = head_rows(n_samples=80, n_heads=24, effect_in_one_head=1.5, noise=0.5)
    forest = judge_forest(rows.features, rows.label, rows.sample, protocols=("grouped",), n_trees=20, n_jobs=1)
    found = _by_name(
        judge_detectors(head_features(rows.values, log_ratios="centred"), rows.label_of_sample, n_repeats=2)
    )
    assert (forest["grouped"].auc.estimate or 1) < 0.6
    assert (found["all heads"].auc.lower or 0) > 0.6
    assert (found["best single head"].auc.lower or 0) > 0.8
    assert (found["mean over heads"].auc.estimate or 1) < 0.8
    verdict = detector_verdict(found["all heads"], n_positive=40, n_negative=40)
    assert verdict.verdict == "signal"
    assert "no baseline to compare" in verdict.why


def test_increment_over_baselines_that_know_as_much_is_none(generator: np.random.Generator) -> None:
    label = np.arange(100) % 2
    known = generator.normal(size=100) + 1.5 * label
    found, _ = baselines(None, {"mean_logprob": known, "n_tokens_generated": generator.normal(size=100)})
    heads = np.column_stack([known, generator.normal(size=(100, 5))])
    detectors = _by_name(judge_detectors([_features(heads), *found], label, n_repeats=2))
    gain = detectors["all heads"].increment_over_all
    assert gain.lower is not None
    assert gain.upper is not None
    assert gain.lower < 0 < gain.upper
    verdict = detector_verdict(detectors["all heads"], n_positive=50, n_negative=50)
    assert verdict.verdict == "weak signal"
    assert "no improvement over the baselines is shown" in verdict.why
    blind = _by_name(judge_detectors([_features(heads), found[0]], label, n_repeats=2))["all heads"]
    assert (blind.increment.lower or 0) > 0


def test_baselines_that_a_table_lacks_are_noted(generator: np.random.Generator) -> None:
    found, notes = baselines(
        np.repeat("one", 10), {"n_tokens_prompt": generator.normal(size=10), "mean_logprob": np.ones(10)}
    )
    assert [one.name for one in found] == ["segment lengths"]
    assert len(notes) == 3
    assert any("log-probability" in note for note in notes)
    everything, no_notes = baselines(
        np.arange(10) % 2,
        {
            name: generator.normal(size=10)
            for name in ("n_tokens_prompt", "n_tokens_query", "n_tokens_generated", "mean_logprob")
        },
    )
    assert [one.name for one in everything][-1] == "all baselines"
    assert everything[-1].matrix.shape == (10, 6)
    assert no_notes == []


@pytest.mark.parametrize("estimator", ["random-forest", "gradient-boosting", LinearSVC(), RandomForestClassifier(10)])
def test_any_estimator_plugs_in(generator: np.random.Generator, estimator: Estimator) -> None:
    label = np.arange(60) % 2
    matrix = generator.normal(size=(60, 3)) + 2.0 * label[:, None]
    matrix[0, 0] = np.nan
    runs = [
        judge_detectors(
            [_features(matrix)],
            label,
            estimators={"other": estimator},
            n_folds=2,
            n_repeats=1,
        )
        for _ in range(2)
    ]
    one = _by_name(runs[0])["all heads (other)"]
    assert (one.auc.estimate or 0) > 0.85
    assert (one.brier is None) == isinstance(estimator, LinearSVC)
    assert one.auc == _by_name(runs[1])["all heads (other)"].auc


def test_an_estimator_without_a_score_or_a_name_is_refused(generator: np.random.Generator) -> None:
    from sklearn.linear_model import Perceptron, SGDRegressor

    matrix, label = generator.normal(size=(20, 2)), np.arange(20) % 2
    assert held_out_scores(_features(matrix), label, estimator=Perceptron(), n_repeats=1).probability is None
    with pytest.raises(InputError, match="neither predict_proba nor decision_function"):
        held_out_scores(_features(matrix), label, estimator=SGDRegressor(), n_repeats=1)


def test_order_of_samples_and_seed(generator: np.random.Generator) -> None:
    label = np.arange(50) % 2
    matrix, ids = (
        generator.normal(size=(50, 60)) + label[:, None] * 0.2,
        np.array([f"s{index:02d}" for index in range(50)]),
    )
    stratum = np.arange(50) % 3
    order = generator.permutation(50)
    first = judge_detectors([_features(matrix)], label, stratum=stratum, ids=ids, n_repeats=2, seed=1)[0]
    moved = judge_detectors(
        [_features(matrix[order])], label[order], stratum=stratum[order], ids=ids[order], n_repeats=2, seed=1
    )[0]
    again = judge_detectors([_features(matrix)], label, stratum=stratum, ids=ids, n_repeats=2, seed=1)[0]
    assert (first.heldout.score == again.heldout.score).all()
    assert (moved.heldout.fold == first.heldout.fold[:, order]).all()
    assert (moved.heldout.score == first.heldout.score[:, order]).all()
    assert (moved.auc.estimate, moved.brier) == pytest.approx((first.auc.estimate, first.brier), abs=1e-12)


def test_datasets_put_together_keep_their_base_rates_apart(generator: np.random.Generator) -> None:
    dataset = np.repeat(["a", "b"], 60)
    label = (generator.random(120) < np.repeat([0.2, 0.8], 60)).astype(np.int64)
    matrix = generator.normal(size=(120, 5)) + 10.0 * (dataset == "b")[:, None]
    found = judge_detectors([_features(matrix)], label, dataset=dataset, n_repeats=3)
    assert found[0].auc.upper is not None
    assert 0.3 < (found[0].auc.estimate or 0) < 0.66
    assert (found[0].brier or 1) < 0.2
    assert found[1].brier == pytest.approx(np.mean([label[dataset == name].var() for name in ("a", "b")]), abs=1e-12)


def test_hopeless_data_have_a_reason() -> None:
    for label, reason in (
        (np.ones(10, dtype=np.int64), "all 10 samples have one label"),
        ((np.arange(10) == 0).astype(np.int64), "only 1 group has label 1: splitting needs at least 2"),
    ):
        found = judge_detectors([_features(np.arange(10.0)[:, None])], label)
        assert found[0].reason == reason
        assert found[0].auc.estimate is None
        assert found[0].brier is None
        assert detector_verdict(found[0], n_positive=1, n_negative=9).verdict == "not enough data"
    nothing = judge_detectors([_features(np.empty((10, 0)))], np.arange(10) % 2)[0]
    assert nothing.reason == "no feature column"


def test_transfer_learns_elsewhere(generator: np.random.Generator) -> None:
    def one(sign: float, shift: float) -> TransferSet:
        label = np.arange(60) % 2
        features = generator.normal(size=(60, 4)) + shift
        features[:, 0] += 2 * sign * label
        return TransferSet(features, label, np.arange(60))

    cells = transfer({"same": one(1, 0), "shifted": one(1, 50), "opposite": one(-1, 0)})
    area = {(cell.train, cell.dataset): cell.auc.estimate or 0 for cell in cells}
    assert len(cells) == 12
    assert area["same", "shifted"] > 0.8
    assert area[ITSELF, "opposite"] > 0.8
    assert area["same", "opposite"] < 0.2
    assert area[OTHERS, "opposite"] < 0.2
    ones = np.ones(60, dtype=np.int64)
    hopeless = transfer({"a": one(1, 0), "b": TransferSet(np.zeros((60, 4)), ones, ones)})
    assert [cell.auc.reason for cell in hopeless] == [
        None,
        "the training datasets have only one label",
        "all 60 samples have one label",
        "the evaluated dataset has only one label",
    ]
    apart = transfer({"a": one(1, 0), "b": TransferSet(np.zeros((60, 2)), ones, ones)})
    assert apart[1].auc.reason == "the datasets have no layers and heads in common"


def test_a_datasets_own_cell_is_judged_on_groups_that_were_held_out(generator: np.random.Generator) -> None:
    label, group = np.arange(80) % 2, np.repeat(np.arange(20), 4)
    noise = generator.normal(size=(20, 200))[group]
    cells = transfer({"a": TransferSet(noise, label, group)}, n_folds=4, n_repeats=2)
    assert [(cell.train, cell.dataset, cell.n_train, cell.n) for cell in cells] == [(ITSELF, "a", 60, 80)]
    assert cells[0].auc.estimate == 0.5  # samples of a group are alike but for the label
    assert cells[0].auc.n_groups == 20


@pytest.mark.calibration
@pytest.mark.slow
def test_nothing_is_found_in_noise_more_often_than_it_may() -> None:
    found, gained, areas = [], [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        label = generator.permutation(np.arange(60) % 3 == 0).astype(np.int64)
        known, _ = baselines(None, {"mean_logprob": generator.normal(size=60)})
        features = [_features(generator.normal(size=(60, 5))), *known]
        one = judge_detectors(features, label, n_folds=3, n_repeats=1, seed=seed)[0]
        assert one.auc.lower is not None
        assert one.increment.lower is not None
        found.append(one.auc.lower > 0.5)
        gained.append(one.increment.lower > 0)
        areas.append(one.auc.estimate or 0)
    assert np.mean(found) <= 0.06
    assert np.mean(gained) <= 0.06
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)
