"""Numbers that a caller gives: checked before any work, named where they are wrong, each layer and dose taken once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np

from foretell.errors import InputError

__all__ = ["distinct_layers", "finite_numbers", "whole_number"]


def whole_number(value: object, name: str, *, least: int) -> int:
    """Return a whole number that is at least `least`.

    Raises:
        InputError: It is none.

    Example:
        >>> whole_number(np.int64(3), "n_random", least=0)
        3
    """
    if isinstance(value, Integral) and not _is_truth(value) and int(value) >= least:
        return int(value)
    raise InputError(f"{name} must be a whole number and at least {least}, not {value!r}")


def distinct_layers(layers: object) -> tuple[int, ...]:
    """Return layers in their order, each once.

    Raises:
        InputError: They are no list, or one is no whole number.

    Example:
        >>> distinct_layers([2, 0, 2])
        (2, 0)
    """
    found = []
    for layer in _listed(layers, "layers"):
        if not isinstance(layer, Integral) or _is_truth(layer):
            raise InputError(f"layers must be whole numbers, not {layer!r}")
        found.append(int(layer))
    return tuple(dict.fromkeys(found))


def finite_numbers(values: object, name: str) -> tuple[float, ...]:
    """Return numbers in their order, each once.

    Raises:
        InputError: They are no list, or one is no finite number.

    Example:
        >>> finite_numbers([1, -1.0, 1.0], "doses")
        (1.0, -1.0)
    """
    found = []
    for value in _listed(values, name):
        if not isinstance(value, Real) or _is_truth(value) or not math.isfinite(value):
            raise InputError(f"{name} must be finite numbers, not {value!r}")
        found.append(float(value) + 0.0)  # no negative zero
    return tuple(dict.fromkeys(found))


def _is_truth(value: object) -> bool:
    """True is the number 1 to Python, and never what a caller means by one."""
    return isinstance(value, bool | np.bool_)


def _listed(values: object, name: str) -> list[object]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list, such as [1, 2], not {values!r}")
    return list(values)
