from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from foretell.stats.folds import derived_seed, grouped_folds
from foretell.stats.forest.importances import importances
from foretell.stats.forest.random_forest import TEST_SIZE, ForestResult, Protocol, judge_forest, pooled_forest
from tests.stats.fingerprints import HeadRows, head_rows


def _judge(
    rows: HeadRows, *protocols: Protocol, n_trees: int = 20, seed: int = 0, n_jobs: int = 1
) -> dict[Protocol, ForestResult]:
    return judge_forest(
        rows.features,
        rows.label,
        rows.sample,
        protocols=protocols or ("rows", "grouped", "placebo"),
        n_trees=n_trees,
        n_repeats=1,
        seed=seed,
        n_jobs=n_jobs,
    )


def test_the_row_protocol_equals_scikit_learn() -> None:
    rows = head_rows(fingerprint=0.5, effect=0.3)
    found = _judge(rows, "rows", seed=7)["rows"]
    features = rows.features.astype(np.float32)
    train, heldout, truth, test = train_test_split(
        features, features, test_size=TEST_SIZE, stratify=rows.label, random_state=7
    )[:2] + train_test_split(rows.label, test_size=TEST_SIZE, stratify=rows.label, random_state=7)
    forest = RandomForestClassifier(20, random_state=7).fit(train, truth)
    score, said = forest.predict_proba(heldout)[:, 1], forest.predict(heldout)
    assert (found.score == score).all()
    assert found.auc.estimate == pytest.approx(metrics.roc_auc_score(test, score), abs=1e-12)
    assert found.measures == pytest.approx(
        {
            "f1": metrics.f1_score(test, said),
            "accuracy": metrics.accuracy_score(test, said),
            "balanced_accuracy": metrics.balanced_accuracy_score(test, said),
            "mcc": metrics.matthews_corrcoef(test, said),
            "average_precision": metrics.average_precision_score(test, score),
            "majority_accuracy": max(test.mean(), 1 - test.mean()),
        },
        abs=1e-12,
    )
    assert found.impurity.mean(axis=0) == pytest.approx(forest.feature_importances_, abs=1e-12)


def test_the_grouped_protocol_equals_scikit_learn_fold_by_fold() -> None:
    rows = head_rows(n_samples=30, n_heads=10, effect=0.4)
    found = _judge(rows, "grouped", seed=3)["grouped"]
    folds = grouped_folds(rows.label, rows.sample, n_folds=3, seed=derived_seed(3, "forest", 0))
    wins = pairs = 0.0
    for fold in range(3):
        train, heldout = folds.train(fold), folds.heldout(fold)
        assert set(rows.sample[train]).isdisjoint(rows.sample[heldout])
        forest = RandomForestClassifier(20, random_state=3).fit(
            rows.features[train].astype(np.float32), rows.label[train]
        )
        score = forest.predict_proba(rows.features[heldout].astype(np.float32))[:, 1]
        assert (found.score[found.fold == fold] == score).all()
        n = int(rows.label[heldout].sum()) * int((1 - rows.label[heldout]).sum())
        wins, pairs = wins + n * metrics.roc_auc_score(rows.label[heldout], score), pairs + n
    assert found.auc.estimate == pytest.approx(wins / pairs, abs=1e-12)
    assert (found.n_rows, found.n_samples) == (300, 30)


def test_fingerprints_leak_into_the_row_split_and_its_placebo_only() -> None:
    found = _judge(head_rows(fingerprint=1.0), n_trees=40)
    rows, grouped, placebo = (found[name].auc for name in ("rows", "grouped", "placebo"))
    assert rows.estimate is not None
    assert placebo.lower is not None
    assert rows.estimate > 0.6
    assert placebo.lower > 0.5
    assert grouped.lower is not None
    assert grouped.upper is not None
    assert grouped.lower < 0.5 < grouped.upper


