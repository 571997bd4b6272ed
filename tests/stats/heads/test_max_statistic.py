from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from foretell.errors import InputError
from foretell.stats.heads.max_statistic import benjamini_hochberg, blockwise_max_statistic, max_statistic
from foretell.stats.heads.permutations import permuted_labels
from tests.stats.heads.null_tables import NULL_TABLES, NullTable


def test_false_discovery_rates_equal_scipy(generator: np.random.Generator) -> None:
    for size in (1, 2, 17, 400):
        pvalue = generator.random(size) ** 3
        np.testing.assert_allclose(benjamini_hochberg(pvalue), stats.false_discovery_control(pvalue), atol=1e-15)


def test_undefined_tests_leave_the_family(generator: np.random.Generator) -> None:
    pvalue = generator.random(50)
    gaps = np.insert(pvalue, [3, 20], np.nan)
    found = benjamini_hochberg(gaps)
    assert np.isnan(found[[3, 21]]).all()
    np.testing.assert_allclose(found[~np.isnan(gaps)], benjamini_hochberg(pvalue))
    assert benjamini_hochberg(np.full(2, np.nan)).shape == (2,)


def test_the_statistic_is_the_mann_whitney_z(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(40, 20)).round(1), np.arange(40) % 3 == 0
    found = max_statistic(values, label, n_permutations=19)
    test = stats.mannwhitneyu(values[label], values[~label], method="asymptotic", use_continuity=False)
    np.testing.assert_allclose(found.statistic, stats.norm.isf(test.pvalue / 2), atol=1e-9)


def test_p_values_equal_a_loop_over_the_same_permutations(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(24, 7)), np.arange(24) % 2
    values[:, 6] = 1.0
    permutations = permuted_labels(label, n_permutations=60, seed=5)
    found = blockwise_max_statistic([values.T], permutations)

    def size(marks: np.ndarray, column: int) -> float:
        test = stats.mannwhitneyu(
            values[marks, column], values[~marks, column], method="asymptotic", use_continuity=False
        )
        return float(stats.norm.isf(test.pvalue / 2))

    largest = [max(size(permuted > 0, column) for column in range(6)) for permuted in permutations.permuted]
    np.testing.assert_allclose(found.largest, largest, atol=1e-9)
    expected = [(1 + sum(one >= size(label == 1, c) - 1e-9 for one in largest)) / 61 for c in range(6)]
    np.testing.assert_allclose(found.pvalue[:6], expected)
    assert np.isnan(found.pvalue[6])


def test_the_statistic_within_strata_is_a_weighted_mean_of_rank_sums(generator: np.random.Generator) -> None:
    values, label, stratum = generator.normal(size=(40, 5)).round(1), generator.integers(0, 2, 40), np.arange(40) % 3
    total, variance = np.zeros(5), np.zeros(5)
    for name in range(3):
        ranks, positive = stats.rankdata(values[stratum == name], axis=0), label[stratum == name] == 1
        total += ranks[positive].sum(axis=0) - positive.sum() * ranks.mean(axis=0)
        variance += positive.sum() * (~positive).sum() / positive.size * ranks.var(axis=0, ddof=1)
    found = max_statistic(values, label, stratum=stratum, n_permutations=19)
    np.testing.assert_allclose(found.statistic, np.abs(total) / np.sqrt(variance), atol=1e-12)


