"""Sums of rows instead of the rows: all that means over the first 1, 2, 4, 8, ... generated tokens need.

What is kept does not grow with the answers.

    sums = RunningSums()
    sums.add("mass", layer, values, place)
    sums.mean("mass", layer, n_tokens=4)
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.capture.row_store import Place

__all__ = ["RunningSums"]


class RunningSums:
    """Sums by quantity and layer, `(sample, head, bin, value)`.

    Bins hold generated tokens 1, 2, 3 to 4, 5 to 8, and so on, so that the first 2 ** k tokens fill whole bins.
    """

    def __init__(self) -> None:
        self._sums: dict[str, dict[int, tuple[Tensor, Tensor]]] = {}
        self._bins: tuple[Place, Tensor] | None = None

    def add(self, quantity: str, layer: int, values: Float[Tensor, "sample head row value"], place: Place) -> None:
        """Add rows to the sums of their bins; a row that is nan does not count."""
        bins = self._bins_of(place, values)
        known = ~values.isnan()
        added = (_by_bin(bins, values.nan_to_num(0.0)), _by_bin(bins, known.float()))
        by_layer = self._sums.setdefault(quantity, {})
        before = by_layer.get(layer)
        by_layer[layer] = added if before is None else (_added(before[0], added[0]), _added(before[1], added[1]))

    def _bins_of(self, place: Place, values: Tensor) -> Float[Tensor, "sample bin row"]:
        """Return the bins of a pass's rows, made once for all its layers and quantities."""
        known = self._bins
        if known is None or known[0] is not place or known[1].device != values.device:
            self._bins = known = (place, _bins(place, values.shape[2]).to(values.device))
        return known[1]

    def mean(
        self, quantity: str, layer: int, n_tokens: int | None = None
    ) -> Float[np.ndarray, "sample head value"] | None:
        """Return means over all rows or over the first `n_tokens` (1, 2, 4, 8, ...); None if there are no rows."""
        found = self._sums.get(quantity, {}).get(layer)
        if found is None:
            return None
        n_bins = None if n_tokens is None else n_tokens.bit_length()
        total, number = (one[:, :, :n_bins].sum(2).cpu().numpy() for one in found)
        mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
        return np.asarray(mean, dtype=np.float32)

    def layers(self, quantity: str) -> list[int]:
        """Return the layers that have sums of a quantity."""
        return sorted(self._sums.get(quantity, ()))

    def n_heads(self, quantity: str) -> int:
        """Return the most heads that a layer has."""
        return max((total.shape[1] for total, _ in self._sums.get(quantity, {}).values()), default=0)

    def clear(self) -> None:
        """Drop everything."""
        self._sums.clear()


def _bins(place: Place, width: int) -> Float[Tensor, "sample bin row"]:
    """Return 1 where a row belongs to a bin."""
    row = np.arange(width)
    token = place.first[:, None] + row + 1
    bins = np.where(row < place.n_rows[:, None], np.ceil(np.log2(token)), -1).astype(np.int64)
    n_bins = int(bins.max(initial=0)) + 1
    return torch.from_numpy((bins[:, None] == np.arange(n_bins)[:, None]).astype(np.float32))


def _by_bin(bins: Tensor, values: Tensor) -> Tensor:
    return bins[:, None] @ values.float()


def _added(first: Tensor, second: Tensor) -> Tensor:
    n_bins = max(first.shape[2], second.shape[2])
    first, second = (torch.nn.functional.pad(one, (0, 0, 0, n_bins - one.shape[2])) for one in (first, second))
    return first + second
