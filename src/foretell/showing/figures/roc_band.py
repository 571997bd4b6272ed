"""A band around a ROC curve that goes with the interval of its area."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

__all__ = ["roc_band"]


def roc_band(
    y: Float[np.ndarray, " point"], area: float, lower: float, upper: float
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return the lower and the upper edge of the band at every point of a ROC curve.

    On the normal scale a curve becomes one of another area when it is moved by sqrt(2) times the difference of the
    normal quantiles of both areas. The edges are the curve moved to both ends of the interval of its area.

    Args:
        y: True positive rates.
        area: The curve's AUC, in 0 to 1.
        lower: Lower end of the interval of the AUC.
        upper: Upper end.

    Source:
        The binormal model: Hanley 1988, Medical Decision Making 8. Where scores are normal in both classes, the edges
        are the curves of these areas.

    Example:
        >>> low, high = roc_band(np.array([0.0, 0.5, 1.0]), 0.7, 0.6, 0.8)
        >>> [round(float(one), 2) for one in (low[1], high[1])]
        [0.35, 0.67]
    """
    ends = (min(max(end, 1e-6), 1 - 1e-6) for end in (lower, upper))
    middle = ndtri(min(max(area, 1e-6), 1 - 1e-6))
    return tuple(ndtr(ndtri(y) + math.sqrt(2) * (ndtri(end) - middle)) for end in ends)  # type: ignore[return-value]