def test_blocks_of_columns_change_nothing(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(30, 11)), np.arange(30) % 2
    values[2, 3] = np.nan
    permutations = permuted_labels(label, group=np.arange(30) // 3, n_permutations=40, seed=1)
    whole = blockwise_max_statistic([values.T], permutations)
    parts = blockwise_max_statistic([values.T[:4], values.T[4:5], values.T[5:]], permutations)
    np.testing.assert_allclose(whole.pvalue, parts.pvalue)
    np.testing.assert_allclose(whole.largest, parts.largest)


@pytest.mark.parametrize("name", NULL_TABLES)
def test_order_names_and_increasing_transforms_change_no_p_value(name: str) -> None:
    table = NULL_TABLES[name](0)
    order = np.random.default_rng(1).permutation(table.label.size)
    names = [None if codes is None else np.array([f"n{-int(code)}" for code in codes[order]]) for codes in table.names]
    first = max_statistic(table.values, table.label, **table.options, n_permutations=99)
    second = max_statistic(
        np.arcsinh(table.values[order]), table.label[order], group=names[0], stratum=names[1], n_permutations=99
    )
    np.testing.assert_array_equal(first.pvalue, second.pvalue)


def test_both_engines_agree(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(30, 11)).round(1), np.arange(30) % 2
    np.testing.assert_allclose(
        max_statistic(values, label, n_permutations=40, engine="numba").largest,
        max_statistic(values, label, n_permutations=40, engine="numpy").largest,
    )


def test_the_best_column_pays_for_the_number_of_columns(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(60, 200)), np.arange(60) % 2
    single = max_statistic(values[:, :1], label)
    many = max_statistic(values, label)
    assert many.pvalue[0] >= single.pvalue[0]
    test = stats.mannwhitneyu(values[label == 1, 0], values[label == 0, 0])
    assert single.pvalue[0] == pytest.approx(test.pvalue, abs=0.05)


def test_a_metric_that_only_predicts_the_stratum_is_not_significant_within_strata(
    generator: np.random.Generator,
) -> None:
    stratum = np.repeat(["a", "b"], 60)
    label = np.r_[np.arange(60) < 50, np.arange(60) < 10].astype(int)
    values = generator.normal(size=(120, 5))
    values[:60, 0] += 3
    assert max_statistic(values, label, n_permutations=199).pvalue[0] == pytest.approx(1 / 200)
    assert max_statistic(values, label, stratum=stratum, n_permutations=199).pvalue[0] > 0.05


def test_one_class_and_no_permutations_are_undefined_with_a_reason(generator: np.random.Generator) -> None:
    values = generator.normal(size=(10, 3))
    single = max_statistic(values, np.ones(10), n_permutations=9)
    assert np.isnan(single.pvalue).all()
    assert single.reason == "only one class is present"
    none = max_statistic(values, np.arange(10) % 2, n_permutations=0)
    assert np.isnan(none.pvalue).all()
    assert none.reason == "no permutations were requested"


def test_permutations_of_other_samples_are_refused(generator: np.random.Generator) -> None:
    with pytest.raises(InputError, match="another number of samples"):
        blockwise_max_statistic([generator.normal(size=(2, 5))], permuted_labels(np.arange(4) % 2))


_STRATA = np.repeat(["a", "b", "c"], 30)


@pytest.mark.parametrize(
    ("label", "group"),
    [
        (_STRATA == "a", None),
        (_STRATA != "b", np.repeat(np.arange(30), 3)),
        (_STRATA == "c", np.arange(90) % 45),
    ],
)
def test_labels_that_are_constant_within_strata_are_undefined(label: Any, group: Any) -> None:
    for seed in range(5):
        values = np.random.default_rng(seed).random(size=(90, 20)) / 3
        values[:30] += 0.1
        found = max_statistic(values, label, group=group, stratum=_STRATA, n_permutations=99, seed=seed)
        assert np.isnan(found.pvalue).all()
        assert found.reason is not None
        assert "labels cannot be exchanged" in found.reason


def test_a_column_that_is_constant_where_labels_can_be_exchanged_is_undefined(generator: np.random.Generator) -> None:
    label = np.where(_STRATA == "a", 0, np.arange(90) % 2)
    values = generator.normal(size=(90, 3))
    values[_STRATA != "a", 1] = 0.1 + 0.2
    found = max_statistic(values, label, stratum=_STRATA, n_permutations=99)
    assert np.isnan(found.pvalue).tolist() == [False, True, False]


def test_a_statistic_of_zero_up_to_rounding_is_reached_by_all() -> None:
    values = np.tile([0.1, 0.1, 0.7, 0.7], 10)[:, None] / 3
    found = max_statistic(values, np.tile([0, 1, 0, 1], 10), group=np.arange(40) // 4, n_permutations=99)
    assert found.pvalue.tolist() == [1.0]


@pytest.mark.parametrize("both_labels", [False, True])
def test_groups_of_2_to_33_answers_leave_power(both_labels: bool) -> None:
    found = []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        size = generator.integers(2, 34, 40)
        group, rate = np.repeat(np.arange(40), size), generator.beta(1, 1, 40)
        label = (generator.random(group.size) < rate[group]) if both_labels else (np.arange(40) % 2)[group] == 1
        values = generator.normal(size=(group.size, 300))
        values[:, 0] += 1.2 * label
        found.append(max_statistic(values, label, group=group, n_permutations=199).pvalue[0])
    assert np.count_nonzero(np.array(found) <= 0.02) >= 9


def of_size(name: str, generator_seed: int) -> bool:
    table: NullTable = NULL_TABLES[name](generator_seed)
    found = max_statistic(table.values, table.label, **table.options, n_permutations=99, seed=generator_seed)
    return found.reason is None and bool(np.nanmin(found.pvalue) <= 0.05)


@pytest.mark.calibration
@pytest.mark.slow
@pytest.mark.parametrize("name", NULL_TABLES)
def test_any_column_of_a_null_table_is_significant_in_five_percent(name: str) -> None:
    n = 400
    rejected = sum(of_size(name, seed) for seed in range(n))
    assert rejected <= stats.binom.isf(0.001, n, 0.05)
