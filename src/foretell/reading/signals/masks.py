"""Which keys the chosen rows of an attention call see.

rows = QueryRows(torch.arange(40, 48)[None])
rows.visible(mask, indicators, causal=True).added
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.errors import NotReadableError

__all__ = ["Mask", "QueryRows", "visible_shares"]

_REMEMBERED = 4
"""Masks of a pass: models that mix kinds of attention (full, sliding, chunked) have two or three."""


@dataclass(frozen=True)
class Mask:
    """What chosen rows see."""

    source: Tensor | None
    """The model's own mask; kept, so that no other tensor gets its identity."""
    added: Float[Tensor, "_ head row key"] | None
    """`(sample or 1, head or 1, row, key)` to be added to the scores of the last keys; None: every key is seen."""
    first: int
    """Key that `added` begins with; every row sees all keys before it."""
    share: Float[Tensor, "sample row segment"]
    """Each segment's share of the tokens that a row sees; nan where it sees none of them."""

    @property
    def whole(self) -> Tensor | None:
        """What is to be added to the scores of all keys."""
        return None if self.added is None else torch.nn.functional.pad(self.added, (self.first, 0))


class QueryRows:
    """Query positions within a pass: what they see, and how to take them out of a tensor.

    Args:
        rows: `(sample, row)` on the CPU.
        most_bytes: bound for masks that are kept for the layers to come; above it each layer makes its own.
    """

    def __init__(self, rows: Int[Tensor, "sample row"], *, most_bytes: int) -> None:
        self.rows = rows
        self._most_bytes = most_bytes
        self._span = _span_of(rows)
        self._on_device = {rows.device: rows}
        self._parts: dict[tuple[int, int], QueryRows] = {}
        self._known: OrderedDict[tuple[Any, ...], Mask] = OrderedDict()

    def on(self, device: torch.device) -> Int[Tensor, "sample row"]:
        """Return the rows on a device."""
        if device not in self._on_device:
            self._on_device[device] = self.rows.to(device)
        return self._on_device[device]

    def part(self, first: int, last: int) -> QueryRows:
        """Return the rows from `first` up to `last`."""
        n_rows = self.rows.shape[1]
        if first == 0 and last >= n_rows:
            return self
        if (first, last) not in self._parts:
            share = self._most_bytes * (min(last, n_rows) - first) // n_rows
            self._parts[first, last] = QueryRows(self.rows[:, first:last], most_bytes=share)
        return self._parts[first, last]

    def of(self, tensor: Tensor) -> Tensor:
        """Return `tensor[sample, :, rows[sample]]` as `(sample, head, row, ...)`; an axis of size 1 stands for all."""
        n_samples, n_rows = self.rows.shape
        if tensor.shape[2] == 1:
            return tensor.expand(n_samples, -1, n_rows, -1)
        if self._span is not None:
            return tensor[:, :, self._span]
        rows = self.on(tensor.device)
        samples = torch.arange(n_samples, device=tensor.device)[:, None]
        return tensor.expand(n_samples, -1, -1, -1)[samples, :, rows].transpose(1, 2)

    def of_tokens(self, tensor: Float[Tensor, "sample token width"]) -> Float[Tensor, "sample row width"]:
        """Return `tensor[sample, rows[sample]]`."""
        return tensor[:, self._span] if self._span is not None else self.of(tensor[:, None])[:, 0]

    def visible(self, mask: Tensor | None, indicators: Float[Tensor, "sample code key"], *, causal: bool) -> Mask:
        """Return what the rows see in one attention call, the same object for layers that have the same mask.

        Args:
            mask: the call's mask, `(sample or 1, head or 1, query, key)`, True where seen, or what is added to scores.
            indicators: 1 where a key belongs to a segment; the last code is that of padding.
            causal: without a mask, whether rows see no later key.

        Raises:
            NotReadableError: The call's mask has another shape than attention takes.
        """
        identity = (id(mask), indicators.shape[2], indicators.device, causal)
        if identity in self._known:
            return self._known[identity]
        if mask is None:
            made = _causal(self, indicators) if causal else _open(self, indicators)
        else:
            made = _stated(mask, self, indicators)
        if made.added is None or made.added.nbytes <= self._most_bytes // _REMEMBERED:
            self._known[identity] = made
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return made


def _span_of(rows: Tensor) -> slice | None:
    """Return rows `(sample, row)` as one slice, if they are neighbours at the same place in every sample."""
    if not rows.numel():
        return None
    first = int(rows[0, 0])
    same = bool((rows == torch.arange(first, first + rows.shape[1])).all())
    return slice(first, first + rows.shape[1]) if same else None


def _open(rows: QueryRows, indicators: Tensor) -> Mask:
    """Every row sees every key."""
    return Mask(None, None, 0, visible_shares(indicators.sum(2)[:, None].expand(-1, rows.rows.shape[1], -1)))


def _causal(rows: QueryRows, indicators: Tensor) -> Mask:
    """No row sees a later key than itself."""
    device, n_keys = indicators.device, indicators.shape[2]
    own = rows.on(device)
    counts = indicators.cumsum(2).transpose(1, 2).gather(1, own[..., None].expand(-1, -1, indicators.shape[1]))
    first = min(int(rows.rows.min()) + 1, n_keys - 1)
    hidden = torch.arange(first, n_keys, device=device) > own[:, None, :, None]
    return Mask(None, _hiding(hidden), first, visible_shares(counts))


def _stated(mask: Tensor, rows: QueryRows, indicators: Tensor) -> Mask:
    """Rows see what the model's own mask says."""
    n_keys = indicators.shape[2]
    if mask.ndim != 4 or mask.shape[3] < n_keys:
        raise NotReadableError(f"a mask of shape {tuple(mask.shape)} for {n_keys} keys is not understood")
    own = rows.of(mask[..., :n_keys])
    if own.dtype == torch.bool:
        visible, added = own, _hiding(~own)
    else:
        visible = own > torch.finfo(own.dtype).min / 2
        # Minus infinity in a whole row would make its softmax undefined.
        added = own.float().clamp_min(torch.finfo(torch.float32).min)
    # An accelerator would have to be waited for to find out that the first keys are seen by all.
    first = _first_touched(added) if added.device.type == "cpu" else 0
    counts = (visible.float() @ indicators.transpose(1, 2)[:, None]).mean(1)
    return Mask(mask, added[..., first:], first, visible_shares(counts))


def _hiding(hidden: Tensor) -> Tensor:
    """Return what is added to scores so that nothing is left of hidden ones."""
    least = torch.finfo(torch.float32).min
    return torch.zeros_like(hidden, dtype=torch.float32).masked_fill_(hidden, least)


def _first_touched(added: Tensor) -> int:
    """Return the first key that anything is added to, or the last key."""
    touched = (added != 0).flatten(0, 2).any(0).nonzero()
    return int(touched[0]) if len(touched) else added.shape[3] - 1


def visible_shares(counts: Float[Tensor, "sample row code"]) -> Float[Tensor, "sample row segment"]:
    """Return each segment's share of the tokens that a row sees, nan where it sees none; padding is no token."""
    tokens = counts[..., :-1]
    return tokens.masked_fill(tokens == 0, torch.nan) / tokens.sum(-1, keepdim=True)
