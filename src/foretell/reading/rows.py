"""Attention mass of chosen rows: a model's own attention applied to indicator values.

softmax(QK^T) times a 0/1 matrix (token x segment) is the mass per segment, so no token x token matrix is kept.
It knows nothing of configurations, hooks or generation.

    rows = Rows(codes=codes, rows=rows, chunk_bytes=64 << 20)
    reading = rows.read(call)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from foretell.errors import NotReadableError
from foretell.reading.attention import AttentionCall
from foretell.reading.masks import Chosen, Masks, span_of
from foretell.reading.weighing import Runs, row_entropy, runs_of, segment_parts
from foretell.schema import SEGMENTS

__all__ = ["RowReading", "Rows", "Wanted"]

N_SEGMENTS = len(SEGMENTS)
_HELD_BYTES = 4 << 20
"""Weights of some rows over all keys held at a time without an accelerator: larger pieces are no faster, and leave
holes that the tensors of long texts do not fit into."""


@dataclass(frozen=True)
class Wanted:
    """What is read of attention beside the masses."""

    contribution: bool = False
    entropy: bool = False

    @property
    def weights(self) -> bool:
        """Whether the rows' weights over all keys are needed."""
        return self.contribution or self.entropy


@dataclass(frozen=True)
class RowReading:
    """What one attention call's chosen rows say, and each segment's share of the tokens a row sees."""

    mass: Tensor
    """`(sample, head, row, segment)` float32."""
    share: Tensor
    """`(sample, row, segment)` float32; each row sums to 1 where every visible token has a segment."""
    entropy: Tensor | None = None
    """`(sample, head, row)` float32 in nats."""
    parts: Tensor | None = None
    """`(sample, head, row, segment, width)` what each segment adds to the head's output."""


