from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from foretell.errors import InputError
from foretell.stats.folds import bootstrap_weights, derived_seed, group_codes, grouped_folds, shuffled_labels


@st.composite
def grouped_samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n_groups = draw(st.integers(1, 12))
    sizes = draw(st.lists(st.integers(1, 5), min_size=n_groups, max_size=n_groups))
    group = np.repeat([f"g{index}" for index in range(n_groups)], sizes)
    label = draw(st.lists(st.integers(0, 1), min_size=len(group), max_size=len(group)))
    return np.array(label, dtype=np.int64), group


@settings(max_examples=150)
@given(grouped_samples(), st.integers(2, 6), st.integers(0, 5))
def test_groups_never_straddle_and_training_holds_both_labels(
    samples: tuple[np.ndarray, np.ndarray], n_folds: int, seed: int
) -> None:
    label, group = samples
    folds = grouped_folds(label, group, n_folds=n_folds, seed=seed)
    if folds.reason is not None:
        assert (folds.fold == -1).all()
        assert folds.n_folds == 0
        both = all(len(np.unique(group[label == value])) >= 2 for value in (0, 1))
        assert not both or "no split" in folds.reason
        return
    assert 2 <= folds.n_folds <= n_folds
    for name in np.unique(group):
        assert len(np.unique(folds.fold[group == name])) == 1
    heldout = np.zeros(len(label), dtype=int)
    for fold in range(folds.n_folds):
        heldout += folds.heldout(fold)
        assert set(group[folds.train(fold)]).isdisjoint(group[folds.heldout(fold)])
        assert set(label[folds.train(fold)]) == {0, 1}
    assert (heldout == 1).all()


@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_of_samples_changes_no_fold(generator: np.random.Generator, grouped: bool) -> None:
    label = generator.integers(0, 2, 60)
    ids = np.array([f"s{index:02d}" for index in range(60)])
    group = generator.integers(0, 20, 60) if grouped else None
    folds = grouped_folds(label, group, ids=ids, seed=3)
    order = generator.permutation(60)
    moved = grouped_folds(label[order], None if group is None else group[order], ids=ids[order], seed=3)
    assert (moved.fold == folds.fold[order]).all()


def test_rows_in_any_order_get_the_same_folds_from_their_groups(generator: np.random.Generator) -> None:
    group = np.repeat(np.arange(20), 7)
    label = group % 2
    order = generator.permutation(len(group))
    assert (grouped_folds(label, group).fold[order] == grouped_folds(label[order], group[order]).fold).all()


def test_classes_are_balanced_as_scikit_learn_balances_them() -> None:
    label = np.repeat([0, 1], [70, 30])
    folds = grouped_folds(label, n_folds=5, seed=1)
    assert [int(label[folds.heldout(fold)].sum()) for fold in range(5)] == [6] * 5
    expected = np.zeros(100, dtype=int)
    splitter = StratifiedKFold(5, shuffle=True, random_state=derived_seed(1, "folds", 0))
    for fold, (_, heldout) in enumerate(splitter.split(label, label)):
        expected[heldout] = fold
    assert (folds.fold == expected).all()


def test_uneven_groups_are_split_by_scikit_learn(generator: np.random.Generator) -> None:
    group = np.repeat(np.arange(30), generator.integers(1, 6, 30))
    label = generator.integers(0, 2, len(group))
    folds = grouped_folds(label, group, n_folds=4, seed=2)
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=derived_seed(2, "folds", 0))
    for fold, (_, heldout) in enumerate(splitter.split(label, label, group)):
        assert (np.flatnonzero(folds.heldout(fold)) == heldout).all()


@pytest.mark.parametrize(
    ("label", "group", "reason"),
    [
        ([], [], "no samples"),
        ([1, 1, 1], ["a", "b", "c"], "all 3 samples have one label"),
        ([0, 0, 1, 1], ["a", "b", "c", "c"], "only 1 group has label 1: splitting needs at least 2"),
    ],
)
def test_impossible_splits_have_a_reason(label: list[int], group: list[str], reason: str) -> None:
    assert grouped_folds(np.array(label, dtype=np.int64), group).reason == reason


def test_few_groups_make_fewer_folds() -> None:
    assert grouped_folds(np.array([0] * 20 + [1] * 3), n_folds=5).n_folds == 3


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="needs at least 2"):
        grouped_folds(np.array([0, 1]), n_folds=1)
    with pytest.raises(InputError, match="another number"):
        grouped_folds(np.array([0, 1]), ["a"])


def test_bootstrap_draws_whole_groups_and_loses_no_class(generator: np.random.Generator) -> None:
    group = group_codes(np.repeat(["a", "b", "c", "d"], [3, 1, 2, 2]))
    label = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    weights = bootstrap_weights(group, n_resamples=500, seed=4, kind=label)
    assert (weights.sum(axis=1) == 4).all()
    assert (weights[:, 0] == 1).all()
    free = bootstrap_weights(group, n_resamples=4000, seed=4)
    assert np.allclose(free.mean(axis=0), 1, atol=0.06)
    assert np.allclose(free.var(axis=0), 0.75, atol=0.06)
    assert (free == bootstrap_weights(group, n_resamples=4000, seed=4)).all()


def test_placebo_labels_keep_their_number_and_follow_ids(generator: np.random.Generator) -> None:
    label = generator.integers(0, 2, 50)
    ids = np.array([f"s{index:02d}" for index in range(50)])
    permuted = shuffled_labels(label, ids=ids, seed=1)
    order = generator.permutation(50)
    assert permuted.sum() == label.sum()
    assert (permuted != label).any()
    assert (shuffled_labels(label[order], ids=ids[order], seed=1) == permuted[order]).all()
    assert (shuffled_labels(label, ids=ids, seed=2) != permuted).any()


@pytest.mark.parametrize("sizes", [[4] * 10, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]])
def test_placebo_labels_move_in_whole_groups(sizes: list[int]) -> None:
    group, label = np.repeat(np.arange(10), sizes), np.repeat(np.arange(10) % 2, sizes)
    assigned = [shuffled_labels(label, group=group, seed=seed) for seed in range(50)]
    first = np.cumsum(sizes) - sizes
    for one in assigned:
        assert (one == one[first][group]).all()
        assert one[first].sum() == 5
    assert np.mean(assigned, axis=0) == pytest.approx(np.full(len(group), 0.5), abs=0.25)


def test_placebo_labels_of_mixed_groups_move_together() -> None:
    group, label = np.repeat(np.arange(3), 4), np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    for seed in range(20):
        assigned = shuffled_labels(label, group=group, seed=seed).reshape(3, 4)
        assert sorted(assigned.sum(axis=1).tolist()) == [0, 1, 4]
    assert shuffled_labels(np.array([], dtype=np.int64)).size == 0


def test_purposes_do_not_share_seeds() -> None:
    seeds = {derived_seed(0, *words) for words in [(), ("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ("a", 2)]}
    assert len(seeds) == 7
    assert derived_seed(1, "a") != derived_seed(0, "a")
