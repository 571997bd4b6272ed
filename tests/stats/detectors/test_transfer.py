"""Detectors fitted on one dataset and evaluated on another."""

from __future__ import annotations

import itertools

import numpy as np

from foretell.stats.detectors.transfer import ITSELF, OTHERS, TransferSet, transfer


def test_transfer_learns_elsewhere(generator: np.random.Generator) -> None:
    sets = itertools.count()

    def one(sign: float, shift: float) -> TransferSet:
        label = np.arange(60) % 2
        features = generator.normal(size=(60, 4)) + shift
        features[:, 0] += 2 * sign * label
        return TransferSet(features, label, np.arange(60) + 100 * next(sets))

    cells = transfer({"same": one(1, 0), "shifted": one(1, 50), "opposite": one(-1, 0)})
    area = {(cell.train, cell.dataset): cell.auc.estimate or 0 for cell in cells}
    assert len(cells) == 12
    assert area["same", "shifted"] > 0.8
    assert area[ITSELF, "opposite"] > 0.8
    assert area["same", "opposite"] < 0.2
    assert area[OTHERS, "opposite"] < 0.2
    ones = np.ones(60, dtype=np.int64)
    hopeless = transfer({"a": one(1, 0), "b": TransferSet(np.zeros((60, 4)), ones, ones)})
    assert [cell.auc.reason for cell in hopeless] == [
        None,
        "the training datasets have only one label",
        "all 60 samples have one label",
        "the evaluated dataset has only one label",
    ]
    apart = transfer({"a": one(1, 0), "b": TransferSet(np.zeros((60, 2)), ones, ones)})
    assert apart[1].auc.reason == "the datasets have no layers and heads in common"


def test_a_datasets_own_cell_is_judged_on_groups_that_were_held_out(generator: np.random.Generator) -> None:
    label, group = np.arange(80) % 2, np.repeat(np.arange(20), 4)
    noise = generator.normal(size=(20, 200))[group]
    cells = transfer({"a": TransferSet(noise, label, group)}, n_folds=4, n_repeats=2)
    assert [(cell.train, cell.dataset, cell.n_train, cell.n) for cell in cells] == [(ITSELF, "a", 60, 80)]
    assert cells[0].auc.estimate == 0.5  # samples of a group are alike but for the label
    assert cells[0].auc.n_groups == 20


def test_names_and_order_of_datasets_change_no_cell(generator: np.random.Generator) -> None:
    sets = [
        TransferSet(generator.normal(size=(40, 3)) + np.arange(40)[:, None] % 2, np.arange(40) % 2, np.arange(40))
        for _ in range(2)
    ]
    first = {(one.train, one.dataset): one.auc.estimate for one in transfer(dict(zip("ab", sets, strict=True)))}
    second = {(one.train, one.dataset): one.auc.estimate for one in transfer(dict(zip("ba", sets[::-1], strict=True)))}
    assert first == second


def test_groups_with_one_name_in_several_training_datasets_are_apart(generator: np.random.Generator) -> None:
    label = np.arange(40) % 2
    sets = {name: TransferSet(generator.normal(size=(40, 2)), label, np.arange(40) // 2) for name in "abc"}
    plain = transfer(sets)
    renamed = transfer({name: TransferSet(one.features, label, one.group + 7) for name, one in sets.items()})
    assert [one.auc.estimate for one in plain] == [one.auc.estimate for one in renamed]


def test_groups_of_the_evaluated_dataset_are_left_out_of_training(generator: np.random.Generator) -> None:
    label = np.arange(60) % 2
    features = generator.normal(size=(60, 4)) + label[:, None]
    first = TransferSet(features, label, np.arange(60))
    second = TransferSet(features[:40], label[:40], np.arange(20, 60))
    cells = {(cell.train, cell.dataset): cell for cell in transfer({"first": first, "second": second})}
    assert cells["first", "second"].n_train == 20
    assert cells["second", "first"].n_train == 0
    assert cells["second", "first"].auc.reason == "the training datasets have only one label"
