from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from foretell.stats.auc import comparable_pairs
from foretell.stats.auc.fold_auc import (
    Splits,
    _repeat_estimate,
    auc_with_influence,
    fold_auc,
    fold_auc_difference,
    nadeau_bengio_factor,
    nested_increment,
)
from foretell.stats.auc.intervals import Estimate, auc_variance, effective_groups, placements
from foretell.stats.folds import group_codes


@pytest.mark.parametrize("n_groups", [1, 7, 40, 90])
def test_listed_pairs_and_sorted_scores_give_the_same(
    n_groups: int, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, repeat, within = generator.integers(0, 2, 90), np.arange(90) // 45, generator.integers(0, 4, 90)
    splits = Splits(repeat, within, generator.integers(0, n_groups, 90), 1.45, 4)
    scores = [(generator.normal(size=90) + label).round(decimals) for decimals in (0, 1, 8)]
    listed: list[Estimate] = []
    by_sorting: list[Estimate] = []
    for most, found in ((comparable_pairs.MOST_PAIRS, listed), (0, by_sorting)):
        monkeypatch.setattr(comparable_pairs, "MOST_PAIRS", most)
        splits = replace(splits, _listed={})
        found += [fold_auc(score, label, splits) for score in scores]
        found += [nested_increment(scores[0], score, label, splits) for score in scores[1:]]
    for one, other in zip(listed, by_sorting, strict=True):
        assert (one.reason, one.n_groups) == (other.reason, other.n_groups)
        for name in ("estimate", "lower", "upper", "p_above"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-12), name


def _split(group: np.ndarray, inflation: float = 1.0) -> Splits:
    one = np.zeros(len(group), dtype=np.int64)
    return Splits(one, one, group, inflation)


def test_one_fit_is_the_plain_auc(generator: np.random.Generator) -> None:
    for decimals in (0, 1, 8):
        label = generator.permutation(np.arange(60) % 3 == 0).astype(np.int64)
        score = (generator.normal(size=60) + label).round(decimals)
        found = fold_auc(score, label, _split(np.arange(60)))
        assert found.estimate == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_the_variance_is_delongs_and_obuchowskis(generator: np.random.Generator) -> None:
    group = np.repeat(np.arange(30), 4)
    label = (group % 2).astype(np.int64)
    score = label + generator.normal(size=30)[group] + generator.normal(size=120)
    placed = placements(score, label == 1)
    for names in (group, np.arange(120)):
        expected = auc_variance(placed, names[label == 1], names[label == 0]).variance
        influence = auc_with_influence(score, label, group=names).influence
        assert np.sum(np.bincount(names, weights=influence) ** 2) == pytest.approx(expected, rel=1e-12)
    apart, together = (fold_auc(score, label, _split(names)) for names in (np.arange(120), group))
    assert _width(together) > 1.3 * _width(apart)


def _width(found: Estimate) -> float:
    assert found.lower is not None
    assert found.upper is not None
    return found.upper - found.lower


@pytest.mark.parametrize("n_groups", [12, 60])
@pytest.mark.parametrize("signs", [(1.0,), (1.0, -1.0)])
def test_the_variance_counts_two_pairs_that_share_a_group_once(
    n_groups: int, signs: tuple[float, ...], generator: np.random.Generator
) -> None:
    n = 60
    label, within = generator.integers(0, 2, n), generator.integers(0, 3, n)
    group = np.arange(n) if n_groups == n else generator.integers(0, n_groups, n)
    terms = [(generator.normal(size=n).round(1), sign) for sign in signs]
    value, variance = _repeat_estimate(within, group, label, terms) or (0.0, 0.0)
    pairs = [(i, j) for i in range(n) for j in range(n) if label[i] > label[j] and within[i] == within[j]]
    wins = [sum(sign * ((s[i] > s[j]) + 0.5 * (s[i] == s[j])) for s, sign in terms) for i, j in pairs]
    off = (np.array(wins) - np.mean(wins)) / len(pairs)
    touched = np.array([[name in (group[i], group[j]) for name in range(group.max() + 1)] for i, j in pairs])
    inside = np.array([group[i] == group[j] for i, j in pairs])
    factors = [several / (several - 1) for several in (_several(group[label == one]) for one in (1, 0))]
    assert value == pytest.approx(np.mean(wins), abs=1e-12)
    expected = off @ (touched @ touched.T.astype(float) > 0) @ off  # every two pairs with a group in common, once
    ends = [np.bincount(group[[pair[end] for pair in pairs]], weights=off, minlength=group.max() + 1) for end in (0, 1)]
    own = np.bincount(group[[i for i, _ in pairs]], weights=off * inside, minlength=group.max() + 1)
    both = float(np.prod(factors)) ** 0.25
    plain = np.sum((ends[0] + ends[1] - own) ** 2)
    scaled = np.sum((np.sqrt(factors[0]) * ends[0] + np.sqrt(factors[1]) * ends[1] - both * own) ** 2)
    corrected = scaled - both**2 * (plain - expected)  # the small-sample factors
    assert variance == pytest.approx(max(corrected, scaled / 2), rel=1e-9)


def _several(group: np.ndarray) -> float:
    return float(effective_groups(np.unique(group, return_counts=True)[1]))


def test_a_stratum_with_one_positive_is_worth_as_much_as_pairs_that_share_it(generator: np.random.Generator) -> None:
    """Ten parts with one positive and one negative each are ten independent comparisons."""
    label, within = np.tile([1, 0], 10), np.repeat(np.arange(10), 2)
    score = np.where(label == 1, 1.0, np.repeat(np.arange(10) < 7, 2) * -2.0 + 2.0)
    one = np.zeros(20, dtype=np.int64)
    found = fold_auc_difference(score, np.zeros(20), label, Splits(one, within, np.arange(20)))
    assert found.estimate == pytest.approx(0.2)
    assert _width(found) == pytest.approx(2 * stats.t.ppf(0.975, 9) * np.sqrt(0.7 * 0.3 / 9), rel=1e-9)


def test_more_repeats_help_only_as_far_as_fits_do_not_share_samples() -> None:
    assert nadeau_bengio_factor(5, 5) == pytest.approx(1.45)
    assert nadeau_bengio_factor(5, 1) == pytest.approx(2.25)
    assert nadeau_bengio_factor(1) == nadeau_bengio_factor(1, 5) == 1.0
    assert nadeau_bengio_factor(1, heldout=0.2) == pytest.approx(1.25)
    assert nadeau_bengio_factor(5, 1000) > 1.25


def test_parts_weigh_their_pairs(generator: np.random.Generator) -> None:
    within = generator.integers(0, 4, 80)
    label = generator.integers(0, 2, 80)
    score = generator.normal(size=80) + 10.0 * within
    wins = pairs = 0.0
    for value in range(4):
        here = within == value
        n = int(label[here].sum()) * int((1 - label[here]).sum())
        wins += n * roc_auc_score(label[here], score[here])
        pairs += n
    found = auc_with_influence(score, label, within=within)
    assert found.n_pairs == pairs
    assert found.auc == pytest.approx(wins / pairs, abs=1e-12)


def test_a_score_that_only_knows_the_stratum_is_worth_nothing_within(generator: np.random.Generator) -> None:
    stratum = np.repeat(np.array(["a", "b", "c"]), 30)
    label = (generator.random(90) < np.repeat([0.1, 0.5, 0.9], 30)).astype(np.int64)
    score = np.repeat([0.0, 1.0, 2.0], 30)
    assert auc_with_influence(score, label).auc > 0.8
    assert auc_with_influence(score, label, within=group_codes(stratum)).auc == 0.5


def test_gain_is_a_difference_of_aucs_of_the_same_samples_and_so_is_its_interval(
    generator: np.random.Generator,
) -> None:
    label = generator.integers(0, 2, 200)
    shared = generator.normal(size=200) + label
    first, second = shared + 0.1 * generator.normal(size=200), shared + 0.1 * generator.normal(size=200)
    gain = fold_auc_difference(first, second, label, _split(np.arange(200)))
    assert gain.estimate == pytest.approx(roc_auc_score(label, first) - roc_auc_score(label, second), abs=1e-12)
    assert _width(gain) < 0.5 * _width(fold_auc(first, label, _split(np.arange(200))))
    wider = fold_auc_difference(first, second, label, _split(np.arange(200), inflation=4.0))
    assert _width(wider) == pytest.approx(2 * _width(gain))


def test_repeats_are_averaged_and_do_not_pass_for_more_samples(generator: np.random.Generator) -> None:
    label = generator.integers(0, 2, 50)
    score = generator.normal(size=50) + label
    once = fold_auc(score, label, _split(np.arange(50)))
    splits = Splits(np.repeat([0, 1], 50), np.zeros(100, dtype=np.int64), np.tile(np.arange(50), 2))
    twice = fold_auc(np.tile(score, 2), np.tile(label, 2), splits)
    assert (twice.estimate, twice.lower, twice.upper, twice.n) == (once.estimate, once.lower, once.upper, 50)


def test_reasons_where_nothing_can_be_compared() -> None:
    score, parts = np.arange(4.0), np.array([0, 0, 1, 1])
    splits = Splits(np.zeros(4, dtype=np.int64), parts, np.arange(4))
    assert fold_auc(score, parts, splits).reason == "no held-out fold has both labels"
    lonely = fold_auc(score, np.array([1, 0, 0, 0]), _split(np.arange(4)))
    assert (lonely.estimate, lonely.lower) == (0.0, None)
    assert lonely.reason == "a label has only one group: no interval"
    assert fold_auc_difference(score, score, np.array([1, 0, 0, 0]), _split(np.arange(4))).lower is None


def test_label_flip_and_monotone_transform(generator: np.random.Generator) -> None:
    label, within = generator.integers(0, 2, 70), generator.integers(0, 3, 70)
    score = generator.normal(size=70)
    found = auc_with_influence(score, label, within=within).auc
    assert auc_with_influence(np.exp(score), label, within=within).auc == pytest.approx(found, abs=1e-12)
    assert auc_with_influence(score, 1 - label, within=within).auc == pytest.approx(1 - found, abs=1e-12)


def test_bringing_a_baseline_below_one_half_back_to_it_is_no_evidence(generator: np.random.Generator) -> None:
    n = 80
    label, noise = np.arange(n) % 2, generator.normal(size=n)
    low = -label + 0.8 * generator.normal(size=n)
    one = np.zeros(n, dtype=np.int64)
    found = nested_increment(low + 20 * noise, low, label, Splits(one, one, np.arange(n)))
    assert found.lower is not None
    assert found.lower > 0
    assert found.p_above is not None
    assert found.p_above > 0.05
    useful = nested_increment(low + 5 * label, low, label, Splits(one, one, np.arange(n)))
    assert useful.p_above is not None
    assert useful.p_above < 1e-6


def test_the_interval_of_an_increment_adds_what_differs_between_repeats_and_p_does_not(
    generator: np.random.Generator,
) -> None:
    n, repeats = 60, 3
    label, within = np.tile(np.arange(n) % 2, repeats), np.zeros(n * repeats, dtype=np.int64)
    known = generator.normal(size=n * repeats) + 0.3 * label
    together = known + 0.5 * label
    of_repeat, group = np.repeat(np.arange(repeats), n), np.tile(np.arange(n), repeats)
    narrow, wide = (
        nested_increment(together, known, label, Splits(of_repeat, within, group, 1.45, n_folds)) for n_folds in (1, 5)
    )
    aucs = [
        [roc_auc_score(label[of_repeat == one], score[of_repeat == one]) for one in range(repeats)]
        for score in (together, known)
    ]
    t = stats.t.ppf(0.975, n // 2 - 1)
    added = (_width(wide) / 2 / t) ** 2 - (_width(narrow) / 2 / t) ** 2
    assert added == pytest.approx(4 * np.var(np.diff(aucs, axis=0), ddof=1))
    assert (wide.estimate, wide.p_above) == (narrow.estimate, narrow.p_above)
    same = Splits(np.zeros(n, dtype=np.int64), within[:n], group[:n], 1.45, 5)
    assert _width(nested_increment(together[:n], known[:n], label[:n], same)) > 0


def test_an_increment_of_nothing_is_not_certain() -> None:
    """A signal that was left out on all training samples: its increment is 0, with the spread of independent scores."""
    label = np.arange(60) % 2
    one, group = np.zeros(60, dtype=np.int64), np.arange(60)
    known = np.random.default_rng(1).normal(size=60)
    found = nested_increment(known, known, label, Splits(one, one, group, 1.25, 5))
    error = np.sqrt(1.25 * 61 / (12 * 30 * 30)) * stats.t.ppf(0.975, 29)
    assert found.estimate == 0
    assert found.lower == pytest.approx(-error)
    assert found.upper == pytest.approx(error)
    assert found.p_above is not None
    assert found.p_above >= 0.5
