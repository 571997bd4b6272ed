"""Attention mass of chosen rows: a model's own attention applied to indicator values.

softmax(QK^T) times a 0/1 matrix (token x segment) is the mass per segment, so no token x token matrix is kept.
It knows nothing of configurations, hooks or generation.

    rows = Rows(codes=codes, rows=rows, chunk_bytes=64 << 20)
    question = rows.question(call)
    reading = rows.read(call) if question is None else rows.answer(question)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from foretell.errors import NotReadableError
from foretell.reading.capture.recording import Shelf
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.signals.contribution import row_entropy
from foretell.reading.signals.indicators import Indicators
from foretell.reading.signals.masks import Chosen, Masks, span_of
from foretell.reading.signals.parts import SegmentParts
from foretell.reading.signals.plain import Plain
from foretell.reading.signals.questions import Added, Question
from foretell.schema.tables import SEGMENTS

__all__ = ["RowReading", "Rows", "Wanted"]

N_SEGMENTS = len(SEGMENTS)


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
    contribution: Tensor | None = None
    """`(sample, head, row, segment)` share of what the head writes."""
    parts: Tensor | None = None
    """`(segment, sample, head, row, width)` what each segment adds to the head's output, where it is not known yet
    what that is written through."""


class Rows:
    """The rows to read in one forward pass, and what all its layers have in common.

    Args:
        codes: `(sample, token)` segment code of every token up to the end of this pass, -1 where padding.
        rows: `(sample, row)` query positions within this pass.
        chunk_bytes: bound for the scores and masks that are held at a time.
        wanted: what is read beside masses.
        plain: what weighs rows of plain attention; a pass may use that of the one before.
        shelf: where what all layers have in common is kept.
    """

    def __init__(
        self,
        codes: Tensor,
        rows: Tensor,
        *,
        chunk_bytes: int,
        wanted: Wanted | None = None,
        plain: Plain | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._rows = rows
        self._span = span_of(rows)
        self._chunk_bytes = chunk_bytes
        self._wanted = wanted or Wanted()
        self._plain = plain or Plain(most_bytes=chunk_bytes, entropy=self._wanted.entropy)
        self._on_device: dict[torch.device, Tensor] = {}
        self._all: dict[torch.device, Chosen] = {}
        shelf = shelf or Shelf()
        self._indicators = Indicators(codes, shelf)
        self._masks = Masks(rows.shape[1], shelf)
        self._shares: tuple[list[Tensor], Tensor] | None = None

    def question(self, call: AttentionCall) -> Question | None:
        """Return what a call asks in this pass's rows, to be answered now; None if its attention is not plain."""
        groups = call.query.shape[1] // call.key.shape[1]
        if call.own is not sdpa_attention_forward or groups * call.key.shape[1] != call.query.shape[1]:
            return None
        chosen = self._chosen(call.query.device)
        bias = call.options.get("position_bias")
        scale = call.options.get("scaling")
        helps = self._wanted.contribution and self._indicators.leaves(call.key.shape[2])
        return Question(
            query=chosen.of(call.query.detach()),
            key=call.key.detach(),
            value=call.value.detach() if self._wanted.contribution else None,
            mask=call.mask,
            causal=call.query.shape[2] > 1 and _is_causal(call),
            scale=call.query.shape[3] ** -0.5 if scale is None else float(scale),
            bias=None if bias is None else chosen.of(bias.detach()),
            output=_exact_output(call, chosen) if helps else None,
        )

    def answer(self, question: Question, factor: Float[Tensor, "_ head width width"] | None = None) -> RowReading:
        """Return what this pass's rows say to a question, or to several of one kind that were put together.

        Args:
            question: with as many samples as there are, or, one after the other, those of several layers.
            factor: what each head of each layer writes through, for contributions.

        Raises:
            NotReadableError: The mask is not one of attention.
        """
        n_keys, device = question.key.shape[2], question.query.device
        # The mask, what is added for it, and what it hides.
        per_row = len(self._rows) * n_keys * 4 * 3
        inside = self._indicators.inside(n_keys, device)

        def answer(first: int, chosen: Chosen) -> RowReading:
            rows = slice(first, first + chosen.rows.shape[1])
            mask = self._masks.of(question.mask, chosen, inside, causal=question.causal)
            added = [] if mask.added is None else [Added(mask.added, mask.first, mask.seen)]
            if question.bias is not None:
                added.append(Added(question.bias[:, :, rows], 0))
            output = None if question.output is None else question.output[:, :, rows]
            asked = dataclasses.replace(question, query=question.query[:, :, rows], output=output)
            weighed = self._plain.weigh(asked, added, self._indicators, factor)
            return RowReading(weighed.mass, mask.share, weighed.entropy, weighed.contribution)

        return self._in_chunks(device, n_keys, per_row, answer)

    def read(self, call: AttentionCall) -> RowReading:
        """Return what this pass's rows say in one attention call, by the model's own attention function.

        Raises:
            NotReadableError: The call's tensors are not those of multi-head attention.
        """
        n_samples, n_heads, _, _ = call.query.shape
        # Scores and their softmax, and copies for entropies and contributions, per row.
        per_row = n_samples * n_heads * call.key.shape[2] * 4 * (3 if self._wanted.weights else 2)
        n_keys = call.key.shape[2]
        return self._in_chunks(call.query.device, n_keys, per_row, lambda _, chosen: self._read_chunk(call, chosen))

    def read_weights(self, weights: Tensor) -> RowReading:
        """Return what this pass's rows say in whole attention weights, `(sample, head, query, key)`.

        What a row sees are the keys that any head gives weight to.
        """
        per_row = weights.shape[0] * weights.shape[1] * weights.shape[3] * 4 * 2
        n_keys = weights.shape[3]
        return self._in_chunks(weights.device, n_keys, per_row, lambda _, chosen: self._weigh_chunk(weights, chosen))

    def _in_chunks(
        self, device: torch.device, n_keys: int, bytes_per_row: int, read: Callable[[int, Chosen], RowReading]
    ) -> RowReading:
        rows = self._rows_on(device)
        n_samples, n_rows = rows.shape
        step = max(1, min(n_rows, self._chunk_bytes // max(1, bytes_per_row)))
        if step == n_rows:
            return read(0, self._chosen(device))
        keep = n_samples * n_rows * n_keys * 4 <= self._chunk_bytes
        readings = [
            read(first, Chosen(rows[:, first : first + step], _part(self._span, first, step), keep))
            for first in range(0, n_rows, step)
        ]
        entropies = [one.entropy for one in readings if one.entropy is not None]
        contributions = [one.contribution for one in readings if one.contribution is not None]
        parts = [one.parts for one in readings if one.parts is not None]
        return RowReading(
            mass=torch.cat([one.mass for one in readings], dim=2),
            share=self._joined([one.share for one in readings]),
            entropy=torch.cat(entropies, dim=2) if entropies else None,
            contribution=torch.cat(contributions, dim=2) if contributions else None,
            parts=torch.cat(parts, dim=3) if parts else None,
        )

    def _chosen(self, device: torch.device) -> Chosen:
        if device not in self._all:
            self._all[device] = Chosen(self._rows_on(device), self._span, keep=True)
        return self._all[device]

    def _joined(self, shares: list[Tensor]) -> Tensor:
        """Return the shares of all rows, the very same tensor for layers that have the same masks."""
        if self._shares is None or any(one is not other for one, other in zip(self._shares[0], shares, strict=True)):
            self._shares = (shares, torch.cat(shares, dim=1))
        return self._shares[1]

    def _weigh_chunk(self, weights: Tensor, chosen: Chosen) -> RowReading:
        rows = chosen.of(weights).float()
        inside = self._indicators.inside(rows.shape[3], rows.device).transpose(1, 2)
        counts = (rows > 0).any(1).float() @ inside
        return RowReading(
            mass=rows @ inside[:, None],
            share=counts / counts.sum(-1, keepdim=True),
            entropy=row_entropy(rows) if self._wanted.entropy else None,
        )

    def _read_chunk(self, call: AttentionCall, chosen: Chosen) -> RowReading:
        """Ask the model's own attention function for masses or weights, whatever it adds to the softmax of scores."""
        n_queries, n_keys = call.query.shape[2], call.key.shape[2]
        inside = self._indicators.inside(n_keys, call.query.device)
        mask = self._masks.of(call.mask, chosen, inside, causal=n_queries > 1 and _is_causal(call))
        options = {
            name: chosen.of(value)
            if isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] == n_queries and n_queries > 1
            else value
            for name, value in call.options.items()
        }
        options["dropout"] = 0.0
        if call.implementation == "sdpa":
            options["is_causal"] = False
        query, key = chosen.of(call.query).float(), call.key.float()
        values = inside.transpose(1, 2)[:, None].expand(-1, key.shape[1], -1, -1)
        output = call.own(call.module, query, key, values, mask.whole, **options)
        n_samples, n_heads, n_rows, _ = query.shape
        mixed = _expected(call, output[0], (n_samples, n_rows, n_heads, N_SEGMENTS)).transpose(1, 2)
        if not self._wanted.weights:
            return RowReading(mass=mixed, share=mask.share)
        weights = _expected(call, output[1], (n_samples, n_heads, n_rows, n_keys))
        parts = None
        if self._wanted.contribution:
            n_groups, width = call.value.shape[1], call.value.shape[3]
            grouped = weights.reshape(n_samples, n_groups, -1, n_keys)
            made = SegmentParts(grouped, self._indicators.runs(n_keys), width=width).of(call.value)
            parts = made.view(N_SEGMENTS, n_samples, n_heads, n_rows, width)
        return RowReading(mixed, mask.share, row_entropy(weights) if self._wanted.entropy else None, parts=parts)

    def _rows_on(self, device: torch.device) -> Tensor:
        if device not in self._on_device:
            self._on_device[device] = self._rows.to(device)
        return self._on_device[device]


def _part(span: slice | None, first: int, step: int) -> slice | None:
    return None if span is None else slice(span.start + first, min(span.start + first + step, span.stop))


def _exact_output(call: AttentionCall, chosen: Chosen) -> Tensor | None:
    """Return what the model made of its values in some rows; None where that is not known to single precision."""
    output, value = call.output, call.value
    expected = (call.query.shape[0], call.query.shape[2], call.query.shape[1], value.shape[3])
    if output is None or output.dtype != torch.float32 or output.shape != expected or call.options.get("dropout"):
        return None
    return chosen.of(output.detach().transpose(1, 2))


def _is_causal(call: AttentionCall) -> bool:
    stated = call.options.get("is_causal")
    return bool(getattr(call.module, "is_causal", True) if stated is None else stated)


def _expected(call: AttentionCall, output: Any, shape: tuple[int, ...]) -> Tensor:
    """Return one result of a model's attention function, which has to be of this shape."""
    if not isinstance(output, Tensor) or tuple(output.shape) != shape:
        found = tuple(output.shape) if isinstance(output, Tensor) else "nothing"
        raise NotReadableError(f"{type(call.module).__name__}: its attention returned {found} for {shape}")
    return output.float()
