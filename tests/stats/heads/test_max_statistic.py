from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from foretell.errors import InputError
from foretell.stats.heads.max_statistic import (
    Permutations,
    benjamini_hochberg,
    blockwise_max_statistic,
    max_statistic,
    permuted_labels,
)


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
    found = max_statistic(values, label, n_permutations=60, seed=5)

    def size(marks: np.ndarray, column: int) -> float:
        test = stats.mannwhitneyu(
            values[marks, column], values[~marks, column], method="asymptotic", use_continuity=False
        )
        return float(stats.norm.isf(test.pvalue / 2))

    largest = [max(size(marks, column) for column in range(6)) for marks in permutations.labels]
    np.testing.assert_allclose(found.largest, largest, atol=1e-9)
    expected = [(1 + sum(one >= size(label == 1, c) - 1e-9 for one in largest)) / 61 for c in range(6)]
    np.testing.assert_allclose(found.pvalue[:6], expected)
    assert np.isnan(found.pvalue[6])


def test_blocks_of_columns_change_nothing(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(30, 11)), np.arange(30) % 2
    values[2, 3] = np.nan
    permutations = permuted_labels(label, n_permutations=40, seed=1)
    whole = max_statistic(values, label, n_permutations=40, seed=1)
    parts = blockwise_max_statistic([values.T[:4], values.T[4:5], values.T[5:]], label, permutations)
    np.testing.assert_allclose(whole.pvalue, parts.pvalue)
    np.testing.assert_allclose(whole.largest, parts.largest)


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


def test_labels_are_permuted_between_samples() -> None:
    found = permuted_labels(np.arange(12) % 3 == 0, n_permutations=200)
    assert found.rule == "labels permuted between samples"
    assert np.all(found.labels.sum(axis=1) == 4)
    assert found.labels.mean(axis=0) == pytest.approx(np.full(12, 1 / 3), abs=0.15)


def test_labels_are_permuted_between_groups_of_one_label() -> None:
    group, label = np.repeat(np.arange(6), 4), np.repeat(np.arange(6) % 2, 4)
    found = permuted_labels(label, group=group, n_permutations=100)
    assert found.rule == "labels permuted between whole groups"
    blocks = found.labels.reshape(100, 6, 4)
    assert np.all(blocks.min(axis=2) == blocks.max(axis=2))
    assert np.all(blocks[:, :, 0].sum(axis=1) == 3)


def test_labels_of_mixed_groups_are_permuted_between_groups_of_equal_size() -> None:
    group = np.repeat(np.arange(5), [2, 2, 2, 3, 3])
    label = np.array([1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0])
    found = permuted_labels(label, group=group, n_permutations=300)
    assert found.rule == "labels permuted between groups of one size and shuffled in them"
    pairs, triples = found.labels[:, :6].reshape(300, 3, 2), found.labels[:, 6:].reshape(300, 2, 3)
    assert np.all(np.sort(pairs.sum(axis=2), axis=1) == [0, 1, 2])
    assert np.all(np.sort(triples.sum(axis=2), axis=1) == [0, 2])
    assert np.unique(found.labels, axis=0).shape[0] > 50


def test_strata_keep_their_labels() -> None:
    stratum = np.repeat(["a", "b"], 10)
    label = np.r_[np.arange(10) < 8, np.arange(10) < 1]
    found = permuted_labels(label, stratum=stratum, n_permutations=50)
    assert np.all(found.labels[:, :10].sum(axis=1) == 8)
    assert np.all(found.labels[:, 10:].sum(axis=1) == 1)
    assert found.rule.endswith("within strata")


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
    wrong = Permutations(np.zeros((3, 4), dtype=np.bool_), "none")
    with pytest.raises(InputError, match="another number of samples"):
        blockwise_max_statistic([generator.normal(size=(2, 5))], np.arange(5) % 2, wrong)
