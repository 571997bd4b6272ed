from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_curve

from foretell.schema.tables import ROC, ROC_POINTS
from foretell.stats.auc.intervals import auc_interval
from foretell.stats.auc.roc import pooled_auc, roc_curve, roc_curves
from foretell.stats.table.joined import read_table
from tests.stats.tables import METRICS, head_table


def test_the_curve_equals_scikit_learn(generator: np.random.Generator) -> None:
    for decimals in (0, 1, 5):
        score, label = generator.normal(size=80).round(decimals), generator.integers(0, 2, 80)
        found = roc_curve(score, label)
        alarm, rate, _ = sklearn_curve(label, score, drop_intermediate=False)
        whole = list(zip(alarm.tolist(), rate.tolist(), strict=True))
        kept = list(zip(found.false_positive_rate.tolist(), found.true_positive_rate.tolist(), strict=True))
        assert set(kept) <= set(whole)
        for point in set(whole) - set(kept):  # what was left out lies on a level or upright line between two kept ones
            before, after = max(p for p in kept if p < point), min(p for p in kept if p > point)
            assert before[0] == after[0] or before[1] == after[1] or decimals < 5
        assert found.area == pytest.approx(roc_auc_score(label, score), abs=1e-14)


def test_thinning_keeps_ends_and_shape(generator: np.random.Generator) -> None:
    label = generator.integers(0, 2, 20_000)
    score = generator.normal(size=20_000) + label
    thin = roc_curve(score, label, max_points=400)
    assert thin.false_positive_rate.size <= 400
    assert (thin.false_positive_rate[0], thin.true_positive_rate[0]) == (0, 0)
    assert (thin.false_positive_rate[-1], thin.true_positive_rate[-1]) == (1, 1)
    assert np.all(np.diff(thin.false_positive_rate) >= 0)
    assert thin.area == pytest.approx(roc_auc_score(label, score), abs=1e-4)


def test_row_and_sample_level_equal_scikit_learn_on_the_same_numbers() -> None:
    frame = head_table(n_samples=30, effect=2.0)
    result = roc_curves(read_table(frame))
    assert result.curves.schema == pl.Schema(ROC.dtypes)
    assert result.points.schema == pl.Schema(ROC_POINTS.dtypes)
    assert result.curves.height == 3 * 3 * 2
    means = frame.group_by("dataset", "id").agg(pl.col("behavior_label").first(), pl.col(METRICS).mean())
    for level, rows in (("row", frame), ("sample", means)):
        for dataset in ("alpaca", "flan"):
            within = rows.filter(pl.col("dataset") == dataset)
            for metric in METRICS:
                key = {"dataset": dataset, "metric": metric, "level": level}
                found = result.curves.filter(**key).row(0, named=True)
                expected = roc_auc_score(within["behavior_label"].to_numpy(), within[metric].to_numpy())
                assert found["auc"] == pytest.approx(expected, abs=1e-12)
                assert found["auc_lower"] < expected < found["auc_upper"]
                assert (found["n"], found["n_samples"], found["n_positive"]) == (within.height, 30, 15)
                points = result.points.filter(**key)
                area = np.trapezoid(points["true_positive_rate"], points["false_positive_rate"])
                assert area == pytest.approx(expected, abs=1e-4)


def test_the_interval_at_row_level_takes_samples_as_what_varies() -> None:
    frame = head_table(n_samples=30)
    found = roc_curves(read_table(frame)).curves
    row = found.filter(dataset="flan", metric="PAM_norm", level="row").row(0, named=True)
    within = frame.filter(pl.col("dataset") == "flan").sort("id")
    score, label = within["PAM_norm"].to_numpy(), within["behavior_label"].to_numpy()
    expected = auc_interval(score, label, group=within["id"].to_numpy())
    assert row["auc_lower"] == pytest.approx(expected.lower, abs=1e-12)
    assert row["auc_upper"] == pytest.approx(expected.upper, abs=1e-12)


def test_pooling_compares_within_datasets_only() -> None:
    frame = head_table(n_samples=40)
    label = pl.when(
        pl.col("id").str.tail(3).cast(pl.Int32) < pl.when(pl.col("dataset") == "flan").then(30).otherwise(10)
    )
    shifted = frame.with_columns(
        behavior_label=label.then(1).otherwise(0), PAM_norm=pl.col("PAM_norm") + 9.0 * (pl.col("dataset") == "flan")
    )
    found = roc_curves(read_table(shifted, compositional=False)).curves
    areas = {
        row["dataset"]: row["auc"] for row in found.filter(metric="PAM_norm", level="sample").iter_rows(named=True)
    }
    assert areas["all"] == pytest.approx((10 * areas["alpaca"] + 30 * areas["flan"]) / 40, abs=1e-12)
    means = shifted.group_by("id").agg(pl.col("behavior_label").first(), pl.col("PAM_norm").mean())
    assert roc_auc_score(means["behavior_label"].to_numpy(), means["PAM_norm"].to_numpy()) > areas["all"] + 0.1


