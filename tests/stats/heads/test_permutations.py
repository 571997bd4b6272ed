from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foretell.stats.heads.permutations import permuted_labels
from tests.stats.heads.null_tables import NULL_TABLES


def labels_of(found: np.ndarray) -> np.ndarray:
    """Return which samples are positive; deviations of independent samples have the sign of their label."""
    return found > 0


def test_labels_are_permuted_between_samples() -> None:
    found = permuted_labels(np.arange(12) % 3 == 0, n_permutations=200)
    assert found.rule == "labels permuted between samples"
    permuted = labels_of(found.permuted)
    assert np.all(permuted.sum(axis=1) == 4)
    assert permuted.mean(axis=0) == pytest.approx(np.full(12, 1 / 3), abs=0.15)


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4, 4, 4), (1, 2, 3, 4, 5, 6)])
def test_labels_are_permuted_between_groups_of_one_label(sizes: tuple[int, ...]) -> None:
    group, label = np.repeat(np.arange(6), sizes), np.repeat(np.arange(6) % 2, sizes)
    found = permuted_labels(label, group=group, n_permutations=100)
    assert found.rule == "labels permuted between whole groups"
    permuted = labels_of(found.permuted)
    first = np.cumsum(sizes) - sizes
    assert np.all(permuted == permuted[:, first][:, group])
    assert np.all(permuted[:, first].sum(axis=1) == 3)
    assert np.unique(permuted, axis=0).shape[0] == 20


def test_groups_with_both_labels_exchange_means_and_shuffle_the_rest() -> None:
    group, label = np.repeat(np.arange(3), 2), np.array([1, 1, 0, 1, 0, 0])
    found = permuted_labels(label, group=group, n_permutations=300)
    assert found.rule.startswith("mean labels permuted between groups of similar size, and labels shuffled in groups")
    assert found.observed == pytest.approx(label - 0.5)
    means, apart = found.permuted.reshape(-1, 3, 2).mean(axis=2), np.diff(found.permuted.reshape(-1, 3, 2))[..., 0]
    assert np.sort(means, axis=1) == pytest.approx(np.tile([-0.5, 0, 0.5], (300, 1)))
    assert apart[:, [0, 2]] == pytest.approx(0)
    assert set(apart[:, 1].round(12)) == {-1, 1}


def test_groups_of_very_different_size_are_not_exchanged() -> None:
    sizes = np.repeat([1, 30], 10)
    group, label = np.repeat(np.arange(20), sizes), np.repeat(np.arange(20) % 5 == 0, sizes)
    found = permuted_labels(label, group=group, n_permutations=50)
    permuted = labels_of(found.permuted)[:, np.cumsum(sizes) - sizes]
    assert np.all(permuted[:, :10].sum(axis=1) == 2)
    assert np.all(permuted[:, 10:].sum(axis=1) == 2)


def test_strata_keep_their_labels() -> None:
    stratum = np.repeat(["a", "b"], 10)
    label = np.r_[np.arange(10) < 8, np.arange(10) < 1]
    found = permuted_labels(label, stratum=stratum, n_permutations=50)
    permuted = labels_of(found.permuted)
    assert np.all(permuted[:, :10].sum(axis=1) == 8)
    assert np.all(permuted[:, 10:].sum(axis=1) == 1)
    assert found.rule.endswith("within strata")


def test_a_group_belongs_to_the_stratum_of_most_of_its_samples() -> None:
    group = np.repeat(np.arange(6), 3)
    stratum = np.where(group < 3, "a", "b")
    stratum[0] = "b"
    label = np.isin(group, [0, 3])
    permuted = labels_of(permuted_labels(label, group=group, stratum=stratum, n_permutations=60).permuted)
    assert np.all(permuted[:, [2, 5, 8]].sum(axis=1) == 1)
    assert np.all(permuted[:, [11, 14, 17]].sum(axis=1) == 1)


@pytest.mark.parametrize("name", NULL_TABLES)
def test_the_deviation_is_that_of_many_permutations_and_their_mean_is_zero(name: str) -> None:
    table = NULL_TABLES[name](3)
    found = permuted_labels(table.label, **table.options, n_permutations=4000)
    scores = np.random.default_rng(0).normal(size=(4, table.label.size))
    products = found.permuted @ scores.T
    assert products.std(axis=0) / found.deviation(scores) == pytest.approx(np.ones(4), abs=0.05)
    assert products.mean(axis=0) / found.deviation(scores) == pytest.approx(np.zeros(4), abs=0.07)


@pytest.mark.parametrize(
    ("label", "options", "reason"),
    [
        ([1, 1, 1], {}, "only one class is present"),
        ([], {}, "only one class is present"),
        ([1, 1, 0, 0], {"stratum": np.array(["a", "a", "b", "b"])}, "labels cannot be exchanged"),
        (
            [1, 1, 0, 0],
            {"stratum": np.array(["a", "a", "b", "b"]), "group": np.arange(4)},
            "labels cannot be exchanged",
        ),
    ],
)
def test_what_cannot_be_exchanged_has_a_reason(label: list[int], options: dict[str, Any], reason: str) -> None:
    found = permuted_labels(np.array(label), **options, n_permutations=9)
    assert reason in str(found.reason)
    assert not found.permuted.any()


def test_one_group_with_both_labels_can_be_shuffled() -> None:
    found = permuted_labels(np.array([1, 0, 1, 0]), group=np.zeros(4), n_permutations=50)
    assert found.reason is None
    assert np.unique(labels_of(found.permuted), axis=0).shape[0] == 6
