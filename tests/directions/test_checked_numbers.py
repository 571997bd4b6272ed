"""Settings are taken once, or refused by name before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from foretell.directions.checked_numbers import distinct_layers, finite_numbers, whole_number
from foretell.directions.evidence import Controls
from foretell.directions.fit_and_judge import fact_pairs
from foretell.errors import InputError


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (1, "must be a list"),
        ("1,2", "must be a list"),
        (None, "must be a list"),
        ([1.9], "whole numbers, not 1.9"),
        ([1.0], "whole numbers, not 1.0"),
        (["1"], "whole numbers, not '1'"),
        ([True], "whole numbers, not True"),
        ([None], "whole numbers, not None"),
    ],
)
def test_layers_that_are_no_whole_numbers_are_refused(layers: object, message: str) -> None:
    with pytest.raises(InputError, match=f"layers must be.*{message.removeprefix('must be ')}"):
        distinct_layers(layers)


def test_layers_and_doses_count_once_in_their_order() -> None:
    assert distinct_layers(np.array([2, 0, 2, 1, 0])) == (2, 0, 1)
    assert distinct_layers(range(3)) == (0, 1, 2)
    assert finite_numbers((1, -1.0, np.float32(1.0), -0.0, 0), "doses") == (1.0, -1.0, 0.0)


@pytest.mark.parametrize("doses", [1.0, "1", [np.nan], [np.inf], ["1"], [None], [True], [1j]])
def test_doses_that_are_no_numbers_are_refused(doses: object) -> None:
    with pytest.raises(InputError, match="doses must be"):
        finite_numbers(doses, "doses")


@pytest.mark.parametrize("value", [-1, 1.5, "3", None, True, np.nan, [2]])
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="n_random must be a whole number and at least 0"):
        whole_number(value, "n_random", least=0)


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (Controls, {"n_random": -1}),
        (Controls, {"n_shuffled": -3}),
        (Controls, {"seed": -1}),
        (Controls, {"n_folds": 1}),
        (fact_pairs, {"per_topic": 0}),
    ],
)
def test_counts_out_of_range_are_named(call: Callable[..., Any], options: dict[str, int]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"{name} must be a whole number.*not {value}"):
        call(**options)
