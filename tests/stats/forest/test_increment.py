"""What a forest on rows adds to baselines, by hand on forests of a few rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from foretell.stats.detectors.stages import Training, best_slope
from foretell.stats.forest.increment import ForestOfDataset, forest_increment
from foretell.stats.forest.random_forest import ForestResult, judge_forest
from tests.stats.fingerprints import head_rows

N_HEADS = 3


def result(
    score: np.ndarray, label: np.ndarray, *, n_folds: int = 2, n_repeats: int = 1, stratum: np.ndarray | None = None
) -> ForestResult:
    """Return a forest's scores, `(repeat, sample, head)`; folds are every n_folds-th pair of samples."""
    n = len(label)
    repeat, sample, _ = (axis.ravel() for axis in np.indices((n_repeats, n, N_HEADS)))
    fold = repeat * n_folds + (sample // 2 + repeat) % n_folds
    nothing = np.zeros(len(sample), dtype=np.int64)
    return ForestResult(
        protocol="grouped",
        score=score.ravel(),
        predicted=score.ravel() > 0.5,
        label=label[sample],
        majority=nothing,
        fold=fold,
        sample=sample,
        group=sample,
        repeat=repeat,
        row=sample * N_HEADS,
        permuted=np.zeros((1, 0, len(sample))),
        impurity=np.zeros((1, 0)),
        stratum=nothing if stratum is None else stratum[sample],
        places=np.arange(n),
        n_folds=n_folds,
    )


def drawn(
    generator: np.random.Generator, n: int = 40, effect: float = 1.0, n_repeats: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(n) % 2
    odds = effect * (label - 0.5)[None, :, None] + generator.normal(size=(n_repeats, n, N_HEADS))
    return expit(0.1 * odds), label


@pytest.mark.parametrize("known_effect", [None, 0.0, 1.5])
def test_it_is_the_difference_of_the_aucs_written_out(
    known_effect: float | None, generator: np.random.Generator
) -> None:
    score, label = drawn(generator)
    known = None if known_effect is None else generator.normal(size=40) + known_effect * (label - 0.5)
    change = logit(score[0]).mean(axis=1)
    base = np.zeros(40) if known is None else known
    fold = np.arange(40) // 2 % 2
    together, wins, pairs = base.copy(), np.zeros(2), 0
    for value in (0, 1):
        here, other = fold == value, fold != value
        training = Training(label[other], np.flatnonzero(other), base[other])  # half of the labels are 1
        centred = change - change[other].mean()
        together[here] += best_slope(centred[other], training, steepest=20.0) * centred[here]
        n = int(label[here].sum() * (1 - label[here]).sum())
        wins += n * np.array([roc_auc_score(label[here], values[here]) for values in (together, base)])
        pairs += n
    found = forest_increment([ForestOfDataset(result(score, label), known, np.arange(40))])
    assert found.estimate == pytest.approx((wins[0] - wins[1]) / pairs, abs=1e-12)
    assert (found.n, found.n_groups) == (40, 40)
    assert found.p_above is not None


def test_a_forest_that_says_what_baselines_say_adds_nothing(generator: np.random.Generator) -> None:
    score, label = drawn(generator, n=80, effect=2.0)
    known = 3 * logit(score[0]).mean(axis=1)
    found = forest_increment([ForestOfDataset(result(score, label), known, np.arange(80))])
    assert found.estimate == pytest.approx(0, abs=0.02)
    alone = forest_increment([ForestOfDataset(result(score, label), None, np.arange(80))])
    assert (alone.lower or 0) > 0.1


def test_a_forest_that_is_wrong_adds_exactly_nothing(generator: np.random.Generator) -> None:
    score, label = drawn(generator, effect=-4.0)
    for known in (None, generator.normal(size=40)):
        found = forest_increment([ForestOfDataset(result(score, label), known, np.arange(40))])
        assert found.estimate == 0.0
        assert (found.p_above or 0) >= 0.5


def test_scores_of_zero_and_one_are_no_obstacle(generator: np.random.Generator) -> None:
    label = np.arange(40) % 2
    score = np.repeat(label[None, :, None], N_HEADS, axis=2).astype(float)
    found = forest_increment([ForestOfDataset(result(score, label), generator.normal(size=40), np.arange(40))])
    assert found.estimate is not None
    assert found.estimate > 0.3
    assert found.p_above is not None


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_the_slope_of_a_fold_is_found_in_the_other_folds_of_its_repeat(
    n_repeats: int, generator: np.random.Generator
) -> None:
    score, label = drawn(generator, n_repeats=n_repeats)
    one = ForestOfDataset(result(score, label, n_repeats=n_repeats), None, np.arange(40))
    areas: list[float] = []
    for repeat in range(n_repeats):
        fold = (np.arange(40) // 2 + repeat) % 2
        alone = result(score[repeat : repeat + 1], label)
        alone = replace(alone, fold=np.repeat(fold, N_HEADS))
        areas.append(forest_increment([ForestOfDataset(alone, None, np.arange(40))]).estimate or 0.0)
    assert forest_increment([one]).estimate == pytest.approx(np.mean(areas), abs=1e-12)


def test_samples_are_compared_within_a_stratum(generator: np.random.Generator) -> None:
    label = np.arange(80) % 2
    stratum = np.where(generator.random(80) < 0.9, label, 1 - label)
    score = expit(0.3 * (stratum[None, :, None] + 0.1 * generator.normal(size=(1, 80, N_HEADS))))
    blind, seen = (
        forest_increment([ForestOfDataset(result(score, label, stratum=one), None, np.arange(80))])
        for one in (None, stratum)
    )
    assert (blind.lower or 0) > 0.2
    assert seen.lower is not None
    assert seen.lower < 0


def test_the_place_of_a_sample_is_that_in_its_dataset(generator: np.random.Generator) -> None:
    score, label = drawn(generator)
    known, group = generator.normal(size=50), np.arange(50) // 2
    places = np.sort(generator.permutation(50)[:40])
    plain = forest_increment([ForestOfDataset(result(score, label), known[places], group[places])])
    moved = forest_increment([ForestOfDataset(replace(result(score, label), places=places), known, group)])
    assert (moved.estimate, moved.lower, moved.n_groups) == (plain.estimate, plain.lower, plain.n_groups)


def test_datasets_are_compared_within_and_share_groups(generator: np.random.Generator) -> None:
    (first, label), (second, _) = drawn(generator), drawn(generator)
    near = [ForestOfDataset(result(first, label), None, np.arange(40))]
    far = [ForestOfDataset(result(second, label), None, group) for group in (np.arange(40), 40 + np.arange(40))]
    shared, apart = (forest_increment([*near, one]) for one in far)
    assert (shared.n_groups, apart.n_groups) == (40, 80)
    alone = [forest_increment([one]).estimate or 0 for one in (*near, far[0])]
    assert shared.estimate == apart.estimate == pytest.approx(np.mean(alone), abs=1e-12)


def test_forests_without_scores_are_left_out_or_say_why(generator: np.random.Generator) -> None:
    score, label = drawn(generator)
    good = ForestOfDataset(result(score, label), None, np.arange(40))
    rows = head_rows(n_samples=6, n_heads=2)
    nothing = judge_forest(rows.features, np.ones_like(rows.label), rows.sample, protocols=("grouped",), n_trees=2)
    bad = ForestOfDataset(nothing["grouped"], None, np.arange(6))
    assert forest_increment([bad, good]).estimate == forest_increment([good]).estimate
    lost = forest_increment([bad, bad])
    assert (lost.estimate, lost.p_above, lost.reason) == (None, None, "all 6 samples have one label")


def test_strata_of_one_label_leave_nothing(generator: np.random.Generator) -> None:
    score, label = drawn(generator)
    found = forest_increment([ForestOfDataset(result(score, label, stratum=label), None, np.arange(40))])
    assert found.estimate is found.p_above is None
    assert found.reason == "no held-out fold has both labels"


def test_a_real_forest_adds_what_its_rows_know() -> None:
    rows = head_rows(n_samples=60, n_heads=12, effect=0.8)
    forest = judge_forest(rows.features, rows.label, rows.sample, protocols=("grouped",), n_trees=20, n_jobs=1)
    one = replace(forest["grouped"], places=np.arange(60))
    found = forest_increment([ForestOfDataset(one, None, np.arange(60))], level=0.9)
    assert (found.lower or 0) > 0.1
    assert found.level == 0.9
