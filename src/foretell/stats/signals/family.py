"""A family of signals: the columns that one kind of internals gives of every sample at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["ALL", "ALL_SIGNALS", "Family", "undefined"]

ALL = "all"
"""Name of all families together."""
ALL_SIGNALS = "all signals"
"""Name of the detector on all families together."""


@dataclass(frozen=True)
class Family:
    """One kind of signal of every sample at one moment."""

    name: str
    columns: Float[np.ndarray, "sample column"] | None
    """float64; nan is missing. None where the family is undefined at this moment."""
    rotated: bool = False
    """Whether only the space of the columns matters, and not each column: they are a factor of a Gram matrix."""
    reason: str | None = None
    """Why it is undefined."""
    notes: tuple[str, ...] = ()


def undefined(name: str, reason: str) -> Family:
    """Return a family that is undefined at a moment."""
    return Family(name, None, reason=reason)
