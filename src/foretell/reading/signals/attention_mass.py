"""Attention mass of chosen rows: attention applied to indicator values instead of the model's own values.

softmax(Q K^T) times a 0/1 matrix (token x segment) is the mass per segment, so no token x token matrix is kept: only
the weights of the chosen rows are made, some rows at a time. The mass on the context against that on the answer so far
is the lookback ratio of Chuang et al. (2024), arXiv 2407.07071.

    reader = RowReader(codes, rows, chunk_bytes=64 << 20, quantities=Quantities(entropy=True))
    reader.of_calls([call], head_factors).mass
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from foretell.errors import NotReadableError
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.signals.contribution import shares_of, written_norms
from foretell.reading.signals.key_segments import N_SEGMENTS, KeySegments
from foretell.reading.signals.masks import Mask, QueryRows, visible_shares

__all__ = ["Quantities", "RowReader", "SegmentMass", "is_causal", "is_plain"]

_CACHE_BYTES = 4 << 20
"""Scores made at a time on a processor. Measured at 2,048 and 4,096 tokens with 128 rows: 4 to 32 MiB took the same
time, 1 MiB 1.2 and 1.7 times as long, 256 KiB 1.8 and 3 times. The smallest that is as fast keeps memory low."""


@dataclass(frozen=True)
class Quantities:
    """What is read of attention beside the masses."""

    contribution: bool = False
    entropy: bool = False
    previous_token: bool = False


@dataclass(frozen=True)
class SegmentMass:
    """What the weights of chosen rows say, in float32."""

    mass: Float[Tensor, "sample head row segment"]
    padding: Float[Tensor, "sample head row"]
    """Mass on tokens that belong to no segment, which is 0 where padding is masked."""
    share: Float[Tensor, "sample row segment"]
    """Each segment's share of the tokens that a row sees; nan where it sees none of them."""
    entropy: Float[Tensor, "sample head row"] | None = None
    """Nats."""
    contribution: Float[Tensor, "sample head row segment"] | None = None
    previous_token: Float[Tensor, "sample head row"] | None = None
    """Weight on the token right before the row's own; nan where there is none."""

    @property
    def lift(self) -> Float[Tensor, "sample head row segment"]:
        """Mass over the segment's share of the visible tokens; nan where a row sees none of them."""
        return self.mass / self.share[:, None]

    @property
    def lookback(self) -> Float[Tensor, "sample head row"]:
        """Mean weight of a visible context token over the sum of that and of a generated one; nan without context."""
        # A mean weight is a mass over the number of tokens, which shares are multiples of.
        share = self.share[:, None, :, -1]
        of_context = self.mass[..., :-1].sum(-1) * share
        return of_context / (of_context + self.mass[..., -1] * (1 - share))