def test_impurity_is_a_third_each_on_noise_and_permutation_is_nothing() -> None:
    found = importances(_judge(head_rows(), "grouped")["grouped"])
    impurity = [one.value for one in found if one.kind == "impurity"]
    permutation = [one.value for one in found if one.kind == "permutation"]
    assert [one.estimate for one in impurity] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert sum(one.estimate or 0 for one in impurity) == pytest.approx(1, abs=1e-12)
    for one in permutation:
        assert None not in (one.estimate, one.lower, one.upper)
        assert abs(one.estimate or 0) < 0.05
        assert (one.lower or 0) < 0.02


def test_permutation_finds_the_column_that_matters(generator: np.random.Generator) -> None:
    rows = head_rows()
    features = generator.normal(size=(len(rows.label), 3))
    features[:, 1] += 1.5 * rows.label
    found = judge_forest(features, rows.label, rows.sample, protocols=("grouped",), n_trees=20, n_repeats=1)["grouped"]
    drops = [one.value for one in importances(found) if one.kind == "permutation"]
    assert drops[1].lower is not None
    assert drops[1].lower > 0.2
    for other in (0, 2):
        assert drops[other].estimate == pytest.approx(0, abs=0.05)


def test_threads_and_order_change_no_number(generator: np.random.Generator) -> None:
    rows = head_rows(n_samples=20, n_heads=10)
    one, two = _judge(rows, n_jobs=1), _judge(rows, n_jobs=2)
    for protocol, result in one.items():
        assert result.auc == two[protocol].auc
        assert (result.score == two[protocol].score).all()
        assert (result.permuted == two[protocol].permuted).all()


def test_groups_of_samples_stay_together(generator: np.random.Generator) -> None:
    rows = head_rows(n_samples=40, n_heads=6)
    group = np.array([f"prompt-{index // 4}" for index in range(40)])[rows.sample]
    found = judge_forest(rows.features, rows.label, rows.sample, group=group, protocols=("grouped",), n_trees=5)[
        "grouped"
    ]
    for fit in np.unique(found.fold):
        inside = found.group[found.fold == fit]
        repeat = found.repeat[found.fold == fit][0]
        outside = found.group[(found.fold != fit) & (found.repeat == repeat)]
        assert set(inside).isdisjoint(outside)
    assert found.auc.n_groups == 10
    assert found.splits.inflation == pytest.approx(1.5 + 1 / 5)


def test_a_forest_that_predicts_the_task_type_does_not_predict_the_behaviour() -> None:
    rows = head_rows(n_samples=120, n_heads=8, rate_of_kind=(0.9, 0.5, 0.1))
    kind = rows.kind_of_sample[rows.sample]
    features = rows.features + 0.3 * kind[:, None]
    options: dict[str, Any] = {"protocols": ("grouped",), "n_trees": 20, "n_repeats": 1, "n_jobs": 1}
    blind = judge_forest(features, rows.label, rows.sample, **options)
    assert blind["grouped"].within.reason == "no stratum is given"
    assert (blind["grouped"].auc.lower or 0) > 0.6
    found = judge_forest(features, rows.label, rows.sample, stratum=kind, **options)
    within = found["grouped"].within
    assert within.lower is not None
    assert within.upper is not None
    assert within.lower < 0.5 < within.upper
    assert found["grouped"].auc == blind["grouped"].auc
    assert pooled_forest([found["grouped"]]).within == within


def test_small_tables_are_split_again_and_weigh_no_more() -> None:
    rows = head_rows(n_samples=20, n_heads=10)
    found = judge_forest(rows.features, rows.label, rows.sample, protocols=("grouped",), n_trees=3)["grouped"]
    assert len(np.unique(found.repeat)) == 5
    assert (found.n_rows, found.auc.n) == (200, 200)


def test_pooling_compares_rows_of_one_dataset_only() -> None:
    first, second = (_judge(head_rows(n_samples=20, n_heads=8, effect=0.5, seed=seed), n_trees=5) for seed in (1, 2))
    pooled = pooled_forest([first["grouped"], second["grouped"]])
    areas = [one["grouped"].auc.estimate or 0 for one in (first, second)]
    assert min(areas) <= (pooled.auc.estimate or 0) <= max(areas)
    assert (pooled.n_samples, pooled.n_rows, pooled.auc.n_groups) == (40, 320, 40)
    assert len(np.unique(pooled.fold)) == 6


