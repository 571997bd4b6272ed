"""Hidden states of rows, projected on directions and calibrated.

What one layer's few rows cost is calls more than sums; so layers wait for each other.

    projecting = Projecting(directions, n_layers=30, width=576, shelf=shelf)
    projecting.add(current, layer, hidden)
    projecting.settle()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.errors import InputError
from foretell.reading.capture.recording import Pass, Shelf
from foretell.reading.capture.stacks import Stacks

__all__ = ["Projecting", "ReadableDirection"]

_WAITING_BYTES = 2 << 20
"""Hidden states that wait; a layer with more than half of that does not."""


@runtime_checkable
class ReadableDirection(Protocol):
    """What is needed of a direction to listen along it."""

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


class Projecting:
    """Rows that wait to be projected.

    Args:
        directions: at least one.
        n_layers: blocks of the model.
        width: of its hidden states.
        shelf: where activities are kept.

    Raises:
        InputError: A direction does not fit the model.
    """

    def __init__(
        self,
        directions: Sequence[ReadableDirection],
        *,
        n_layers: int,
        width: int,
        shelf: Shelf,
    ) -> None:
        for direction in directions:
            shapes = (np.shape(direction.vectors), np.shape(direction.mean), np.shape(direction.standard_deviation))
            if shapes != ((n_layers, width), (n_layers,), (n_layers,)):
                raise InputError(
                    f'direction "{direction.concept}": vectors of {shapes[0]} do not fit a model of {(n_layers, width)}'
                )
        vectors = np.stack([np.asarray(one.vectors, dtype=np.float32) for one in directions], axis=2)
        mean = np.stack([np.asarray(one.mean, dtype=np.float32) for one in directions], axis=1)
        scale = np.stack([np.asarray(one.standard_deviation, dtype=np.float32) for one in directions], axis=1)
        calibration = (vectors, mean[:, None, None], np.where(scale > 0, scale, np.nan)[:, None, None])
        self._calibration = {torch.device("cpu"): tuple(torch.from_numpy(part) for part in calibration)}
        self._shelf = shelf
        self._stacks: Stacks[tuple[Pass, int]] = Stacks(most_bytes=_WAITING_BYTES)

    def add(self, current: Pass, layer: int, hidden: Float[Tensor, "sample row width"]) -> None:
        """Let the rows of one layer wait for those of others; they must ask for no gradient."""
        if 2 * 4 * hidden.numel() > _WAITING_BYTES:
            self._project(current, [layer], hidden.float()[None])
            return
        if not self._stacks.push(id(current), (current, layer), (hidden,)):
            self.settle()
            self._stacks.push(id(current), (current, layer), (hidden,))

    def clear(self) -> None:
        """Forget what waits."""
        self._stacks.clear()

    def settle(self) -> None:
        """Project what waits."""
        for waiting, (hidden,) in self._stacks.pop():
            self._project(waiting[0][0], [layer for _, layer in waiting], hidden)

    def _project(self, current: Pass, layers: Sequence[int], hidden: Float[Tensor, "layer sample row width"]) -> None:
        vectors, mean, scale = (part[layers] for part in self._calibration_on(hidden.device))
        projected = torch.bmm(hidden.flatten(1, 2), vectors).view(*hidden.shape[:3], -1)
        scores = (projected - mean) / scale
        current.activities.update(zip(layers, self._shelf.keep(scores), strict=True))

    def _calibration_on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._calibration:
            self._calibration[device] = tuple(part.to(device) for part in self._calibration[torch.device("cpu")])
        return self._calibration[device]
