"""What can be said of the hidden states that a run is to keep, and what it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foretell.errors import InputError
from foretell.schema.tables import POOLS
from foretell.storage.state_choice import StateChoice, checkpoints_of, chosen_layers


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ("all", (0, 1, 2, 3, 4, 5, 6, 7)),
        ([5, 2, 5], (2, 5)),
        ((np.int64(3),), (3,)),
        (np.array([7, 0]), (0, 7)),
        (range(1, 8, 3), (1, 4, 7)),
        (slice(None, None, 4), (0, 4)),
        (slice(-2, None), (6, 7)),
    ],
)
def test_layers_may_be_said_in_several_ways(layers: Any, chosen: tuple[int, ...]) -> None:
    assert chosen_layers(layers, 8) == chosen
    assert StateChoice.of(layers, 8) == StateChoice.of({"layers": layers, "pools": "all", "dtype": "float16"}, 8)


@pytest.mark.parametrize(
    "layers", ["8", "every", 8, [], [True], [1.0], ["1"], None, range(0), slice(8, None), object()]
)
def test_what_names_no_layers_is_refused_with_examples(layers: Any) -> None:
    with pytest.raises(InputError, match=r'names no layers; give "all", layers such as \[8, 16\]'):
        chosen_layers(layers, 8)


@pytest.mark.parametrize("layers", [[8], [-1], [3, 900]])
def test_layers_beyond_the_model_are_refused(layers: list[int]) -> None:
    with pytest.raises(InputError, match=r"there is no layer .*; the model has layers 0 to 7"):
        chosen_layers(layers, 8)


def test_pools_are_kept_in_one_order() -> None:
    assert StateChoice.of({"layers": [0], "pools": [POOLS[2], POOLS[0]]}, 8).pools == (POOLS[0], POOLS[2])
    assert StateChoice.of({"layers": [0], "pools": POOLS[1]}, 8).pools == (POOLS[1],)
    for wrong in ([], ["mean"], "mean over the answer"):
        with pytest.raises(InputError, match="pools are 'last prompt token', 'mean over answer', 'last answer token'"):
            StateChoice.of({"layers": [0], "pools": wrong}, 8)


@pytest.mark.parametrize(
    ("n_generated", "numbers"),
    [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])],
)
def test_states_are_kept_after_doubling_numbers_of_tokens_and_after_all(n_generated: int, numbers: list[int]) -> None:
    assert checkpoints_of(POOLS[1], n_generated) == checkpoints_of(POOLS[2], n_generated) == numbers
    assert checkpoints_of(POOLS[0], n_generated) == [0]


@pytest.mark.parametrize(("dtype", "n_bytes"), [("float16", 2), ("float32", 4)])
def test_the_size_is_that_of_the_numbers(dtype: str, n_bytes: int) -> None:
    choice = StateChoice.of({"layers": [1, 2], "dtype": dtype}, 8)
    assert choice.n_bytes([3, 8], width=10) == (1 + 2 * 3 + 1 + 2 * 4) * 2 * 10 * n_bytes
    assert "at most 1.1 GiB (2 layers, 3 pools)" in StateChoice.of([1, 2], 8).size([3] * 10_000, 4096, given=False)
