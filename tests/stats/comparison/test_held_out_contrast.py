"""Differences of held-out AUCs: those of `fold_auc` on shared folds, and of each side's own labels."""

from __future__ import annotations

import numpy as np
import pytest

from foretell.stats.auc.fold_auc import fold_auc, fold_auc_difference
from foretell.stats.comparison.held_out_contrast import held_out_contrast
from foretell.stats.comparison.sides import Pair, Side
from foretell.stats.detectors.held_out_scores import HeldOutScores


def side(label: np.ndarray, stratum: np.ndarray | None = None) -> Side:
    n = len(label)
    ids = np.array([f"s{index:03d}" for index in range(n)])
    return Side(ids, label.astype(float), ids, stratum, np.zeros((n, 1, 1, 1)), ((0,), (0,)), ("PAM",))


def scores(values: np.ndarray, n_folds: int = 4) -> HeldOutScores:
    """Scores whose folds are pairs of samples in turn."""
    fold = np.tile(np.arange(values.shape[1]) // 2 % n_folds, (len(values), 1))
    return HeldOutScores(values, fold, None, np.empty((len(values), 0, values.shape[1])))


def pair(first: Side, second: Side, *, paired: bool = True) -> Pair:
    codes = np.arange(len(first.ids))
    other = codes if paired else len(codes) + np.arange(len(second.ids))
    return Pair("made", first, second, (codes, other), paired, ())


def test_on_shared_folds_and_labels_it_is_the_difference_of_one_study(generator: np.random.Generator) -> None:
    label = generator.permutation(80) % 2
    first, second = label + generator.normal(size=(2, 1, 80))
    found, reason = held_out_contrast(pair(side(label), side(label)), scores(first), scores(second))
    expected = fold_auc_difference(first[0], second[0], label, scores(first).splits(np.arange(80), np.zeros(80, int)))
    assert reason is None
    assert found.difference[0] == pytest.approx(expected.estimate)
    lower, upper = found.interval(0.95)
    assert expected.lower is not None
    assert expected.upper is not None
    # pairs of groups that are counted twice are not subtracted, which widens the interval by a few percent
    width, own = expected.upper - expected.lower, float(upper[0] - lower[0])
    assert width <= own + 1e-9 <= 1.1 * width


def test_each_side_has_the_auc_of_its_own_labels(generator: np.random.Generator) -> None:
    labels = generator.permutation(60) % 2, generator.permutation(60) % 3 % 2
    values = generator.normal(size=(2, 3, 60))
    found, _ = held_out_contrast(pair(side(labels[0]), side(labels[1])), *map(scores, values))
    for area, label, one in zip((found.first, found.second), labels, values, strict=True):
        splits = scores(one).splits(np.arange(60), np.zeros(60, int))
        assert area[0] == pytest.approx(fold_auc(one.ravel(), np.tile(label, 3), splits).estimate)


def test_of_two_sets_the_variances_add(generator: np.random.Generator) -> None:
    label = generator.permutation(60) % 2
    values = label + generator.normal(size=(2, 1, 60))
    sides = side(label), side(label)
    together, _ = held_out_contrast(pair(*sides), *map(scores, values))
    apart, _ = held_out_contrast(pair(*sides, paired=False), *map(scores, values))
    same, _ = held_out_contrast(pair(*sides, paired=False), scores(values[0]), scores(values[0]))
    assert same.error[0] > 0
    alone = [
        held_out_contrast(pair(*sides, paired=False), scores(one), scores(one))[0].error[0] ** 2 / 2 for one in values
    ]
    assert apart.error[0] ** 2 == pytest.approx(sum(alone))
    assert together.error[0] != apart.error[0]


def test_where_both_sides_have_strata_only_their_pairs_count(generator: np.random.Generator) -> None:
    stratum = np.array(["a", "b"] * 40)
    label = (stratum == "a").astype(int)
    label[:8] = 1 - label[:8]
    values = (stratum == "a").astype(float)[None] + 0.01 * generator.normal(size=(1, 80))
    within, _ = held_out_contrast(pair(side(label, stratum), side(label, stratum)), scores(values), scores(values))
    plain, _ = held_out_contrast(pair(side(label), side(label)), scores(values), scores(values))
    assert plain.first[0] > 0.8
    assert within.first[0] < 0.75


def test_the_same_scores_have_no_interval() -> None:
    label = np.arange(40) % 2
    values = np.arange(80.0).reshape(2, 40)
    found, _ = held_out_contrast(pair(side(label), side(label)), scores(values), scores(values))
    assert (found.difference[0], found.p[0]) == (0.0, 1.0)
    assert np.isnan(found.interval(0.95)).all()


def test_one_label_has_no_auc() -> None:
    label = np.zeros(20, dtype=int)
    values = np.arange(20.0)[None]
    found, reason = held_out_contrast(pair(side(label), side(label)), scores(values), scores(values))
    assert np.isnan(found.difference[0])
    assert reason == "no held-out fold of a side has both labels"
