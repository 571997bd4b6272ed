"""Which rows of a pass are read at a time, and what they see.

It knows masks and positions, and nothing of queries, keys or values.

    chosen = Chosen(rows, span=None, keep=True)
    Masks(n_rows=48, shelf=shelf).of(mask, chosen, inside, causal=True)
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.errors import NotReadableError
from foretell.reading.capture.recording import Shelf

__all__ = ["Chosen", "Mask", "Masks", "span_of"]

_CACHED_MASKS = 4


@dataclass(frozen=True)
class Mask:
    """What chosen rows see."""

    source: Tensor | None
    added: Tensor | None
    """`(sample or 1, head or 1, row, key)` to be added to the scores of the last keys; None means every key is seen."""
    first: int
    """Key that `added` begins with; every row sees all keys before it."""
    share: Float[Tensor, "sample row segment"]
    """Each segment's share of the tokens that a row sees."""
    seen: Tensor | None = None
    """Where all that is added hides keys, 1 for each that is seen and 0 for each that is not, as `added` is."""

    @property
    def whole(self) -> Tensor | None:
        """What is to be added to the scores of all keys."""
        return None if self.added is None else torch.nn.functional.pad(self.added, (self.first, 0))


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
        shelf: where what is made for all layers is kept.
    """

    def __init__(self, n_rows: int, shelf: Shelf) -> None:
        self._n_rows = n_rows
        self._shelf = shelf
        self._known: OrderedDict[tuple[Any, ...], Mask] = OrderedDict()

    def of(
        self, mask: Tensor | None, chosen: Chosen, inside: Float[Tensor, "sample segment key"], *, causal: bool
    ) -> Mask:
        """Return what some rows see in one attention call.

        Args:
            mask: the call's mask, `(sample or 1, head or 1, query, key)`, of True for seen or of what is added.
            chosen: the rows.
            inside: 1 where a key belongs to a segment.
            causal: without a mask, whether rows see no later key.

        Raises:
            NotReadableError: The call's mask has another shape than attention takes.
        """
        n_keys = inside.shape[2]
        place = (chosen.rows.storage_offset(), chosen.rows.shape[1])
        identity = (id(mask), n_keys, causal, place, inside.device)
        known = self._known.get(identity)
        if known is not None:
            return known
        if mask is None:
            made = _causal(chosen, inside) if causal else _open(chosen, inside)
        else:
            made = _stated(mask, chosen, inside)
        if chosen.keep:
            added, seen = (None if one is None else self._shelf.keep(one) for one in (made.added, made.seen))
            made = Mask(made.source, added, made.first, self._shelf.keep(made.share), seen)
            self._known[identity] = made
            n_chunks = -(-self._n_rows // chosen.rows.shape[1])
            if len(self._known) > _CACHED_MASKS * n_chunks:
                self._known.popitem(last=False)
        return made


def span_of(rows: Tensor) -> slice | None:
    """Return rows `(sample, row)` as one slice, if they are neighbours at the same place in every sample."""
    if not rows.numel() or rows.device.type != "cpu":
        return None
    first = int(rows[0, 0])
    same = bool((rows == torch.arange(first, first + rows.shape[1])).all())
    return slice(first, first + rows.shape[1]) if same else None


def _open(chosen: Chosen, inside: Tensor) -> Mask:
    """Every row sees every key."""
    return Mask(None, None, 0, _shares(inside.sum(2)[:, None].expand(-1, chosen.rows.shape[1], -1)))


def _causal(chosen: Chosen, inside: Tensor) -> Mask:
    """No row sees a later key than itself."""
    seen = inside.cumsum(2).transpose(1, 2)
    counts = seen.gather(1, chosen.rows[..., None].expand(-1, -1, inside.shape[1]))
    n_keys = inside.shape[2]
    # Without knowing where the rows stand, which an accelerator would have to be waited for, no key is left out.
    first = min(int(chosen.rows.min()) + 1, n_keys - 1) if chosen.rows.device.type == "cpu" else 0
    hidden = torch.arange(first, n_keys, device=chosen.rows.device) > chosen.rows[:, None, :, None]
    return Mask(None, _hiding(hidden), first, _shares(counts), (~hidden).float())


def _stated(mask: Tensor, chosen: Chosen, inside: Tensor) -> Mask:
    """Rows see what the model's own mask says."""
    n_keys = inside.shape[2]
    if mask.ndim != 4 or mask.shape[3] < n_keys:
        raise NotReadableError(f"a mask of shape {tuple(mask.shape)} for {n_keys} keys is not understood")
    own = chosen.of(mask[..., :n_keys])
    if own.dtype == torch.bool:
        visible, added, hides = own, _hiding(~own), True
    else:
        least = torch.finfo(own.dtype).min
        # A key of weight 0 is to add 0 to every sum, which minus infinity would not.
        visible, added = own > least / 2, own.float().clamp_min(least)
        # An accelerator would have to be waited for.
        hides = added.device.type == "cpu" and not bool((visible & (added != 0)).any())
    first = _first_touched(added) if added.device.type == "cpu" else 0
    share = _shares((visible.float() @ inside.transpose(1, 2)[:, None]).mean(1))
    return Mask(mask, added[..., first:], first, share, visible[..., first:].float() if hides else None)


def _hiding(hidden: Tensor) -> Tensor:
    """Return what is added to scores so that nothing is left of hidden ones."""
    least = torch.finfo(torch.float32).min
    return torch.zeros_like(hidden, dtype=torch.float32).masked_fill_(hidden, least)


def _first_touched(added: Tensor) -> int:
    """Return the first key that anything is added to, or the last key."""
    touched = (added != 0).flatten(0, 2).any(0).nonzero()
    return int(touched[0]) if len(touched) else added.shape[3] - 1


def _shares(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True)
