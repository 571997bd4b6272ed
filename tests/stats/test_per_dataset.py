"""Nothing but the numbers of a dataset decides its results: no name, no order, and no other dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.stats.study import Study, study
from tests.stats.tables import METRICS, head_table

QUICK: dict[str, Any] = {
    "n_trees": 5,
    "n_permutations": 30,
    "detector_repeats": 1,
    "detector_folds": 3,
    "n_jobs": 1,
    "progress": False,
    "compute": False,
}
TABLES = ("association", "roc", "thresholds", "forest", "importances", "detectors")
KEYS = ("dataset", "layer", "head", "metric", "level", "objective", "protocol", "kind", "detector")


def given() -> pl.DataFrame:
    number = pl.col("id").str.tail(3).cast(pl.Int64)
    return head_table(n_samples=30, effect=1.0).with_columns(
        group=pl.col("dataset") + (number // 2).cast(pl.String),
        stratum=pl.when(number % 4 < 2).then(pl.lit("list")).otherwise(pl.lit("poem")),
    )


@pytest.fixture(scope="module")
def plain() -> Study:
    return study(given(), **QUICK)


def assert_same(first: Study, second: Study, names: tuple[str, ...] = TABLES, *, datasets: set[str]) -> None:
    for name in names:
        one, other = (getattr(found, name) for found in (first, second))
        keys = [key for key in KEYS if key in one.columns]
        one, other = (frame.filter(pl.col("dataset").is_in(datasets)).sort(keys) for frame in (one, other))
        assert one.select(keys).equals(other.select(keys)), name
        for column in one.columns:
            if one.get_column(column).dtype == pl.Float64:
                np.testing.assert_allclose(
                    one.get_column(column).fill_null(-9.0),
                    other.get_column(column).fill_null(-9.0),
                    atol=1e-9,
                    err_msg=f"{name} {column}",
                )


def test_names_change_no_number(plain: Study) -> None:
    frame, generator = given(), np.random.default_rng(0)
    for column in ("id", "group", "stratum"):
        old = frame.get_column(column).unique().sort()
        new = [f"{column}-{code}" for code in generator.permutation(old.len())]
        frame = frame.with_columns(pl.col(column).replace_strict(old, new))
    renamed = study(frame, **QUICK)
    assert_same(plain, renamed, datasets={"alpaca", "flan", "all"})
    swapped = study(given().with_columns(pl.col("dataset").replace({"alpaca": "zebra", "flan": "ape"})), **QUICK)
    for name in TABLES:
        frame = getattr(swapped, name).with_columns(pl.col("dataset").replace({"zebra": "alpaca", "ape": "flan"}))
        swapped.__dict__[name] = frame
    assert_same(
        plain, swapped, ("association", "thresholds", "forest", "detectors"), datasets={"alpaca", "flan", "all"}
    )


def test_another_dataset_changes_no_number(plain: Study) -> None:
    other = head_table(n_samples=300, datasets=("other",), seed=5).with_columns(
        group=pl.col("id"), stratum=pl.lit("list")
    )
    joined = study(pl.concat([given(), other], how="diagonal"), **QUICK)
    assert_same(plain, joined, datasets={"alpaca", "flan"})


def test_increasing_transforms_change_no_p_value(plain: Study) -> None:
    frame = given().with_columns((pl.col(METRICS).log() * 3).exp())
    moved = study(frame, compositional=False, **QUICK)
    assert moved.association.get_column("p_max").equals(plain.association.get_column("p_max"))
    assert moved.association.get_column("auc_within").equals(plain.association.get_column("auc_within"))


def test_prompts_read_by_three_models_count_once_where_they_are_pooled() -> None:
    one = head_table(n_samples=24, datasets=("a",), seed=1).with_columns(pl.col("id").str.tail(3))
    noise = np.random.default_rng(3)
    models = []
    for name in ("a", "b", "c"):
        raw = one.select(METRICS).to_numpy() * np.exp(0.01 * noise.normal(size=(one.height, 3)))
        shares = raw / raw.sum(axis=1, keepdims=True)
        models.append(one.with_columns(pl.DataFrame(shares, schema=list(METRICS)), dataset=pl.lit(name)))
    found = study(pl.concat(models), **QUICK)
    for level in ("row", "sample"):
        curves = found.roc.filter(level=level, metric="PAM_norm")
        width = dict(curves.select("dataset", pl.col("auc_upper") - pl.col("auc_lower")).iter_rows())
        assert width["all"] == pytest.approx(width["a"], rel=0.1)
    assert found.forests["all"]["grouped"].auc.n_groups == 24
    assert {detector.auc.n_groups for detector in found.judged["all"][0]} == {24}