def test_hopeless_data_have_a_reason() -> None:
    rows = head_rows(n_samples=6, n_heads=2)
    for protocol, result in judge_forest(rows.features, np.ones_like(rows.label), rows.sample, n_trees=2).items():
        assert result.reason is not None
        assert "one label" in result.reason, protocol
        assert result.auc.estimate is None
        assert [one.value.reason for one in importances(result)] == [result.reason] * 6
        if protocol == "grouped":
            assert result.reason == "all 6 samples have one label"  # not its 12 rows
    single = judge_forest(rows.features, (rows.sample == 0).astype(np.int64), rows.sample, n_trees=2)
    assert single["grouped"].reason == "only 1 group has label 1: splitting needs at least 2"
    assert single["rows"].reason is None
    empty = judge_forest(np.empty((0, 3)), np.empty(0, dtype=np.int64), np.empty(0), n_trees=2)
    assert {result.reason for result in empty.values()} == {"no rows", "no samples"}
    assert pooled_forest([empty["grouped"]]).reason == "no dataset has scores"


def test_rows_that_are_not_finite_are_left_out() -> None:
    rows = head_rows(n_samples=20, n_heads=4)
    features = rows.features.copy()
    features[3, 1] = np.nan
    assert judge_forest(features, rows.label, rows.sample, protocols=("grouped",), n_trees=2)["grouped"].n_rows == 79


@pytest.mark.calibration
@pytest.mark.slow
def test_grouped_intervals_hold_on_noise() -> None:
    covered = []
    for seed in range(150):
        rows = head_rows(n_samples=40, n_heads=10, fingerprint=0.5, seed=seed)
        found = _judge(rows, "grouped", n_trees=10, seed=seed)["grouped"].auc
        assert found.lower is not None
        assert found.upper is not None
        covered.append(found.lower <= 0.5 <= found.upper)
    assert 0.90 <= np.mean(covered) <= 1.0


def test_the_placebo_deals_labels_by_whole_groups_and_shows_that_groups_are_recognised() -> None:
    generator = np.random.default_rng(2)
    prompt, sample = np.repeat(np.arange(30), 24), np.repeat(np.arange(120), 6)
    label = (np.arange(30) % 2)[prompt]
    features = generator.normal(size=(30, 3))[prompt] + 0.1 * generator.normal(size=(720, 3))
    options: dict[str, Any] = {"protocols": ("rows", "placebo"), "n_trees": 20, "n_jobs": 1}
    grouped = judge_forest(features, label, sample, group=prompt, **options)
    for found in grouped.values():
        assert (found.auc.estimate or 0) > 0.9
    placebo = grouped["placebo"]
    for name in np.unique(placebo.group):
        assert len(set(placebo.label[placebo.group == name].tolist())) == 1


def test_labels_constant_within_strata_have_no_auc_within() -> None:
    rows = head_rows(effect=1.0)
    found = judge_forest(
        rows.features, rows.label, rows.sample, stratum=rows.label, protocols=("grouped",), n_trees=5, n_repeats=1
    )["grouped"]
    assert (found.within.estimate, found.within.reason) == (None, "no stratum has both labels")
    assert _judge(rows, "grouped", n_trees=5)["grouped"].within.reason == "no stratum is given"


def test_pooled_forests_share_groups_and_repeats() -> None:
    rows, more = head_rows(n_samples=20), head_rows(n_samples=20, seed=1)
    one, two = (
        judge_forest(part.features, part.label, part.sample, protocols=("grouped",), n_trees=3, n_repeats=n)["grouped"]
        for part, n in ((rows, 1), (more, 3))
    )
    apart, together = pooled_forest([one, two]), pooled_forest([one, two], groups=[np.arange(20), np.arange(20)])
    assert (apart.auc.n_groups, together.auc.n_groups) == (40, 20)
    assert set(together.repeat) == {0}
    assert together.n_rows == one.n_rows + two.n_rows
    assert together.auc.estimate == apart.auc.estimate