class Rows:
    """The rows to read in one forward pass, and what all its layers have in common.

    Args:
        codes: `(sample, token)` segment code of every token up to the end of this pass, -1 where padding.
        rows: `(sample, row)` query positions within this pass.
        chunk_bytes: bound for the scores and masks that are held at a time.
    """

    def __init__(self, codes: Tensor, rows: Tensor, *, chunk_bytes: int, wanted: Wanted | None = None) -> None:
        self._codes = codes
        self._rows = rows
        self._span = span_of(rows)
        self._chunk_bytes = chunk_bytes
        self._wanted = wanted or Wanted()
        self._on_device: dict[torch.device, Tensor] = {}
        self._indicators: dict[tuple[Any, ...], Tensor] = {}
        self._masks = Masks(rows.shape[1])
        self._runs: dict[int, Runs] = {}
        self._shares: tuple[list[Tensor], Tensor] | None = None

    def read(self, call: AttentionCall) -> RowReading:
        """Return what this pass's rows say in one attention call.

        Raises:
            NotReadableError: The call's tensors are not those of plain multi-head attention.
        """
        n_samples, n_heads, _, _ = call.query.shape
        # Scores of the general path and its softmax, or the additive mask of the fused one, per row.
        n_bytes = n_samples * n_heads * call.key.shape[2] * 4 * (3 if self._wanted.weights else 2)
        bounded = self._wanted.weights and call.query.device.type == "cpu"
        return self._in_chunks(
            call.query.device,
            n_bytes,
            lambda chosen: self._read_chunk(call, chosen),
            most_bytes=min(self._chunk_bytes, _HELD_BYTES) if bounded else self._chunk_bytes,
        )

    def read_weights(self, weights: Tensor) -> RowReading:
        """Return what this pass's rows say in whole attention weights, `(sample, head, query, key)`.

        What a row sees are the keys that any head gives weight to.
        """
        per_row = weights.shape[0] * weights.shape[1] * weights.shape[3] * 4 * 2
        return self._in_chunks(
            weights.device,
            per_row,
            lambda chosen: self._weigh_chunk(weights, chosen),
            most_bytes=self._chunk_bytes,
        )

    def _in_chunks(
        self, device: torch.device, bytes_per_row: int, read: Callable[[Chosen], RowReading], *, most_bytes: int
    ) -> RowReading:
        n_rows = self._rows.shape[1]
        step = max(1, min(n_rows, most_bytes // max(1, bytes_per_row)))
        keep = n_rows * bytes_per_row <= self._chunk_bytes
        rows = self._rows_on(device)
        readings = [
            read(Chosen(rows[:, first : first + step], _part(self._span, first, step), keep))
            for first in range(0, n_rows, step)
        ]
        if len(readings) == 1:
            return readings[0]
        entropies = [one.entropy for one in readings if one.entropy is not None]
        parts = [one.parts for one in readings if one.parts is not None]
        return RowReading(
            mass=torch.cat([one.mass for one in readings], dim=2),
            share=self._joined([one.share for one in readings]),
            entropy=torch.cat(entropies, dim=2) if entropies else None,
            parts=torch.cat(parts, dim=2) if parts else None,
        )

    def _joined(self, shares: list[Tensor]) -> Tensor:
        """Return the shares of all rows, the very same tensor for layers that have the same masks."""
        if self._shares is None or any(one is not other for one, other in zip(self._shares[0], shares, strict=True)):
            self._shares = (shares, torch.cat(shares, dim=1))
        return self._shares[1]

    def _weigh_chunk(self, weights: Tensor, chosen: Chosen) -> RowReading:
        rows = chosen.of(weights).float()
        inside = self._values(rows, n_keys=rows.shape[3], width=N_SEGMENTS)[:, 0]
        counts = (rows > 0).any(1).float() @ inside
        return RowReading(
            mass=rows @ inside[:, None],
            share=counts / counts.sum(-1, keepdim=True),
            entropy=row_entropy(rows) if self._wanted.entropy else None,
        )

    def _read_chunk(self, call: AttentionCall, chosen: Chosen) -> RowReading:
        query = chosen.of(call.query).float()
        key = call.key.float()
        inside = self._values(call.key[:, :1], n_keys=call.key.shape[2], width=N_SEGMENTS)
        groups = call.query.shape[1] // call.key.shape[1]
        plain = call.own is sdpa_attention_forward and groups * call.key.shape[1] == call.query.shape[1]
        bias = call.options.get("position_bias")
        fused = plain and bias is None and (call.mask is None or call.mask.shape[1] == 1)
        if self._wanted.weights:
            mask = self._masks.of(call, chosen, inside, packed=1)
            if plain:
                weights = _softmax(call, query, key, (mask.additive, None if bias is None else chosen.of(bias)))
            else:
                weights = self._general(call, query, key, mask.additive, chosen, weights=True)
            return self._weighed(call, weights, mask.share)
        mask = self._masks.of(call, chosen, inside, packed=groups if fused else 1)
        if fused:
            mass = self._fused(call, query, key, mask.additive, groups)
        else:
            mass = self._general(call, query, key, mask.additive, chosen, weights=False)
        return RowReading(mass=mass, share=mask.share)

    def _weighed(self, call: AttentionCall, weights: Tensor, share: Tensor) -> RowReading:
        n_keys = weights.shape[3]
        if n_keys not in self._runs:
            self._runs[n_keys] = runs_of(self._key_codes(n_keys))
        return RowReading(
            mass=weights @ self._values(weights, n_keys=n_keys, width=N_SEGMENTS)[:, :1],
            share=share,
            entropy=row_entropy(weights) if self._wanted.entropy else None,
            parts=segment_parts(weights, call.value, self._runs[n_keys]) if self._wanted.contribution else None,
        )

    def _fused(self, call: AttentionCall, query: Tensor, key: Tensor, additive: Tensor | None, groups: int) -> Tensor:
        """Ask the fused kernel itself, with the heads of a group folded into rows so that no key is repeated."""
        n_samples, n_heads, n_rows, width = query.shape
        values = self._values(key, n_keys=key.shape[2], width=max(width, N_SEGMENTS))
        mixed = scaled_dot_product_attention(
            query.reshape(n_samples, n_heads // groups, groups * n_rows, width),
            key,
            values,
            attn_mask=additive,
            scale=call.options.get("scaling"),
        )
        return mixed[..., :N_SEGMENTS].reshape(n_samples, n_heads, n_rows, N_SEGMENTS)

    def _general(
        self,
        call: AttentionCall,
        query: Tensor,
        key: Tensor,
        additive: Tensor | None,
        chosen: Chosen,
        *,
        weights: bool,
    ) -> Tensor:
        """Ask the model's own attention function for masses or weights, whatever it adds to the softmax of scores."""
        n_queries = call.query.shape[2]
        options = {
            name: chosen.of(value)
            if isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] == n_queries and n_queries > 1
            else value
            for name, value in call.options.items()
        }
        options["dropout"] = 0.0
        if call.implementation == "sdpa":
            options["is_causal"] = False
        values = self._values(key, n_keys=key.shape[2], width=N_SEGMENTS)
        output = call.own(call.module, query, key, values, additive, **options)[1 if weights else 0]
        n_samples, n_heads, n_rows, _ = query.shape
        expected = (n_samples, n_heads, n_rows, key.shape[2]) if weights else (n_samples, n_rows, n_heads, N_SEGMENTS)
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            found = tuple(output.shape) if isinstance(output, Tensor) else "nothing"
            raise NotReadableError(f"{type(call.module).__name__}: its attention returned {found} for {expected}")
        return output.float() if weights else output.transpose(1, 2).float()

    def _rows_on(self, device: torch.device) -> Tensor:
        if device not in self._on_device:
            self._on_device[device] = self._rows.to(device)
        return self._on_device[device]

    def _key_codes(self, n_keys: int) -> Tensor:
        """Segment code of every key; a windowed cache holds only the last ones."""
        n_seen = self._codes.shape[1]
        offset = max(n_seen - n_keys, 0)
        codes = self._codes[:, offset : offset + n_keys]
        return torch.nn.functional.pad(codes, (0, n_keys - codes.shape[1]), value=-1)

    def _values(self, like: Tensor, *, n_keys: int, width: int) -> Tensor:
        """Indicator values `(sample, head, key, width)` for the heads of `like`; columns beyond segments are zero."""
        n_samples, n_key_heads = like.shape[:2]
        identity = (n_samples, n_keys, width, like.device)
        if identity not in self._indicators:
            codes = self._key_codes(n_keys).to(like.device)
            columns = torch.arange(width, device=like.device)
            self._indicators[identity] = (codes[:, None, :, None] == columns).float()
        return self._indicators[identity].expand(n_samples, n_key_heads, n_keys, width)


def _part(span: slice | None, first: int, step: int) -> slice | None:
    return None if span is None else slice(span.start + first, min(span.start + first + step, span.stop))


def _softmax(call: AttentionCall, query: Tensor, key: Tensor, added: tuple[Tensor | None, ...]) -> Tensor:
    """Return the rows' weights `(sample, head, row, key)` of plain attention, no key repeated."""
    n_samples, n_heads, n_rows, width = query.shape
    groups = n_heads // key.shape[1]
    scale = call.options.get("scaling")
    query = query * (width**-0.5 if scale is None else scale)
    scores = query.reshape(n_samples, n_heads // groups, groups * n_rows, width) @ key.transpose(2, 3)
    scores = scores.view(n_samples, n_heads, n_rows, -1)
    for one in added:
        if one is not None:
            scores += one
    return torch.softmax(scores, dim=-1)
