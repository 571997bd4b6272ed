"""How much each segment writes through an attention head: norms of its part of the head's output.

The output of a head is a sum over keys, so the part of a segment is the sum over its keys only. Its norm is taken
after the output projection. Kobayashi et al. (2020), arXiv 2004.10102, measure single tokens this way (their
equation 5, without the bias); here it is whole segments, as shares of the sum of the segments' norms.

    parts = segment_outputs(weights, values, segments.runs(n_keys))
    contribution = shares_of(written_norms(parts, head_factors))
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.signals.key_segments import N_SEGMENTS, SegmentRun

__all__ = ["segment_outputs", "shares_of", "written_norms"]


def segment_outputs(
    weights: Float[Tensor, "sample group row key"],
    values: Float[Tensor, "sample group key width"],
    runs: Sequence[SegmentRun],
) -> Float[Tensor, "segment sample group row width"]:
    """Return what the keys of each segment add to the outputs of the heads.

    Args:
        weights: attention weights; the heads of a group share values, and their rows follow each other.
        values: as the model attends to them.
        runs: where the segments are. One product per run costs what a single product with all values costs.
    """
    values = values.float()
    parts = weights.new_zeros((N_SEGMENTS, *weights.shape[:3], values.shape[3]))
    for run in runs:
        own = weights[run.samples, :, :, run.keys].flatten(0, 1), values[run.samples, :, run.keys].flatten(0, 1)
        parts[run.segment, run.samples].flatten(0, 1).baddbmm_(*own)
    return parts


def written_norms(
    parts: Float[Tensor, "segment sample head row width"], factors: Float[Tensor, "layer head width width"] | None
) -> Float[Tensor, "segment sample head row"]:
    """Norm of what each part becomes in the residual stream, or of the part itself where no projection is known.

    Args:
        parts: each segment's share of each head's output.
        factors: a square R per head with |R x| = |W x| for the head's slice W of the output projection. If there are
            several layers, the samples are each text's layers in turn.
    """
    if factors is None:
        return torch.as_tensor(torch.linalg.vector_norm(parts, dim=-1))
    by_layer = parts.view(len(parts), -1, len(factors), *parts.shape[2:])
    turned = factors.to(parts).transpose(2, 3)
    # One product for all segments would copy the factors for each of them.
    norms = torch.stack([torch.linalg.vector_norm(part @ turned, dim=-1) for part in by_layer])
    return norms.flatten(1, 2)


def shares_of(norms: Float[Tensor, "segment ..."]) -> Float[Tensor, "segment ..."]:
    """Return each norm over the sum of the segments' norms; nan where all are 0."""
    return norms / norms.sum(0)
