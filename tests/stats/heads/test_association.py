"""Every number of the association table against scipy and scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import roc_auc_score

from foretell.errors import InputError
from foretell.schema.tables import ASSOCIATION
from foretell.stats.heads.association import ColumnStatistics, association, column_statistics, strongest_head
from foretell.stats.table.joined import read_table
from tests.stats.tables import head_table

ENGINES: tuple[Literal["numba", "numpy"], ...] = ("numba", "numpy")
NAMES = ("pearson", "pearson_p", "spearman", "spearman_p", "auc", "auc_p")


def oracle(values: Any, label: Any) -> dict[str, float]:
    """Return what scipy and scikit-learn say of one column; nan where they say nothing."""
    there = ~np.isnan(values)
    x, y = values[there].astype(np.float64), label[there]
    if x.size < 2 or y.min() == y.max():
        return dict.fromkeys(NAMES, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The mean of the smallest doubles underflows in scipy; a power of two changes no correlation and no digit.
        pearson = stats.pearsonr(x * 2.0**600 if np.abs(x).max() < 1e-200 else x, y)
        spearman = stats.spearmanr(x, y)
        test = stats.mannwhitneyu(x[y == 1], x[y == 0], method="asymptotic", use_continuity=True)
    # Of two observations scipy 1.14 returns the sign of their product, which is 0 and not undefined for equal ones.
    undefined = x.min() == x.max()
    return {
        "pearson": np.nan if undefined else float(pearson.statistic),
        "pearson_p": np.nan if undefined else float(pearson.pvalue),
        "spearman": float(spearman.statistic),
        "spearman_p": float(spearman.pvalue),
        "auc": float(roc_auc_score(y, x)),
        "auc_p": float(test.pvalue),
    }


def delong(values: Any, label: Any) -> float:
    """Return DeLong's variance of one column by comparing every pair."""
    there = ~np.isnan(values)
    high, low = values[there & (label == 1)], values[there & (label == 0)]
    won = (high[:, None] > low).astype(float) + 0.5 * (high[:, None] == low)
    return float(won.mean(axis=1).var(ddof=1) / high.size + won.mean(axis=0).var(ddof=1) / low.size)


def compare(found: ColumnStatistics, values: Any, label: Any, *, tolerance: float = 1e-12) -> None:
    for column in range(values.shape[1]):
        expected = oracle(values[:, column], label)
        for name in NAMES:
            number = float(getattr(found, name)[column])
            near_one = name == "pearson_p" and abs(expected["pearson"]) > 1 - 1e-6  # the digits of 1 - r decide
            accuracy = {"rel": 0.1} if near_one else {"rel": tolerance, "abs": tolerance}
            assert number == pytest.approx(expected[name], nan_ok=True, **accuracy), (name, column)
        if found.reason[column] is None:
            assert found.auc_variance[column] == pytest.approx(delong(values[:, column], label), rel=1e-9, abs=1e-12)


