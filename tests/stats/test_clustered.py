from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from foretell.stats.association import column_statistics
from foretell.stats.clustered import (
    clustered_auc_variance,
    clustered_counts,
    clustered_slope_pvalue,
    clustered_spearman_pvalue,
    group_codes_of,
)
from foretell.stats.intervals import auc_variance, placements


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
    found, degrees = clustered_auc_variance(values, label, codes, engine=engine)
    for column, row in enumerate(values):
        there = ~np.isnan(row)
        positive = label[there] == 1
        names = codes[there]
        expected = auc_variance(placements(row[there], positive), names[positive], names[~positive])
        assert (found[column], degrees[column]) == pytest.approx(expected, rel=1e-12)


def test_the_slope_is_tested_by_the_sandwich_written_out(grouped: Any) -> None:
    values, label, codes = grouped
    found = clustered_slope_pvalue(values, label, codes)
    for column, row in enumerate(values):
        there = ~np.isnan(row)
        design = np.column_stack([np.ones(there.sum()), label[there]])
        inverse = np.linalg.inv(design.T @ design)
        beta = inverse @ design.T @ row[there]
        rest = row[there] - design @ beta
        names = np.unique(codes[there])
        scores = np.array([design[codes[there] == g].T @ rest[codes[there] == g] for g in names])
        n, g = there.sum(), names.size
        covariance = inverse @ (scores.T @ scores) @ inverse * (g / (g - 1) * (n - 1) / (n - 2))
        expected = 2 * stats.t.sf(abs(beta[1]) / np.sqrt(covariance[1, 1]), g - 1)
        assert found[column] == pytest.approx(expected, rel=1e-9)


def test_spearman_is_the_slope_of_ranks(grouped: Any) -> None:
    values, label, codes = grouped
    ranks = stats.rankdata(values, axis=1, nan_policy="omit")
    np.testing.assert_allclose(
        clustered_spearman_pvalue(values, label, codes), clustered_slope_pvalue(ranks, label, codes), rtol=1e-12
    )


def test_counts_are_of_groups_with_a_value(grouped: Any) -> None:
    values, label, codes = grouped
    groups, positive, negative = clustered_counts(values, label, codes)
    there = ~np.isnan(values[4])
    assert groups[4] == np.unique(codes[there]).size
    assert positive[4] == np.unique(codes[there & (label == 1)]).size
    assert negative[4] == np.unique(codes[there & (label == 0)]).size


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
    assert group_codes_of(np.array(["b", "a", "b", "c"])).tolist() == [1, 0, 1, 2]
