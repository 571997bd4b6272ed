"""Rows are found where they were put, however they came."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.reading.capture.row_store import Place, RowStore, RunningSums


def place(first: list[int], n_rows: list[int]) -> Place:
    return Place(np.array(first), np.array(n_rows))


def rows_of(store: RowStore, n_rows: int) -> np.ndarray:
    found = store.rows("mass", 0, n_rows)
    assert found is not None
    return found


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_rows_that_come_one_by_one_grow_the_store(mode: type[torch.no_grad], generator: np.random.Generator) -> None:
    expected = generator.normal(size=(2, 3, 200, 5)).astype(np.float32)
    store = RowStore()
    for row in range(200):
        with mode():
            store.write("mass", 0, torch.from_numpy(expected[:, :, row : row + 1]), place([row, row], [1, 1]))
    np.testing.assert_array_equal(rows_of(store, 200), expected)
    assert np.isnan(rows_of(store, 203)[:, :, 200:]).all()


def test_samples_may_begin_at_different_places() -> None:
    store = RowStore()
    store.write("mass", 0, torch.arange(6.0).view(2, 1, 3, 1), place([0, 0], [3, 1]))
    store.write("mass", 0, torch.tensor([[70.0, 0.0], [80.0, 81.0]])[:, None, :, None], place([3, 1], [1, 2]))
    found = rows_of(store, 4)[:, 0, :, 0]
    np.testing.assert_array_equal(found[0], [0, 1, 2, 70])
    np.testing.assert_array_equal(found[1, :3], [3, 80, 81])


def test_what_is_written_again_is_replaced_and_what_is_forgotten_is_undefined() -> None:
    store = RowStore()
    store.write("mass", 0, torch.zeros(1, 1, 4, 1), place([0], [4]))
    store.write("mass", 0, torch.ones(1, 1, 2, 1), place([1], [2]))
    np.testing.assert_array_equal(rows_of(store, 4)[0, 0, :, 0], [0, 1, 1, 0])
    store.forget("mass", np.array([2]))
    np.testing.assert_array_equal(rows_of(store, 4)[0, 0, :, 0], [0, 1, np.nan, np.nan])


@pytest.mark.parametrize("first", [[1, 1], [1, 0]])
def test_only_valid_rows_are_written(first: list[int]) -> None:
    store = RowStore()
    store.write("mass", 0, torch.zeros(2, 1, 3, 1), place([0, 0], [3, 3]))
    valid = torch.tensor([[True, False], [False, True]])
    store.write("mass", 0, torch.ones(2, 1, 2, 1), place(first, [2, 2]), valid=valid)
    found = rows_of(store, 3)[:, 0, :, 0]
    expected = np.zeros((2, 3))
    expected[0, first[0]] = expected[1, first[1] + 1] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("passes", [[9], [1] * 9, [4, 5], [2, 1, 6]])
def test_running_sums_give_the_means_of_the_rows(passes: list[int], generator: np.random.Generator) -> None:
    values = generator.normal(size=(2, 2, 3, 9, 6)).astype(np.float32)
    values[0, 0, :, 4, 2] = np.nan
    n_rows, layers = np.array([9, 6]), [4, 7]
    sums, first = RunningSums(n_layers=9), 0
    for count in passes:
        own = np.clip(n_rows - first, 0, count)
        rows = torch.from_numpy(values[..., first : first + count, :])
        sums.add(layers, {"mass": rows[..., :5], "entropy": rows[..., 5:]}, Place(np.full(2, first), own))
        first += count
    assert sums.layers("mass") == sums.layers("entropy") == layers
    assert sums.layers("contribution") == []
    assert sums.n_heads("mass") == 3
    assert sums.mean("contribution", 4) is None
    for n_tokens in (None, 1, 2, 4):
        for place, layer in enumerate(layers):
            mass, entropy = sums.mean("mass", layer, n_tokens), sums.mean("entropy", layer, n_tokens)
            assert mass is not None
            assert entropy is not None
            found = np.concatenate([mass, entropy], axis=-1)
            for sample in range(2):
                expected = np.nanmean(values[sample, place, :, : n_rows[sample]][:, :n_tokens], axis=1)
                np.testing.assert_allclose(found[sample], expected, atol=1e-6)


def test_layers_that_are_not_alike_are_added_up_by_themselves(generator: np.random.Generator) -> None:
    sums, place = RunningSums(n_layers=3), Place(np.array([0]), np.array([4]))
    by_layer = {layer: torch.from_numpy(generator.normal(size=(1, 1, 2 + layer, 4, 5))).float() for layer in (0, 2)}
    for layer, rows in by_layer.items():
        sums.add([layer], {"mass": rows}, place)
    assert sums.layers("mass") == [0, 2]
    assert sums.n_heads("mass") == 4
    assert sums.mean("mass", 1) is None
    for layer, rows in by_layer.items():
        found = sums.mean("mass", layer)
        assert found is not None
        np.testing.assert_allclose(found, rows[:, 0].mean(2).numpy(), atol=1e-6)
    sums.clear()
    assert sums.layers("mass") == []
