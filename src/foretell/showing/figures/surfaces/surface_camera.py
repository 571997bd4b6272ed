"""The camera of activity surfaces: the view with the least occlusion.

The azimuth is between -70 and -30 degrees, so that layers always run from left to right and tokens from front to back.
Azimuth and elevation are chosen within these limits.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["BOX", "best_camera", "hidden_points"]

BOX = (1.15, 1.35, 0.7)
"""Extent of layers, tokens and scores of the drawn surface."""

_PREFERRED = (30.0, -55.0)
_ELEVATIONS = (30.0, 36.0, 42.0, 48.0)
_AZIMUTHS = (-70.0, -62.0, -55.0, -46.0, -38.0, -30.0)
_RAY_STEPS = 40
_STEEPER = 0.002
"""Penalty per degree of deviation from the preferred view, as a share of hidden weight."""


def best_camera(heights: list[Float[np.ndarray, "..."]]) -> tuple[float, float]:
    """Return elevation and azimuth, in degrees, of the view with the least occlusion.

    Hidden points are weighted by their distance from zero, so that peaks and pits count more than flat regions. All
    surfaces have the same view.

    Args:
        heights: `(layer, token)` arrays scaled to -1 to 1; nan hides nothing.

    Example:
        >>> best_camera([np.zeros((4, 5))])
        (30.0, -55.0)
    """
    weights = [np.where(np.isfinite(height), 0.1 + np.abs(np.nan_to_num(height)), 0.0) for height in heights]
    total = max(sum(float(weight.sum()) for weight in weights), 1e-12)

    def cost(camera: tuple[float, float]) -> float:
        pairs = zip(heights, weights, strict=True)
        hidden = sum(float(weight[hidden_points(height, camera)].sum()) for height, weight in pairs)
        return hidden / total + _STEEPER * sum(abs(a - b) for a, b in zip(camera, _PREFERRED, strict=True))

    return min(product(_ELEVATIONS, _AZIMUTHS), key=cost)


def hidden_points(
    height: Float[np.ndarray, "layer token"], camera: tuple[float, float]
) -> Bool[np.ndarray, "layer token"]:
    """Return which points of a surface are hidden behind others in an orthographic view.

    Args:
        height: Scaled to -1 to 1; nan hides nothing.
        camera: Elevation and azimuth in degrees.

    Example:
        >>> wall = np.array([[-1.0, 1.0, -1.0]] * 3)
        >>> hidden_points(wall, (30.0, -55.0))[0].tolist()
        [False, False, True]
    """
    elevation, azimuth = np.deg2rad(camera)
    box = np.nan_to_num(height, nan=-1.0) * BOX[2] / 2
    n_layers, n_tokens = box.shape
    x, y = np.meshgrid(np.linspace(0, BOX[0], n_layers), np.linspace(0, BOX[1], n_tokens), indexing="ij")
    hidden = np.zeros(box.shape, dtype=bool)
    for distance in np.linspace(0.03, BOX[2] / np.tan(elevation), _RAY_STEPS):
        at_x, at_y = x + distance * np.cos(azimuth), y + distance * np.sin(azimuth)
        inside = (at_x >= 0) & (at_x <= BOX[0]) & (at_y >= 0) & (at_y <= BOX[1])
        row = np.clip(np.rint(at_x / BOX[0] * (n_layers - 1)), 0, n_layers - 1).astype(int)
        column = np.clip(np.rint(at_y / BOX[1] * (n_tokens - 1)), 0, n_tokens - 1).astype(int)
        hidden |= inside & (box[row, column] > box + distance * np.tan(elevation) + 0.02)
    return np.asarray(hidden & np.isfinite(height))
