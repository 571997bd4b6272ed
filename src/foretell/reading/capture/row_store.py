"""Numbers of generated tokens, layer by layer: every row, or sums over the first 1, 2, 4, 8, ... of them.

A generation adds one row per step. Small tensors that outlive a step would lie between the keys and values of a growing
cache, whose memory could then not be joined again when it is freed: generating 48 tokens for 40 prompts took 5.1 GiB
that way and 1.4 GiB this way. So there is one tensor per quantity and layer, and it doubles when it is full. Sums do
not grow with the answers.

    store = RowStore()
    store.write("mass", layer, values, place)
    store.rows("mass", layer, n_rows)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Place", "RowStore", "RunningSums", "doubling_bins"]

_FEWEST_ROWS = 64
"""Rows that a tensor has at first: what most short answers need."""


@dataclass(frozen=True)
class Place:
    """Which generated tokens the rows of a pass are."""

    first: Int[np.ndarray, " sample"]
    """Generated tokens that each sample has before its first row."""
    n_rows: Int[np.ndarray, " sample"]
    """Rows of each sample; it may have fewer than the row axis is long."""

    @property
    def end(self) -> int:
        """One past the last row that is written."""
        return int((self.first + self.n_rows).max(initial=0))


class RowStore:
    """Rows by quantity and layer, `(sample, head, row, value)`; row r is the r-th generated token of its sample.

    What no head has is kept under layer 0, with layers in place of heads where it has these.
    """

    def __init__(self) -> None:
        self._rows: dict[str, dict[int, Tensor]] = {}

    def write(
        self,
        quantity: str,
        layer: int,
        values: Float[Tensor, "sample head row value"],
        place: Place,
        *,
        valid: Bool[Tensor, "sample row"] | None = None,
    ) -> None:
        """Put rows where they belong; what stood there is replaced.

        Args:
            quantity: what the numbers are.
            layer: where they were read.
            values: the rows; those behind a sample's last one do not count.
            place: which generated tokens they are.
            valid: rows to write; None writes all.
        """
        n_samples, _, width, _ = values.shape
        first = int(place.first[0])
        if bool((place.first == first).all()):
            rows = self._allocated(quantity, layer, values, first + width)[:, :, first : first + width]
            rows.copy_(values if valid is None else torch.where(valid[:, None, :, None], values, rows))
            return
        rows = self._allocated(quantity, layer, values, place.end)
        for sample in range(n_samples):
            start, count = int(place.first[sample]), int(place.n_rows[sample])
            own, new = rows[sample, :, start : start + count], values[sample, :, :count]
            own.copy_(new if valid is None else torch.where(valid[sample, None, :count, None], new, own))

    def layers(self, quantity: str) -> list[int]:
        """Return the layers that have rows of a quantity."""
        return sorted(self._rows.get(quantity, ()))

    def n_heads(self, quantity: str) -> int:
        """Return the most heads that a layer has."""
        return max((rows.shape[1] for rows in self._rows.get(quantity, {}).values()), default=0)

    def rows(self, quantity: str, layer: int, n_rows: int) -> Float[np.ndarray, "sample head row value"] | None:
        """Return the first `n_rows` rows, nan where nothing was written; None if there are none at all."""
        found = self._rows.get(quantity, {}).get(layer)
        if found is None:
            return None
        rows = found[:, :, :n_rows].float().cpu().numpy()
        missing = n_rows - rows.shape[2]
        return np.pad(rows, ((0, 0), (0, 0), (0, missing), (0, 0)), constant_values=np.nan) if missing > 0 else rows

    def forget(self, quantity: str, first: Int[np.ndarray, " sample"]) -> None:
        """Make rows of a quantity undefined from each sample's `first` on."""
        for rows in self._rows.get(quantity, {}).values():
            for sample, start in enumerate(first.tolist()):
                rows[sample, :, start:] = torch.nan

    def clear(self) -> None:
        """Drop everything."""
        self._rows.clear()

    def _allocated(self, quantity: str, layer: int, like: Tensor, n_rows: int) -> Tensor:
        by_layer = self._rows.setdefault(quantity, {})
        rows = by_layer.get(layer)
        if rows is None or rows.shape[2] < n_rows:
            capacity = max(_FEWEST_ROWS, n_rows, 0 if rows is None else 2 * rows.shape[2])
            # The tensor outlives the inference mode that it may be made in.
            with torch.inference_mode(mode=False), torch.no_grad():
                made = like.new_full((*like.shape[:2], capacity, like.shape[3]), torch.nan)
                if rows is not None:
                    made[:, :, : rows.shape[2]] = rows
            by_layer[layer] = rows = made
        return rows