class RowReader:
    """Reads the same rows in every layer of one forward pass.

    Args:
        codes: segment code of every token up to the end of this pass, -1 where padding.
        rows: `(sample, row)` query positions within this pass, on the CPU.
        chunk_bytes: bound for the scores, and for the masks, that are held at a time.
        quantities: what is read beside masses.
    """

    def __init__(
        self,
        codes: Int[Tensor, "sample token"],
        rows: Int[Tensor, "sample row"],
        *,
        chunk_bytes: int,
        quantities: Quantities,
    ) -> None:
        self._rows = QueryRows(rows, most_bytes=chunk_bytes)
        self._segments = KeySegments(codes)
        self._chunk_bytes = chunk_bytes
        self._quantities = quantities

    def of_calls(
        self, calls: Sequence[AttentionCall], head_factors: Float[Tensor, "head width width"] | None
    ) -> SegmentMass:
        """Return what the rows say in one attention call, or in those of several layers.

        Plain attention (the softmax of scaled scores, with what a mask or a position bias adds) is computed here; any
        other by the model's own function, which is given these rows and indicator values.

        Args:
            calls: one call; or several plain ones that differ in nothing but their queries, keys and values. Their
                heads follow each other on the head axis.
            head_factors: what each head writes through, for contributions; None measures its output itself.

        Raises:
            NotReadableError: The call's tensors or mask are not those of multi-head attention.
        """
        call = calls[0]
        n_samples, n_heads, n_queries, _ = call.query.shape
        n_heads *= len(calls)
        n_keys = call.key.shape[2]
        indicators = self._segments.indicators(n_keys, call.query.device)
        causal = n_queries > 1 and is_causal(call)
        plain = is_plain(call)
        values = (
            (_joined([one.value.detach() for one in calls]), head_factors) if self._quantities.contribution else None
        )

        def read(rows: QueryRows) -> SegmentMass:
            mask = rows.visible(call.mask, indicators, causal=causal)
            if plain:
                weights, entropy = self._plain(calls, rows, mask)
                sums, previous = _sums(weights, indicators), self._previous(rows, n_queries, weights)
                return self._of_chunk(sums, weights, mask.share, values, entropy=entropy, previous=previous)
            sums, given = _by_own_function(call, rows, mask, indicators)
            return self._of_chunk(sums, given, mask.share, values, previous=self._previous(rows, n_queries, given))

        # An own function makes scores, their softmax and copies of both.
        return self._in_chunks(read, call.query.device, (1 if plain else 3) * n_samples * n_heads * n_keys * 4)

    def of_weights(self, weights: Float[Tensor, "sample head query key"]) -> SegmentMass:
        """Return what the rows say in whole attention weights. A row sees the keys that any head gives weight to."""
        indicators = self._segments.indicators(weights.shape[3], weights.device)

        def read(rows: QueryRows) -> SegmentMass:
            chosen = rows.of(weights.detach()).float()
            seen = (chosen > 0).any(1).float() @ indicators.transpose(1, 2)
            previous = self._previous(rows, weights.shape[2], chosen)
            return self._of_chunk(_sums(chosen, indicators), chosen, visible_shares(seen), None, previous=previous)

        return self._in_chunks(read, weights.device, weights.shape[0] * weights.shape[1] * weights.shape[3] * 4)

    def _in_chunks(
        self, read: Callable[[QueryRows], SegmentMass], device: torch.device, bytes_per_row: int
    ) -> SegmentMass:
        n_rows = self._rows.rows.shape[1]
        most = min(self._chunk_bytes, _CACHE_BYTES) if device.type == "cpu" else self._chunk_bytes
        step = max(1, min(n_rows, most // max(1, bytes_per_row)))
        # Chunks of about the same size: a last one of a few rows costs as many calls as a whole one.
        step = -(-n_rows // -(-n_rows // step))
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            found = [read(self._rows.part(first, first + step)) for first in range(0, n_rows, step)]
        if len(found) == 1:
            return found[0]
        return SegmentMass(
            mass=torch.cat([one.mass for one in found], dim=2),
            padding=torch.cat([one.padding for one in found], dim=2),
            share=torch.cat([one.share for one in found], dim=1),
            entropy=_joined([one.entropy for one in found], dim=2),
            contribution=_joined([one.contribution for one in found], dim=2),
            previous_token=_joined([one.previous_token for one in found], dim=2),
        )

    def _plain(self, calls: Sequence[AttentionCall], rows: QueryRows, mask: Mask) -> tuple[Tensor, Tensor | None]:
        """Return weights, and their entropy where it is wanted: with scores at hand it takes no logarithms of them."""
        scores = _plain_scores(calls, rows, mask)
        weights = torch.softmax(scores, -1)
        if not self._quantities.entropy:
            return weights, None
        # The logarithm of a weight is its score less the largest one, plus the logarithm of the largest weight.
        scores.sub_(scores.amax(-1, keepdim=True)).clamp_min_(torch.finfo(scores.dtype).min)
        return weights, -scores.mul_(weights).sum(-1) - weights.amax(-1).log()

    def _of_chunk(
        self,
        sums: Float[Tensor, "sample head row code"],
        weights: Tensor | None,
        share: Tensor,
        values_and_factors: tuple[Tensor | None, Tensor | None] | None,
        *,
        entropy: Tensor | None = None,
        previous: Tensor | None = None,
    ) -> SegmentMass:
        wanted, contribution = self._quantities, None
        values, factors = values_and_factors or (None, None)
        if wanted.entropy and entropy is None and weights is not None:
            entropy = _entropy(weights)
        if wanted.contribution and weights is not None and values is not None:
            contribution = self._contribution(weights, values, factors)
        return SegmentMass(sums[..., :N_SEGMENTS], sums[..., N_SEGMENTS], share, entropy, contribution, previous)

    def _previous(self, rows: QueryRows, n_queries: int, weights: Tensor | None) -> Tensor | None:
        if weights is None or not self._quantities.previous_token:
            return None
        keys = self._segments.previous_keys(rows.rows, n_queries, weights.shape[3])[:, None, :, None].to(weights.device)
        return weights.take_along_dim(keys.clamp_min(0), 3).masked_fill(keys < 0, torch.nan)[..., 0]

    def _contribution(self, weights: Tensor, values: Tensor, factors: Tensor | None) -> Tensor:
        n_samples, n_heads, _, n_keys = weights.shape
        grouped = weights.reshape(n_samples, values.shape[1], -1, n_keys)
        norms = written_norms(grouped, values, self._segments, factors, n_heads=n_heads)
        return shares_of(norms).movedim(0, -1)


def is_plain(call: AttentionCall) -> bool:
    """Whether a call computes the softmax of scaled scores, with what a mask or a position bias adds."""
    return call.own is sdpa_attention_forward and call.query.shape[1] % call.key.shape[1] == 0


def _plain_scores(calls: Sequence[AttentionCall], rows: QueryRows, mask: Mask) -> Float[Tensor, "sample head row key"]:
    """Return scale Q K^T + what is added, with the heads that share keys as one product."""
    call = calls[0]
    n_samples, n_heads, _, width = call.query.shape
    n_groups, n_keys = call.key.shape[1:3]
    scale = call.options.get("scaling")
    scores = call.query.new_empty(
        (n_samples, len(calls), n_groups, n_heads // n_groups * rows.rows.shape[1], n_keys), dtype=torch.float32
    )
    for one, own in zip(calls, scores.unbind(1), strict=True):
        query, key = rows.of(one.query.detach()).float(), one.key.detach().float()
        query = query * (width**-0.5 if scale is None else float(scale))
        torch.matmul(query.reshape(n_samples, n_groups, -1, width), key.transpose(2, 3), out=own)
    scores = scores.view(n_samples, len(calls) * n_heads, -1, n_keys)
    bias = call.options.get("position_bias")
    if bias is not None:
        scores += rows.of(bias.detach())
    if mask.added is not None:
        scores[..., mask.first :] += mask.added
    return scores


def _sums(
    weights: Float[Tensor, "sample head row key"], indicators: Float[Tensor, "sample code key"]
) -> Float[Tensor, "sample head row code"]:
    """Return the weights added up by segment, and over padding."""
    n_samples, n_heads, n_rows, n_keys = weights.shape
    # This way round the narrow product runs at twice the speed of weights times six columns.
    sums = indicators @ weights.reshape(n_samples, -1, n_keys).transpose(1, 2)
    return sums.view(n_samples, -1, n_heads, n_rows).permute(0, 2, 3, 1)


def _by_own_function(
    call: AttentionCall, rows: QueryRows, mask: Mask, indicators: Float[Tensor, "sample code key"]
) -> tuple[Float[Tensor, "sample head row code"], Float[Tensor, "sample head row key"] | None]:
    """Ask the model's own attention function for sums and weights, whatever it adds to the softmax of scores."""
    n_queries = call.query.shape[2]
    options = {
        name: rows.of(value)
        if isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] == n_queries and n_queries > 1
        else value
        for name, value in call.options.items()
    }
    options["dropout"] = 0.0
    if call.implementation == "sdpa":
        options["is_causal"] = False
    query, key = rows.of(call.query.detach()).float(), call.key.detach().float()
    values = indicators.transpose(1, 2)[:, None].expand(-1, key.shape[1], -1, -1)
    output = call.own(call.module, query, key, values, mask.whole, **options)
    n_samples, n_heads, n_rows, _ = query.shape
    mixed = _shaped(call, output[0], (n_samples, n_rows, n_heads, indicators.shape[1]))
    weights = output[1] if len(output) > 1 else None
    if weights is not None:
        weights = _shaped(call, weights, (n_samples, n_heads, n_rows, key.shape[2]))
    return mixed.transpose(1, 2), weights


def _shaped(call: AttentionCall, output: Any, shape: tuple[int, ...]) -> Tensor:
    """Return one result of a model's attention function, which has to be of this shape."""
    if not isinstance(output, Tensor) or tuple(output.shape) != shape:
        found = tuple(output.shape) if isinstance(output, Tensor) else "nothing"
        raise NotReadableError(f"{type(call.module).__name__}: its attention returned {found} for {shape}")
    return output.float()


def is_causal(call: AttentionCall) -> bool:
    """Whether rows of a call that has no mask see no later key."""
    stated = call.options.get("is_causal")
    return bool(getattr(call.module, "is_causal", True) if stated is None else stated)


def _entropy(weights: Float[Tensor, "sample head row key"]) -> Float[Tensor, "sample head row"]:
    """Entropy (nats) of each row's weights as shares of their sum: 0 is one key, log n is all of n alike.

    Undefined:
        nan where a row has no weight.
    """
    total = weights.sum(-1)
    # Half as long as `torch.special.entr`; a weight of 0 adds 0.
    entropy: Tensor = -torch.linalg.vecdot(weights, weights.clamp_min(torch.finfo(weights.dtype).tiny).log_())
    return entropy / total + total.log()


def _joined(values: Sequence[Tensor | None], *, dim: int = 1) -> Tensor | None:
    known = [one for one in values if one is not None]
    return (torch.cat(known, dim=dim) if len(known) > 1 else known[0]) if known else None
