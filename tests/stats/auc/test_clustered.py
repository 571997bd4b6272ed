from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from foretell.stats.auc.clustered import clustered_auc_variance, clustered_pearson_pvalue, clustered_rank_pvalue
from foretell.stats.auc.intervals import auc_variance, placements
from foretell.stats.folds import group_codes
from foretell.stats.heads.association import column_statistics


@pytest.fixture
def grouped(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    codes = generator.integers(0, 20, 90)
    values = generator.normal(size=(8, 90)) + generator.normal(size=20)[codes]
    values[:3] = values[:3].round(1)
    values[generator.random(values.shape) < 0.05] = np.nan
    return values, generator.integers(0, 2, 90), codes


@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_every_column_has_the_variance_of_one_column_alone(grouped: Any, engine: Any) -> None:
    values, label, codes = grouped
    found = clustered_auc_variance(values, label, codes, engine=engine)
    for column, row in enumerate(values):
        present = ~np.isnan(row)
        positive = label[present] == 1
        names = codes[present]
        expected = auc_variance(placements(row[present], positive), names[positive], names[~positive])
        for name in ("variance", "degrees", "n_positive", "n_negative"):
            assert getattr(found, name)[column] == pytest.approx(float(getattr(expected, name)), rel=1e-12)


def test_the_score_test_is_that_of_the_covariance_summed_group_by_group(grouped: Any) -> None:
    values, label, codes = grouped
    found = clustered_pearson_pvalue(values, label, codes)
    for column, row in enumerate(values):
        present = np.flatnonzero(~np.isnan(row))
        x, y = row[present] - row[present].mean(), label[present] - label[present].mean()
        parts = [sum(x[i] * y[i] for i in range(present.size) if codes[present][i] == name) for name in range(20)]
        expected = stats.chi2.sf(sum(parts) ** 2 / sum(part**2 for part in parts), 1)
        assert found[column] == pytest.approx(expected, rel=1e-9)


def test_without_groups_the_score_test_is_whites(generator: np.random.Generator) -> None:
    values, label = generator.normal(size=(4, 30)), np.arange(30) % 3 == 0
    x, y = values - values.mean(axis=1, keepdims=True), label - label.mean()
    expected = stats.chi2.sf((x @ y) ** 2 / ((x * y) ** 2).sum(axis=1), 1)
    np.testing.assert_allclose(clustered_pearson_pvalue(values, label, np.arange(30)), expected, rtol=1e-12)


def test_spearman_and_auc_are_one_test_of_ranks(grouped: Any) -> None:
    values, label, codes = grouped
    ranks = stats.rankdata(values, axis=1, nan_policy="omit")
    found = clustered_rank_pvalue(values, label, codes)
    np.testing.assert_allclose(found, clustered_pearson_pvalue(ranks, label, codes), rtol=1e-12)
    column = column_statistics(values.T, label, group=codes)
    assert column.auc_p.tolist() == column.spearman_p.tolist() == found.tolist()


def test_a_constant_column_says_nothing_with_groups_too(grouped: Any) -> None:
    _, label, codes = grouped
    found = column_statistics(np.full((90, 1), 0.3), label, group=codes)
    assert (found.auc[0], found.auc_p[0]) == (0.5, 1.0)
    assert np.isnan(found.pearson_p[0])
    assert np.isnan(found.spearman_p[0])


def test_repeating_every_sample_fools_the_plain_p_value_and_not_the_clustered_one(
    generator: np.random.Generator,
) -> None:
    values, label = generator.normal(size=(40, 30)), np.arange(40) % 2
    often, labels, group = np.repeat(values, 20, axis=0), np.repeat(label, 20), np.repeat(np.arange(40), 20)
    once, plain = column_statistics(values, label), column_statistics(often, labels)
    honest = column_statistics(often, labels, group=group)
    for name in ("pearson_p", "spearman_p", "auc_p"):
        assert np.median(getattr(plain, name)) < 0.1 * np.median(getattr(once, name))
        np.testing.assert_allclose(getattr(honest, name), getattr(once, name), atol=0.08)
    assert "groups" in honest.method


def test_too_few_groups_say_so() -> None:
    values, label = np.array([[0.1, 0.2, 0.3, 0.4]]).T, np.array([0, 1, 0, 1])
    found = column_statistics(values, label, group=np.array(["a", "a", "b", "b"]))
    assert found.reason == ("fewer than three groups: not every p-value is defined",)
    assert np.isnan(found.pearson_p[0])
    single = column_statistics(values, label, group=np.array(["a", "b", "a", "c"]))
    assert single.reason == ("a class has fewer than two groups: no interval",)


def test_codes_follow_the_names() -> None:
    assert group_codes(np.array(["b", "a", "b", "c"])).tolist() == [1, 0, 1, 2]