def test_the_pooled_curve_has_the_pooled_area(generator: np.random.Generator) -> None:
    score, label, within = (
        generator.normal(size=90).round(1),
        generator.integers(0, 2, 90),
        np.repeat(["a", "b", "c"], 30),
    )
    found, curve = pooled_auc(score, label, within)
    assert curve is not None
    assert found.estimate == pytest.approx(curve.area, abs=1e-12)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < curve.area < found.upper


def test_one_part_is_the_plain_auc(generator: np.random.Generator) -> None:
    score, label = generator.normal(size=50), generator.integers(0, 2, 50)
    found, _ = pooled_auc(score, label, np.zeros(50))
    plain = auc_interval(score, label)
    assert (found.estimate, found.lower, found.upper) == pytest.approx((plain.estimate, plain.lower, plain.upper))


def test_a_dataset_of_one_class_is_null_with_the_reason_and_left_out_of_the_pool() -> None:
    frame = head_table(datasets=("alpaca", "flan", "sharegpt")).with_columns(
        behavior_label=pl.when(pl.col("dataset") == "flan").then(0).otherwise("behavior_label")
    )
    found = roc_curves(read_table(frame))
    silent = found.curves.filter(dataset="flan")
    assert silent["auc"].null_count() == 6
    assert set(silent["reason"]) == {"only one class is present"}
    assert found.points.filter(dataset="flan").height == 0
    assert found.curves.filter(dataset="all")["auc"].null_count() == 0


def test_nothing_is_pooled_where_one_dataset_alone_has_both_classes() -> None:
    frame = head_table().with_columns(
        behavior_label=pl.when(pl.col("dataset") == "flan").then(0).otherwise("behavior_label")
    )
    found = roc_curves(read_table(frame)).curves.filter(dataset="all")
    assert found["auc"].null_count() == 6
    assert found["reason"].str.contains("only one dataset has both classes").all()


def test_groups_in_several_datasets_count_once(generator: np.random.Generator) -> None:
    score, label = generator.normal(size=60), np.arange(60) % 2
    alone, _ = pooled_auc(score, label, np.zeros(60))
    scores, labels, within = np.tile(score, 3), np.tile(label, 3), np.repeat(np.arange(3), 60)
    together, _ = pooled_auc(scores, labels, within, group=np.tile(np.arange(60), 3))
    apart, _ = pooled_auc(scores, labels, within)
    widths = [(found.upper or 0) - (found.lower or 0) for found in (alone, together, apart)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[2] == pytest.approx(widths[0] / np.sqrt(3), rel=0.1)
    assert together.n_groups == 60


@pytest.mark.calibration
def test_pooled_intervals_of_repeated_prompts_hold(generator: np.random.Generator) -> None:
    covered = 0
    for _ in range(400):
        prompt, label = generator.normal(size=40), np.arange(40) % 2
        scores = np.concatenate([prompt + 0.3 * generator.normal(size=40) for _ in range(3)])
        found, _ = pooled_auc(scores, np.tile(label, 3), np.repeat(np.arange(3), 40), group=np.tile(np.arange(40), 3))
        covered += (found.lower or 1) <= 0.5 <= (found.upper or 0)
    assert 400 - covered <= binom.isf(0.001, 400, 0.05)


def test_means_of_samples_that_lack_heads_do_not_compare_different_heads() -> None:
    frame = head_table(n_samples=60, datasets=("alpaca",), n_heads=4)
    shift = pl.col("PAM_norm") + pl.col("head")
    lacking = frame.with_columns(score=shift).filter((pl.col("head") > 1) | (pl.col("behavior_label") == 0))
    table = read_table(lacking, metrics=["score"])
    found = roc_curves(table).curves.filter(level="sample").row(0, named=True)
    assert found["auc_lower"] < 0.5 < found["auc_upper"]
    naive = lacking.group_by("id", "behavior_label").agg(pl.col("score").mean())
    assert roc_auc_score(naive["behavior_label"].to_numpy(), naive["score"].to_numpy()) == 1.0
    assert any("samples lack values" in note for note in table.ledger.notes)


def test_one_dataset_is_not_repeated_as_all() -> None:
    found = roc_curves(read_table(head_table(datasets=("alpaca",)))).curves
    assert set(found["dataset"]) == {"alpaca"}


def test_row_order_changes_nothing() -> None:
    frame = head_table()
    first = roc_curves(read_table(frame))
    second = roc_curves(read_table(frame.sample(fraction=1, shuffle=True, seed=4)))
    assert first.curves.equals(second.curves)
    assert first.points.equals(second.points)