@st.composite
def columns(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return columns of one width with ties, zeros of both signs, denormals and gaps, and a label."""
    n = draw(st.integers(2, 40))
    kind: Any = draw(st.sampled_from([np.float32, np.float64]))
    signed = draw(st.booleans())
    tiny = float(np.finfo(kind).smallest_subnormal)
    low = -1000.0 if signed else 0.0
    number = draw(
        st.sampled_from(
            [
                st.sampled_from([0.0, -0.0, 0.25, 1.0, 3.0 if not signed else -3.0, float("nan")]),
                st.integers(-5 if signed else 0, 5).map(lambda times: times * tiny),
                st.floats(low, 1000.0, width=32),
            ]
        )
    )
    values = draw(arrays(kind, (n, 3), elements=number.map(kind), fill=st.nothing()))
    label = draw(arrays(np.int8, n, elements=st.integers(0, 1), fill=st.nothing()))
    return values, label


def nearly_constant(values: Any) -> bool:
    """Tell whether rounding, not the method, decides the correlation of a column."""
    x = values[~np.isnan(values)].astype(np.float64)
    return bool(x.size and x.min() != x.max() and np.ptp(x) < 1e-3 * np.abs(x).max())


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=150)
@given(case=columns())
def test_hypothesis_finds_no_difference_to_the_oracle(engine: Literal["numba", "numpy"], case: Any) -> None:
    values, label = case
    kept = [column for column in range(values.shape[1]) if not nearly_constant(values[:, column])]
    values = values[:, kept]
    compare(column_statistics(values, label, engine=engine), values, label, tolerance=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rate", [0.5, 0.05])
def test_two_thousand_columns_equal_the_oracle(
    engine: Literal["numba", "numpy"], kind: Any, signed: bool, rate: float, generator: np.random.Generator
) -> None:
    values = generator.normal(size=(90, 250)) if signed else generator.gamma(2, size=(90, 250))
    values[:, 50:100] = values[:, 50:100].round(1)
    values[generator.random(values.shape) < 0.05] = np.nan
    values[:, 100] = 0.5
    values[:, 101] = np.nan
    values[:88, 102] = np.nan
    values[::2, 103] *= -0.0
    label = (generator.random(90) < rate).astype(int)
    label[:2] = (0, 1)
    values = values.astype(kind)
    compare(column_statistics(values, label, engine=engine), values, label)


def test_the_direction_is_fixed_and_a_flip_of_labels_mirrors_it(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(30, 8)), np.arange(30) % 2
    straight, flipped = column_statistics(values, label), column_statistics(values, 1 - label)
    np.testing.assert_allclose(straight.auc, 1 - flipped.auc, atol=1e-14)
    np.testing.assert_allclose(straight.pearson, -flipped.pearson, atol=1e-14)
    np.testing.assert_allclose(straight.auc_lower, 1 - flipped.auc_upper, atol=1e-12)
    np.testing.assert_allclose(straight.auc_p, flipped.auc_p, atol=1e-14)


def test_monotone_transforms_and_row_order_change_no_rank_statistic(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(40, 6)), generator.integers(0, 2, 40)
    order = generator.permutation(40)
    first = column_statistics(values, label)
    second = column_statistics(np.exp(values)[order], label[order])
    for name in ("spearman", "auc", "auc_p", "auc_lower", "auc_upper"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=1e-13)


@pytest.mark.parametrize(
    ("values", "label", "reason"),
    [
        ([np.nan, np.nan], [0, 1], "no values"),
        ([1.0, np.nan], [0, 1], "fewer than two values"),
        ([1.0, 2.0, 3.0], [1, 1, 1], "only one class is present"),
        ([2.0, 2.0, 2.0, 2.0], [0, 1, 0, 1], "the column is constant"),
        ([1.0, 2.0, 3.0], [0, 0, 1], "a class has fewer than two samples: no interval"),
        ([1.0, np.inf, 3.0, 4.0], [0, 0, 1, 1], "a value is infinite"),
    ],
)
def test_what_is_undefined_is_nan_with_its_reason(values: list[float], label: list[int], reason: str) -> None:
    found = column_statistics(np.array(values)[:, None], np.array(label))
    assert found.reason == (reason,)


def test_a_constant_column_has_an_auc_of_one_half_and_no_correlation() -> None:
    found = column_statistics(np.full((6, 1), 0.3), np.arange(6) % 2)
    assert found.auc[0] == 0.5
    assert found.auc_p[0] == 1.0
    assert np.isnan([found.pearson[0], found.spearman[0], found.auc_lower[0], found.auc_upper[0]]).all()


def test_groups_of_one_change_nothing(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(30, 5)), np.arange(30) % 2
    names = np.array([f"g{index}" for index in range(30)])
    alone, grouped = column_statistics(values, label), column_statistics(values, label, group=names)
    for name in (*NAMES, "auc_lower", "auc_upper"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(grouped, name))


def test_the_table_has_every_key_once_and_finds_the_planted_head() -> None:
    table = read_table(head_table(n_samples=60, effect=4.0))
    frame = association(table, n_permutations=199, progress=False)
    assert frame.schema == pl.Schema(ASSOCIATION.dtypes)
    assert frame.height == 2 * 2 * 3 * 3
    assert frame.select(ASSOCIATION.key).is_unique().all()
    found = frame.filter((pl.col("p_max") < 0.05) & (pl.col("q_value") < 0.05))
    assert set(found.select("layer", "head").unique().iter_rows()) == {(1, 2)}
    assert found.filter(pl.col("metric") == "PAM_norm").get_column("auc").min() > 0.7  # type: ignore[operator]


def test_a_dataset_of_one_class_does_not_stop_the_others() -> None:
    frame = head_table().with_columns(
        pl.when(pl.col("dataset") == "flan").then(1).otherwise("behavior_label").alias("behavior_label")
    )
    found = association(read_table(frame), n_permutations=19, progress=False)
    silent = found.filter(pl.col("dataset") == "flan")
    assert silent.get_column("auc").null_count() == silent.height
    assert set(silent.get_column("reason")) == {"only one class is present"}
    assert found.filter(pl.col("dataset") == "alpaca").get_column("p_max").null_count() == 0


def test_the_same_seed_gives_the_same_bytes_and_row_order_nothing_else() -> None:
    frame = head_table()
    first = association(read_table(frame), n_permutations=99, seed=3, progress=False)
    again = association(
        read_table(frame.sample(fraction=1, shuffle=True, seed=1)), n_permutations=99, seed=3, progress=False
    )
    assert first.equals(again)
    other = association(read_table(frame), n_permutations=99, seed=4, progress=False)
    assert not first.get_column("p_max").equals(other.get_column("p_max"))


def test_a_head_that_only_predicts_the_stratum_has_no_small_p_within_strata() -> None:
    generator = np.random.default_rng(5)
    n = 200
    stratum = generator.integers(0, 2, n)
    label = (generator.random(n) < np.where(stratum == 1, 0.9, 0.1)).astype(int)
    frame = pl.DataFrame(
        {
            "id": [f"{index:03d}" for index in np.repeat(np.arange(n), 2)],
            "dataset": "x",
            "layer": 0,
            "head": np.tile([0, 1], n),
            "score": np.stack([stratum, 2 * stratum + label], axis=1).ravel() + generator.normal(size=2 * n),
            "behavior_label": np.repeat(label, 2),
            "stratum": np.repeat(np.where(stratum == 1, "b", "a"), 2),
        }
    )
    found = association(read_table(frame, metrics=["score"]), n_permutations=199, progress=False)
    blind = association(read_table(frame.drop("stratum"), metrics=["score"]), n_permutations=199, progress=False)
    assert blind.get_column("p_max").to_list() == [0.005, 0.005]
    within = found.get_column("p_max").to_list()
    assert within[0] > 0.1
    assert within[1] <= 0.02
    assert found.get_column("auc_within")[0] < 0.6
    assert found.get_column("auc_within")[1] > 0.6
    assert blind.get_column("auc_within").null_count() == 2
    assert set(blind.get_column("reason")) == {"no stratum is given"}
    rest = pl.all().exclude("p_max", "auc_within", "reason")
    assert found.select(rest).equals(blind.select(rest))


def test_auc_within_strata_equals_pairs_of_one_stratum() -> None:
    table = head_table(n_samples=40).with_columns(stratum=pl.col("id").str.tail(1).str.replace_all("[3-9]", "odd"))
    found = association(read_table(table), n_permutations=0, progress=False)
    for row in found.sample(8, seed=1).iter_rows(named=True):
        one = table.filter(**{name: row[name] for name in ("dataset", "layer", "head")})
        high, low = (one.filter(behavior_label=value).select("stratum", x=row["metric"]) for value in (1, 0))
        pairs = high.join(low, on="stratum", suffix="_low")
        won = (pairs["x"] > pairs["x_low"]) + 0.5 * (pairs["x"] == pairs["x_low"])
        assert row["auc_within"] == pytest.approx(won.mean(), abs=1e-12)


def test_labels_constant_within_strata_leave_null_with_the_reason() -> None:
    table = head_table(n_samples=40, effect=3.0).with_columns(stratum=pl.col("behavior_label").cast(pl.String))
    found = association(read_table(table), n_permutations=99, progress=False)
    assert found.get_column("p_max").null_count() == found.height
    assert found.get_column("auc_within").null_count() == found.height
    assert found.get_column("reason").str.contains("labels cannot be exchanged").all()
    assert found.get_column("auc").null_count() == 0


def test_the_strongest_head_is_the_one_that_the_permutations_rank_first() -> None:
    rows = {"layer": 0, "head": [0, 1, 2], "metric": "x", "q_value": 0.5, "auc": [0.9, 0.5, 0.7]}
    family = pl.DataFrame({**rows, "p_max": [0.2, 0.001, 0.001], "auc_within": [0.5, 0.2, 0.7]})
    best = strongest_head(family)
    assert best is not None
    assert (best["head"], best["auc"], best["auc_within"]) == (1, 0.5, 0.2)
    without = family.with_columns(p_max=pl.lit(None, pl.Float64), auc_within=pl.lit(None, pl.Float64))
    assert (strongest_head(without) or {})["head"] == 0
    assert strongest_head(family.clear()) is None


def test_without_permutations_p_max_is_null_and_says_so() -> None:
    found = association(read_table(head_table()), n_permutations=0, progress=False)
    assert found.get_column("p_max").null_count() == found.height
    assert set(found.get_column("reason")) == {"no permutations were requested"}


@pytest.mark.parametrize("options", [{"level": 1.0}, {"level": 0.0}, {"n_permutations": -1}])
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        association(read_table(head_table()), progress=False, **options)
