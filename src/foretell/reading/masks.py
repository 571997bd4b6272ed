"""Which rows of a pass are read at a time, and what they see.

It knows masks and positions, and nothing of queries, keys or values.

    chosen = Chosen(rows, span=None, keep=True)
    Masks(n_rows=48).of(call, chosen, inside, packed=1)
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.errors import NotReadableError
from foretell.reading.attention import AttentionCall

__all__ = ["Chosen", "Mask", "Masks", "span_of"]

_CACHED_MASKS = 4


@dataclass(frozen=True)
class Mask:
    """What chosen rows see."""

    source: Tensor | None
    additive: Tensor | None
    """`(sample or 1, head or 1, row, key)` to be added to scores; None means every key is seen."""
    share: Float[Tensor, "sample row segment"]
    """Each segment's share of the tokens that a row sees."""


@dataclass(frozen=True)
class Chosen:
    """Some of a pass's rows."""

    rows: Int[Tensor, "sample row"]
    """Query positions."""
    span: slice | None
    """The same as a slice, where all samples have neighbouring rows at the same place."""
    keep: bool
    """Whether their masks are kept for other layers."""

    def of(self, tensor: Tensor) -> Tensor:
        """Return `tensor[sample, :, rows[sample]]` as `(sample, head, row, ...)`; an axis of size 1 stands for all."""
        if tensor.shape[2] == 1:
            return tensor.expand(self.rows.shape[0], -1, self.rows.shape[1], -1)
        if self.span is not None:
            return tensor[:, :, self.span]
        samples = torch.arange(self.rows.shape[0], device=self.rows.device)[:, None]
        return tensor.expand(self.rows.shape[0], -1, -1, -1)[samples, :, self.rows].transpose(1, 2)


class Masks:
    """What rows see, made once for all layers that have the same mask.

    Args:
        n_rows: rows of the pass.
    """

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows
        self._known: OrderedDict[tuple[Any, ...], Mask] = OrderedDict()

    def of(
        self, call: AttentionCall, chosen: Chosen, inside: Float[Tensor, "sample 1 key segment"], packed: int
    ) -> Mask:
        """Return the mask of some rows in one attention call.

        Args:
            call: the call.
            chosen: the rows.
            inside: 1 where a key belongs to a segment.
            packed: how many heads are folded into rows, each of which needs the mask.

        Raises:
            NotReadableError: The call's mask has another shape than attention takes.
        """
        n_queries, n_keys = call.query.shape[2], call.key.shape[2]
        causal = call.mask is None and n_queries > 1 and _is_causal(call)
        place = (chosen.rows.storage_offset(), chosen.rows.shape[1])
        identity = (id(call.mask), n_keys, causal, packed, place, call.query.device)
        if chosen.keep and identity in self._known:
            return self._known[identity]
        additive, visible = _seen(call, chosen, causal)
        everything = inside.sum(2).expand(-1, chosen.rows.shape[1], -1)
        counts = everything if visible is None else (visible.float() @ inside).mean(1)
        mask = Mask(
            source=call.mask,
            additive=additive if additive is None or packed == 1 else additive.repeat(1, 1, packed, 1),
            share=counts / counts.sum(-1, keepdim=True),
        )
        if chosen.keep:
            self._known[identity] = mask
            n_chunks = -(-self._n_rows // chosen.rows.shape[1])
            if len(self._known) > _CACHED_MASKS * n_chunks:
                self._known.popitem(last=False)
        return mask


def span_of(rows: Tensor) -> slice | None:
    """Return rows `(sample, row)` as one slice, if they are neighbours at the same place in every sample."""
    if not rows.numel() or rows.device.type != "cpu":
        return None
    first = int(rows[0, 0])
    same = bool((rows == torch.arange(first, first + rows.shape[1])).all())
    return slice(first, first + rows.shape[1]) if same else None


def _is_causal(call: AttentionCall) -> bool:
    stated = call.options.get("is_causal")
    return bool(getattr(call.module, "is_causal", True) if stated is None else stated)


def _seen(call: AttentionCall, chosen: Chosen, causal: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return the additive mask of the rows and what they see, both `(sample, head or 1, row, key)` or None for all."""
    n_keys = call.key.shape[2]
    if call.mask is None:
        if not causal:
            return None, None
        visible = torch.arange(n_keys, device=chosen.rows.device) <= chosen.rows[:, None, :, None]
    else:
        if call.mask.ndim != 4 or call.mask.shape[3] < n_keys:
            raise NotReadableError(
                f"{type(call.module).__name__}: a mask of shape {tuple(call.mask.shape)} "
                f"for {n_keys} keys is not understood"
            )
        visible = chosen.of(call.mask[..., :n_keys])
        if visible.dtype != torch.bool:
            return visible.float(), visible > torch.finfo(visible.dtype).min / 2
    return torch.zeros_like(visible, dtype=torch.float32).masked_fill_(
        ~visible, torch.finfo(torch.float32).min
    ), visible
