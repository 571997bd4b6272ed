"""Sums of rows instead of the rows: all that means over 1, 2, 4, 8, ... rows need.

What one layer's rows say is little, and adding it up by itself would cost more in calls than in sums; so layers wait
and are added up together.

    tallies = Tallies(shelf, most_bytes=2 << 20)
    tallies.add(current, layer, {"mass": mass}, share)
    tallies.settle()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.capture.recording import Pass, Shelf, Tally
from foretell.reading.capture.stacks import Stacks

__all__ = ["Tallies", "mean_of", "tally"]


class _Waiting(NamedTuple):
    current: Pass
    layer: int
    names: tuple[str, ...]
    share: Tensor


class Tallies:
    """Rows of layers that wait to be added up.

    Args:
        shelf: where sums are kept.
        most_bytes: bound for what waits.
    """

    def __init__(self, shelf: Shelf, *, most_bytes: int) -> None:
        self._shelf = shelf
        self._stacks: Stacks[_Waiting] = Stacks(most_bytes=most_bytes)

    def add(
        self,
        current: Pass,
        layer: int,
        read: Mapping[str, Float[Tensor, "sample head row _"]],
        share: Float[Tensor, "sample row segment"],
    ) -> None:
        """Let one layer's rows wait.

        Args:
            current: the pass that they belong to, whose `bins` say what to add up.
            layer: the layer.
            read: quantity to rows; with `mass` comes the lift.
            share: each segment's share of the tokens that a row sees.
        """
        names = tuple(read)
        waiting = _Waiting(current, layer, names, share)
        kind = (id(current), id(share), names)
        if not self._stacks.push(kind, waiting, tuple(read.values())):
            self.settle()
            self._stacks.push(kind, waiting, tuple(read.values()))

    def settle(self) -> None:
        """Add up what waits."""
        for waiting, values in self._stacks.pop():
            current, _, names, share = waiting[0]
            self.add_up(current, [one.layer for one in waiting], dict(zip(names, values, strict=True)), share)

    def clear(self) -> None:
        """Forget what waits."""
        self._stacks.clear()

    def add_up(
        self,
        current: Pass,
        layers: Sequence[int],
        read: Mapping[str, Float[Tensor, "layer sample head row _"]],
        share: Float[Tensor, "sample row segment"],
    ) -> None:
        """Add up the rows of layers that need not wait; arguments are those of `add`."""
        if current.bins is None:
            return
        values = dict(read)
        if "mass" in values:
            seen = share[:, None]
            values["lift"] = torch.where(seen > 0, values["mass"] / seen, torch.nan)
        total, number = tally(torch.cat(list(values.values()), dim=-1), current.bins)
        sizes = [one.shape[-1] for one in values.values()]
        parts = (torch.split(self._shelf.keep(whole), sizes, dim=-1) for whole in (total, number))
        for name, *sums in zip(values, *parts, strict=True):
            current.tallies.setdefault(name, []).append(Tally(tuple(layers), *sums))


def tally(
    values: Float[Tensor, "layer sample head row value"], bins: Float[Tensor, "sample bin row"]
) -> tuple[Float[Tensor, "layer sample head bin value"], Float[Tensor, "layer sample head bin value"]]:
    """Return sums over what is not nan, and how many that are, bin by bin."""
    n_layers, n_samples, n_heads, n_rows, n_values = values.shape
    bins = bins.to(values.device)
    known = ~values.isnan()

    def add_up(numbers: Tensor) -> Tensor:
        sums = bins @ numbers.permute(1, 3, 0, 2, 4).reshape(n_samples, n_rows, -1)
        return sums.view(n_samples, -1, n_layers, n_heads, n_values).permute(2, 0, 3, 1, 4)

    return add_up(values.nan_to_num(0.0)), add_up(known.float())


def mean_of(
    tallies: Sequence[Tally], layers: Sequence[int], n_heads: int, n_tokens: int | None = None
) -> Float[np.ndarray, "sample layer head value"] | None:
    """Mean over all rows of all tallies, or over the first `n_tokens` (1, 2, 4, 8, ...); None without tallies.

    Args:
        tallies: sums of one quantity.
        layers: the layers of the result, in rising order; those without a tally are nan.
        n_heads: heads of the result; those that a layer does not have are nan.
        n_tokens: how many rows count.
    """
    if not tallies:
        return None
    n_bins = None if n_tokens is None else n_tokens.bit_length()
    _, n_samples, _, _, n_values = tallies[0].total.shape
    sums = np.zeros((2, n_samples, len(layers), n_heads, n_values))
    for one in tallies:
        places = np.searchsorted(layers, one.layers)
        for sum_, whole in zip(sums, (one.total, one.number), strict=True):
            added = whole[:, :, :, :n_bins].sum(3, dtype=torch.float64).transpose(0, 1).cpu().numpy()
            sum_[:, places, : added.shape[2]] += added
    total, number = sums
    return np.asarray(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))
