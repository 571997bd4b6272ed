"""What of a hidden state is rounding: the size below which a difference means nothing.

The same text read in another batch, or on another device, gives states that differ by rounding. What differs by no more
than that is no direction, whatever its length is scaled to.

    relative = state_rounding(model.dtype)
    unit = rounding_unit(np.square(hidden).mean(axis=0), relative)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import torch

__all__ = ["FLOAT32", "rounding_unit", "state_rounding"]

FLOAT32 = 1e-5
"""Rounding of a hidden state that was computed in float32, as a share of its size; some ten times what is measured."""

_STEPS = 4
"""Rounding in half precision, in steps of the type: states of SmolLM2 in bfloat16 differ by 1 to 3 between batches."""


def state_rounding(dtype: torch.dtype) -> float:
    """Return the rounding of hidden states of a model of this type, as a share of their size.

    Example:
        >>> import torch
        >>> state_rounding(torch.float32), state_rounding(torch.bfloat16)
        (1e-05, 0.03125)
    """
    import torch  # not above: what reads a saved direction needs this module, and no torch

    return max(FLOAT32, _STEPS * torch.finfo(dtype).eps)


def rounding_unit(mean_square: Float[np.ndarray, "*layer width"], relative: float) -> Float[np.ndarray, "*layer width"]:
    """Return the rounding of each dimension, in units of the hidden states.

    A dimension is rounded as a share of its own size, and at least as the median dimension is: what enters it was of
    that size. One huge dimension leaves the others as they are.

    Args:
        mean_square: Mean square of each dimension over states.
        relative: See `state_rounding`.
    """
    size = np.sqrt(mean_square)
    return np.asarray(relative * np.maximum(size, np.median(size, axis=-1, keepdims=True)))
