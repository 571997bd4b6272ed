"""Activity: hidden states projected on directions, in standard deviations above the calibration mean.

projection = Projection(directions, n_layers=30, width=576)
projected = torch.stack([projection.project(layer, one) for layer, one in enumerate(hidden)])
projection.activity(projected)      # (sample, layer, row, direction)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.errors import InputError
from foretell.jobs.readable_direction import ReadableDirection

__all__ = ["Projection"]


@dataclass(frozen=True)
class _Calibration:
    """Directions on one device."""

    vectors: Sequence[Float[Tensor, "width direction"]]
    """Of each layer."""
    mean: Float[Tensor, "layer direction"]
    scale: Float[Tensor, "layer direction"]

    def to(self, device: torch.device) -> _Calibration:
        """Return the same on another device."""
        vectors = [one.to(device) for one in self.vectors]
        return _Calibration(vectors, self.mean.to(device), self.scale.to(device))


class Projection:
    """Directions as matrices, ready to be applied layer by layer.

    Args:
        directions: at least one.
        n_layers: blocks of the model.
        width: of its hidden states.

    Raises:
        InputError: A direction does not fit the model.
    """

    def __init__(self, directions: Sequence[ReadableDirection], *, n_layers: int, width: int) -> None:
        for direction in directions:
            shapes = (np.shape(direction.vectors), np.shape(direction.mean), np.shape(direction.standard_deviation))
            if shapes != ((n_layers, width), (n_layers,), (n_layers,)):
                raise InputError(
                    f'direction "{direction.concept}": vectors of {shapes[0]} do not fit a model of {(n_layers, width)}'
                )
        vectors = np.stack([np.asarray(one.vectors, dtype=np.float32) for one in directions], axis=2)
        mean = np.stack([np.asarray(one.mean, dtype=np.float32) for one in directions], axis=1)
        scale = np.stack([np.asarray(one.standard_deviation, dtype=np.float32) for one in directions], axis=1)
        layers = torch.from_numpy(vectors).unbind()
        calibration = _Calibration(layers, torch.from_numpy(mean), torch.from_numpy(np.where(scale > 0, scale, np.nan)))
        self._calibration = {torch.device("cpu"): calibration}

    def project(self, layer: int, hidden: Float[Tensor, "sample row width"]) -> Float[Tensor, "sample row direction"]:
        """Projection of hidden states on each direction, in float32."""
        return hidden.detach().float() @ self._on(hidden.device).vectors[layer]

    def activity(
        self, projected: Float[Tensor, "layer sample row direction"]
    ) -> Float[Tensor, "sample layer row direction"]:
        """(hidden . direction - mean) / standard deviation, of projections on every layer's directions.

        Undefined:
            nan where a projection is, or a direction has no standard deviation.
        """
        known = self._on(projected.device)
        return (projected.transpose(0, 1) - known.mean[:, None]) / known.scale[:, None]

    def _on(self, device: torch.device) -> _Calibration:
        if device not in self._calibration:
            self._calibration[device] = self._calibration[torch.device("cpu")].to(device)
        return self._calibration[device]
