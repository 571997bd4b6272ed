"""Hidden states of rows, projected on directions and calibrated.

Calibrating one layer's few numbers costs more in calls than in sums; so layers wait for each other.

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
from foretell.reading.recording import Pass, Shelf

__all__ = ["Projecting", "ReadableDirection"]


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
    """Projected rows that wait to be calibrated.

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
        self._directions: dict[torch.device, tuple[Tensor, ...]] = {}
        self._shelf = shelf
        self._room = Shelf()
        self._waiting: list[tuple[Pass, int, Tensor]] = []

    def add(self, current: Pass, layer: int, hidden: Float[Tensor, "sample row width"]) -> None:
        """Project the rows of one layer; calibrating them waits for other layers."""
        direction = self._directions_on(hidden.device)[layer]
        n_samples, n_rows, _ = hidden.shape
        # Calls are what this costs: after a layer of the model each is twenty times as long as by itself.
        room = self._room.place((n_samples, n_rows, direction.shape[1])) if hidden.device.type == "cpu" else None
        self._waiting.append((current, layer, torch.matmul(hidden.float(), direction, out=room)))

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting = []

    def settle(self) -> None:
        """Calibrate what waits."""
        waiting, self._waiting = self._waiting, []
        kinds: dict[tuple[object, ...], list[tuple[Pass, int, Tensor]]] = {}
        for current, layer, projected in waiting:
            kinds.setdefault((id(current), projected.shape, projected.device), []).append((current, layer, projected))
        for same in kinds.values():
            current, layers = same[0][0], [layer for _, layer, _ in same]
            _, mean, scale = self._calibration_on(same[0][2].device)
            scores = (torch.stack([projected for *_, projected in same]) - mean[layers]) / scale[layers]
            current.activities.update(zip(layers, self._shelf.keep(scores), strict=True))
        self._room.clear()

    def _directions_on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._directions:
            self._directions[device] = self._calibration_on(device)[0].unbind()
        return self._directions[device]

    def _calibration_on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._calibration:
            self._calibration[device] = tuple(part.to(device) for part in self._calibration[torch.device("cpu")])
        return self._calibration[device]
