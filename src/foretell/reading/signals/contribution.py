"""How much each segment writes through an attention head: norms of its part of the head's output.

The output of a head is a sum over keys, so the part of a segment is the sum over its keys only. Its norm is taken
after the output projection. Kobayashi et al. (2020), arXiv 2004.10102, measure single tokens this way (their
equation 5, without the bias); here it is whole segments, as shares of the sum of the segments' norms.

    norms = written_norms(weights, values, segments, head_factors, n_heads=9)
    contribution = shares_of(norms)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.signals.key_segments import N_SEGMENTS, KeySegments

__all__ = ["segment_outputs", "shares_of", "written_norms"]

_CALL = 2_000_000
"""Multiplications that take as long as the calls that one run needs."""


def segment_outputs(
    weights: Float[Tensor, "sample group row key"],
    values: Float[Tensor, "sample group key width"],
    segments: KeySegments,
) -> Float[Tensor, "segment sample group row width"]:
    """Return what the keys of each segment add to the outputs of the heads.

    Args:
        weights: attention weights; the heads of a group share values, and their rows follow each other.
        values: as the model attends to them.
        segments: of the keys. One product per run costs what a single product with all values costs; for few rows of
            many texts, one product for every segment costs less than the calls.
    """
    values, runs = values.float(), segments.runs(values.shape[2])
    if (N_SEGMENTS - 1) * weights.numel() * values.shape[3] < len(runs) * _CALL:
        indicators = segments.indicators(values.shape[2], weights.device)
        by_segment = weights[:, :, None] * indicators[:, None, :N_SEGMENTS, None]
        sums = by_segment.flatten(2, 3) @ values
        return sums.view(*by_segment.shape[:4], values.shape[3]).movedim(2, 0)
    parts = weights.new_empty((N_SEGMENTS, *weights.shape[:3], values.shape[3]))
    for run in runs:
        own = weights[run.samples, :, :, run.keys].flatten(0, 1), values[run.samples, :, run.keys].flatten(0, 1)
        parts[run.segment, run.samples].flatten(0, 1).baddbmm_(*own, beta=0 if run.is_first else 1)
    return parts


def written_norms(
    weights: Float[Tensor, "sample group group_row key"],
    values: Float[Tensor, "sample group key width"],
    segments: KeySegments,
    factors: Float[Tensor, "head width width"] | None,
    *,
    n_heads: int,
) -> Float[Tensor, "segment sample head row"]:
    """Norm of what each segment writes into the residual stream, or of its part of the head's output.

    Args:
        weights: attention weights, as `segment_outputs` takes them.
        values: as the model attends to them.
        segments: of the keys.
        factors: a square R per head with |R x| = |W x| for the head's slice W of the output projection; None where no
            projection is known.
        n_heads: heads, of which those of a group follow each other.
    """
    n_samples, n_keys = len(values), values.shape[2]
    n_rows = weights.shape[1] * weights.shape[2] // n_heads
    if factors is not None and n_keys < N_SEGMENTS * n_rows:
        # R (sum of weight times value) = sum of weight times R value, and here there are fewer values than sums.
        # This way round the heads of a group are one product, which copies no values.
        by_group = factors.to(weights).view(values.shape[1], -1, values.shape[3])
        own = (by_group @ values.float().transpose(2, 3)).reshape(n_samples, n_heads, -1, n_keys).transpose(2, 3)
        parts = segment_outputs(weights.reshape(n_samples, n_heads, n_rows, n_keys), own, segments)
        return torch.as_tensor(torch.linalg.vector_norm(parts, dim=-1))
    parts = segment_outputs(weights, values, segments).reshape(N_SEGMENTS, n_samples, n_heads, n_rows, -1)
    # One product per head: a batched one would copy the factors for every sample and segment, a tenth of a generation.
    written = parts if factors is None else torch.einsum("...hrw,hvw->...hrv", parts, factors.to(parts))
    return torch.as_tensor(torch.linalg.vector_norm(written, dim=-1))


def shares_of(norms: Float[Tensor, "segment ..."]) -> Float[Tensor, "segment ..."]:
    """Return each norm over the sum of the segments' norms; nan where all are 0."""
    return norms / norms.sum(0)
