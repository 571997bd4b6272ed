"""Which few heads and layers are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from foretell.monitors.sparse_choice import chosen_layers_of_states, chosen_places


@pytest.fixture
def label(generator: np.random.Generator) -> np.ndarray:
    return generator.permutation(np.arange(400) % 2)


def test_heads_that_say_different_things_come_before_copies(generator: np.random.Generator, label: np.ndarray) -> None:
    """Head 2 is head 5 again; head 0 is weaker than both and says something of its own."""
    values = generator.normal(size=(400, 7, 3))
    values[:, 5, 1] += 2.0 * label
    values[:, 2] = values[:, 5] + 0.01 * generator.normal(size=(400, 3))
    values[:, 0, 2] += 1.0 * label
    chosen = chosen_places(values, label, 2)
    assert 0 in chosen
    assert set(chosen) & {2, 5}


@pytest.mark.parametrize("most", [1, 3, 20])
def test_constant_and_missing_places_are_never_chosen(
    generator: np.random.Generator, label: np.ndarray, most: int
) -> None:
    values = generator.normal(size=(400, 5, 2))
    values[:, 1], values[:, 3] = 4.0, np.nan
    chosen = chosen_places(values, label, most)
    assert len(chosen) == min(most, 3)
    assert not {1, 3} & set(chosen)


def test_nothing_is_chosen_of_nothing(label: np.ndarray) -> None:
    assert chosen_places(np.empty((400, 0, 5)), label, 3) == ()


def test_the_layer_with_the_label_is_chosen_and_no_second_one_that_adds_nothing(
    generator: np.random.Generator, label: np.ndarray
) -> None:
    factors = [generator.normal(size=(400, 10)) for _ in range(4)]
    factors[2][:, 3] += 3.0 * label
    assert 2 in chosen_layers_of_states(factors, label, np.arange(400), 1, seed=0)
    factors[0] = factors[2].copy()
    assert chosen_layers_of_states(factors, label, np.arange(400), 1, seed=0) == (0,)
