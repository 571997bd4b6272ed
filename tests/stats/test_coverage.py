"""On data without an effect nothing is found more often than it should be; with an effect the right heads come out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from foretell.stats.auc.intervals import auc_interval
from foretell.stats.auc.roc import pooled_auc
from foretell.stats.heads.association import column_statistics
from foretell.stats.heads.max_statistic import benjamini_hochberg, max_statistic

pytestmark = [pytest.mark.calibration, pytest.mark.slow]


def coverage(lower: Any, upper: Any, area: float) -> float:
    return float(np.mean((lower <= area + 1e-12) & (area - 1e-12 <= upper)))


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_p_values_of_null_columns_are_uniform(rate: float, generator: np.random.Generator) -> None:
    label = np.arange(400) < 400 * rate
    found = column_statistics(generator.normal(size=(400, 4000)), label)
    for pvalue in (found.pearson_p, found.spearman_p, found.auc_p):
        assert stats.kstest(pvalue, "uniform").pvalue > 0.01


@pytest.mark.parametrize("mixed", [False, True])
def test_clustered_p_values_are_uniform_where_groups_share_much(mixed: bool, generator: np.random.Generator) -> None:
    codes = np.repeat(np.arange(80), 3)
    shared = generator.normal(size=(80, 3000))
    values = shared[codes] * 1.5 + generator.normal(size=(240, 3000))
    label = generator.integers(0, 2, 240) if mixed else (np.arange(80) % 2)[codes]
    found = column_statistics(values, label, group=codes)
    for pvalue in (found.pearson_p, found.spearman_p, found.auc_p):
        assert np.mean(pvalue < 0.05) == pytest.approx(0.05, abs=0.015)
        assert np.mean(pvalue < 0.5) == pytest.approx(0.5, abs=0.03)
    assert np.mean(found.auc_p < 0.01) <= 0.0125
    if not mixed:  # what ignoring the groups would have found
        assert np.mean(column_statistics(values, label).auc_p < 0.05) > 0.15


def test_few_large_groups_among_many_small_ones_do_not_fool_p_values_and_intervals(
    generator: np.random.Generator,
) -> None:
    sizes = np.r_[np.full(20, 1), np.full(10, 3), np.full(10, 8)]
    codes = np.repeat(np.arange(40), sizes)
    below, held = [], []
    for _ in range(60):
        label = (generator.permutation(40) < 8)[codes]
        values = 0.9 * generator.normal(size=(40, 50))[codes] + 0.45 * generator.normal(size=(codes.size, 50))
        found = column_statistics(values, label, group=codes)
        below.append([found.pearson_p, found.spearman_p, found.auc_p])
        held.append(coverage(found.auc_lower, found.auc_upper, 0.5))
    for bar in (0.05, 0.01, 0.001):
        assert np.mean(np.array(below) <= bar) <= 1.2 * bar
    assert 0.92 <= np.mean(held) <= 0.975


@pytest.mark.parametrize("size", [(20, 20), (20, 200), (200, 20), (50, 50)])
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9])
def test_intervals_cover_from_twenty_samples_per_class_on(
    size: tuple[int, int], area: float, generator: np.random.Generator
) -> None:
    label = np.arange(sum(size)) < size[0]
    values = generator.normal(size=(sum(size), 10_000)) + label[:, None] * np.sqrt(2) * special.ndtri(area)
    found = column_statistics(values, label)
    noise = 3 * np.sqrt(0.95 * 0.05 / 10_000)
    assert 0.94 - noise <= coverage(found.auc_lower, found.auc_upper, area) <= 0.96 + noise


@pytest.mark.parametrize("size", [(5, 5), (5, 50), (50, 5), (10, 10)])
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9])
def test_intervals_never_cover_less_than_92_percent_down_to_five(
    size: tuple[int, int], area: float, generator: np.random.Generator
) -> None:
    label = np.arange(sum(size)) < size[0]
    values = generator.normal(size=(sum(size), 4000)) + label[:, None] * np.sqrt(2) * special.ndtri(area)
    found = column_statistics(values, label)
    assert coverage(found.auc_lower, found.auc_upper, area) >= 0.92


@pytest.mark.parametrize("area", [0.5, 0.8])
@pytest.mark.parametrize("mixed", [False, True])
def test_clustered_intervals_cover(area: float, mixed: bool, generator: np.random.Generator) -> None:
    codes = np.repeat(np.arange(60), 4)
    label = generator.integers(0, 2, 240) if mixed else (np.arange(60) % 2)[codes]
    shared = generator.normal(size=(60, 3000))[codes]
    values = shared + generator.normal(size=(240, 3000)) + label[:, None] * 2 * special.ndtri(area)
    found = column_statistics(values, label, group=codes)
    assert 0.93 <= coverage(found.auc_lower, found.auc_upper, area) <= 0.97
    alone = column_statistics(values, label)
    if not mixed:
        assert coverage(alone.auc_lower, alone.auc_upper, area) < 0.85


def test_row_level_intervals_cover_although_rows_are_many(generator: np.random.Generator) -> None:
    sample = np.repeat(np.arange(40), 64)
    label = (np.arange(40) % 2)[sample]
    held = 0
    for _ in range(1000):
        score = (generator.normal(size=40)[sample] + 2 * generator.normal(size=sample.size)) + 0.5 * label
        found = auc_interval(score, label, group=sample)
        area = special.ndtr(0.5 / np.sqrt(2 * 5))
        assert found.lower is not None
        assert found.upper is not None
        held += bool(found.lower <= area <= found.upper)
    assert 0.925 <= held / 1000 <= 0.975


def test_pooled_intervals_cover(generator: np.random.Generator) -> None:
    dataset = np.repeat(["a", "b", "c"], [30, 40, 60])
    held = 0
    for _ in range(1000):
        label = generator.permutation(np.arange(130) % 2)
        score = generator.normal(size=130) + label * 0.5 * np.sqrt(2) + 5 * (dataset == "b")
        found, _ = pooled_auc(score, label, dataset)
        assert found.lower is not None
        assert found.upper is not None
        held += bool(found.lower <= special.ndtr(0.5) <= found.upper)
    assert 0.925 <= held / 1000 <= 0.975


def test_permutation_p_values_are_uniform_on_null_tables(generator: np.random.Generator) -> None:
    label = np.arange(40) % 2
    pvalue = [
        max_statistic(generator.normal(size=(40, 20)), label, n_permutations=199, seed=seed).pvalue.min()
        for seed in range(500)
    ]
    assert stats.kstest(pvalue, "uniform").pvalue > 0.01
    assert np.mean(np.array(pvalue) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_family_wise_error_holds_where_groups_share_much(mixed: bool, generator: np.random.Generator) -> None:
    codes = np.repeat(np.arange(24), [2] * 12 + [4] * 12)
    found = []
    for seed in range(400):
        label = generator.integers(0, 2, codes.size) if mixed else generator.permutation(np.arange(24) % 2)[codes]
        values = 2 * generator.normal(size=(24, 10))[codes] + generator.normal(size=(codes.size, 10))
        found.append(max_statistic(values, label, group=codes, n_permutations=199, seed=seed).pvalue.min())
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(np.array(found) <= 0.5) >= 0.4


def test_false_discoveries_stay_below_the_rate_and_planted_heads_are_found(generator: np.random.Generator) -> None:
    label = np.arange(100) % 2
    shares, power, strict = [], [], []
    for seed in range(200):
        values = generator.normal(size=(100, 200))
        values[:, :20] += 0.9 * label[:, None]
        found = benjamini_hochberg(column_statistics(values, label).auc_p) <= 0.1
        shares.append(found[20:].sum() / max(1, found.sum()))
        power.append(found[:20].mean())
        if seed < 40:
            best = max_statistic(values, label, n_permutations=199, seed=seed).pvalue <= 0.05
            strict.append((best[:20].mean(), best[20:].any()))
    assert np.mean(shares) <= 0.1
    assert np.mean(power) > 0.9
    assert np.mean([right for right, _ in strict]) > 0.5
    assert np.mean([wrong for _, wrong in strict]) <= 0.15
