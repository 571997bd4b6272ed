"""Room that one listening after another uses, so that its memory has to be found only once.

The first touch of new memory costs more than the sums that are written to it. Only what was used is ever resident.

    room = borrowed(1 << 20, torch.device("cpu"))
    returned(room)
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

__all__ = ["borrowed", "returned"]

_MOST = 4
"""Rooms of one size that are kept for later; more are in use only where several threads or kinds of layers wait."""
_KEPT: dict[tuple[torch.device, int], list[Tensor]] = {}


def borrowed(n_numbers: int, device: torch.device) -> Tensor:
    """Return room for so many float32 numbers, whatever stood in it before."""
    with contextlib.suppress(KeyError, IndexError):
        return _KEPT[device, n_numbers].pop()
    # Room outlives the inference mode that it may be made in.
    with torch.inference_mode(mode=False):
        return torch.empty(n_numbers, device=device)


def returned(room: Tensor) -> None:
    """Keep room for the next who asks for as much; nobody may look at it any more."""
    kept = _KEPT.setdefault((room.device, len(room)), [])
    if len(kept) < _MOST:
        kept.append(room)