class RunningSums:
    """Sums by quantity and layer, `(sample, head, bin, value)`.

    Bins hold generated tokens 1, 2, 3 to 4, 5 to 8, and so on, so that the first 2 ** k tokens fill whole bins.

    Args:
        n_layers: of the model.
    """

    def __init__(self, n_layers: int) -> None:
        self._n_layers = n_layers
        self._sums: dict[tuple[object, ...], _Sums] = {}
        self._bins: tuple[Place, Tensor] | None = None

    def add(
        self, layers: Sequence[int], values: Mapping[str, Float[Tensor, "sample layer head row _"]], place: Place
    ) -> None:
        """Add rows, by quantity, to the sums of their bins; a value that is nan does not count."""
        widths = {name: one.shape[4] for name, one in values.items()}
        # In one product: a short pass takes as long as the number of its operations.
        rows = torch.cat([one.float() for one in values.values()], dim=4)
        bins = self._bins_of(place, rows)[:, None, None]
        new = torch.stack([bins @ rows.nan_to_num(0.0), bins @ (~rows.isnan()).float()])
        alike = (rows.device, rows.shape[2], *widths.items())
        if alike not in self._sums:
            self._sums[alike] = _Sums(widths, new, self._n_layers)
        self._sums[alike].add(layers, new)

    def _bins_of(self, place: Place, values: Tensor) -> Float[Tensor, "sample bin row"]:
        """Return the bins of a pass's rows, made once for all its layers."""
        known = self._bins
        if known is None or known[0] is not place or known[1].device != values.device:
            self._bins = known = (place, doubling_bins(place, values.shape[3]).to(values.device))
        return known[1]

    def mean(
        self, quantity: str, layer: int, n_tokens: int | None = None
    ) -> Float[np.ndarray, "sample head value"] | None:
        """Return means over all rows or over the first `n_tokens` (1, 2, 4, 8, ...); None if there are no rows."""
        found = next((one for one in self._sums.values() if layer in one.layers and quantity in one.widths), None)
        return None if found is None else found.means(n_tokens)[quantity][:, layer]

    def layers(self, quantity: str) -> list[int]:
        """Return the layers that have sums of a quantity."""
        return sorted({layer for one in self._sums.values() if quantity in one.widths for layer in one.layers})

    def n_heads(self, quantity: str) -> int:
        """Return the most heads that a layer has."""
        return max((one.n_heads for one in self._sums.values() if quantity in one.widths), default=0)

    def clear(self) -> None:
        """Drop everything."""
        self._sums.clear()


class _Sums:
    """Sums, and how many values went into each, of layers that are alike; quantities share the last axis.

    They are one tensor: small ones of each layer would lie between the large tensors of a long pass, whose memory could
    not be joined again when it is freed. Peaks of 1,730 to 1,938 MiB at 8,192 tokens were 1,276 to 1,388 this way.
    """

    def __init__(
        self, widths: dict[str, int], like: Float[Tensor, "two sample some_layers head bin value"], n_layers: int
    ) -> None:
        self.widths = widths
        self.layers: set[int] = set()
        self.n_heads = like.shape[3]
        self._values = self._zeros((*like.shape[:2], n_layers, *like.shape[3:]), like.device)
        self._means: dict[int | None, dict[str, Float[np.ndarray, "sample layer head value"]]] = {}

    def add(self, layers: Sequence[int], new: Float[Tensor, "two sample some_layers head bin value"]) -> None:
        """Add sums of some layers, and the numbers of their values."""
        before, n_bins = self._values, new.shape[4]
        if before.shape[4] < n_bins:
            self._values = self._zeros((*before.shape[:4], n_bins, before.shape[5]), before.device)
            self._values[:, :, :, :, : before.shape[4]] = before
        self._values[:, :, :, :, :n_bins].index_add_(2, torch.tensor(layers, device=new.device), new)
        self.layers.update(layers)
        self._means.clear()

    @staticmethod
    def _zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
        # The tensor outlives the inference mode that it may be made in.
        with torch.inference_mode(mode=False):
            return torch.zeros(shape, device=device)

    def means(self, n_tokens: int | None) -> dict[str, Float[np.ndarray, "sample layer head value"]]:
        """Return means by quantity, made once for all of them."""
        if n_tokens not in self._means:
            n_bins = None if n_tokens is None else n_tokens.bit_length()
            total, number = self._values[:, :, :, :, :n_bins].sum(4).cpu().numpy()
            mean = np.divide(total, number, out=np.full(total.shape, np.nan, dtype=np.float32), where=number > 0)
            ends = np.cumsum(list(self.widths.values()))[:-1]
            self._means[n_tokens] = dict(zip(self.widths, np.split(mean, ends, axis=-1), strict=True))
        return self._means[n_tokens]


def doubling_bins(place: Place, width: int) -> Float[Tensor, "sample bin row"]:
    """Return 1 where a row belongs to a bin of tokens 1, 2, 3 to 4, 5 to 8, and so on."""
    row = np.arange(width)
    token = place.first[:, None] + row + 1
    bins = np.where(row < place.n_rows[:, None], np.ceil(np.log2(token)), -1).astype(np.int64)
    n_bins = int(bins.max(initial=0)) + 1
    return torch.from_numpy((bins[:, None] == np.arange(n_bins)[:, None]).astype(np.float32))
