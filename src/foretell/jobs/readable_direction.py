"""What activity is read and watched along; no model is needed to say it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

__all__ = ["FittedDirection", "ReadableDirection"]


@runtime_checkable
class ReadableDirection(Protocol):
    """What is needed of a direction to read activity along it."""

    @property
    def concept(self) -> str:
        """What the direction stands for."""

    @property
    def vectors(self) -> Float[np.ndarray, "layer width"]:
        """One unit vector per layer."""

    @property
    def mean(self) -> Float[np.ndarray, " layer"]:
        """Mean projection on the calibration set."""

    @property
    def standard_deviation(self) -> Float[np.ndarray, " layer"]:
        """Standard deviation of the projection on the calibration set."""


@runtime_checkable
class FittedDirection(ReadableDirection, Protocol):
    """A direction that knows which model it was fitted on."""

    def check_fits(self, model: Any) -> None:
        """Refuse another model, or warn of another chat template."""
