"""What attention weights of a few rows say: mass per segment, entropy, and what each segment writes through a head.

It is given weights and values, and knows nothing of how a model computes them.

    parts = segment_parts(weights, values, runs)
    contribution = shares_of(written_norms(parts, projection))
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from foretell.schema import SEGMENTS

__all__ = ["Run", "Runs", "row_entropy", "runs_of", "segment_parts", "shares_of", "written_norms"]

N_SEGMENTS = len(SEGMENTS)


@dataclass(frozen=True)
class Run:
    """Neighbouring keys of one segment."""

    segment: int
    start: int
    stop: int


Runs: TypeAlias = Sequence[Sequence[Run]]
"""The runs of every sample."""

_OFFLOADED = torch.device("meta")
_FACTORS: weakref.WeakKeyDictionary[nn.Module, tuple[int, int, int, Tensor]] = weakref.WeakKeyDictionary()


def runs_of(codes: Tensor) -> list[list[Run]]:
    """Return each sample's neighbouring keys of one segment as runs; padding is in none."""
    runs = []
    for row in codes.cpu().numpy():
        edges = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        pairs = itertools.pairwise(edges)
        runs.append([Run(int(row[start]), start, stop) for start, stop in pairs if stop > start and row[start] >= 0])
    return runs


def row_entropy(weights: Float[Tensor, "sample head row key"]) -> Float[Tensor, "sample head row"]:
    """Entropy (nats) of each row's weights over the keys, as shares of their sum: 0 is one key, log n is all of n.

    Undefined:
        nan where a row has no weight.
    """
    total = weights.sum(-1)
    # A weight of 0 adds nothing, so any finite logarithm does for it.
    logs = weights.clamp_min(torch.finfo(torch.float32).tiny).log_()
    return torch.as_tensor(total.log() - logs.mul_(weights).sum(-1) / total)


def segment_parts(
    weights: Float[Tensor, "sample head row key"], values: Float[Tensor, "sample group key width"], runs: Runs
) -> Float[Tensor, "sample head row segment width"]:
    """Attention applied to the values of one segment at a time; the sum over segments is the head's output.

    Args:
        weights: attention weights of the chosen rows.
        values: as the model attends to them, one head per group of query heads.
        runs: where the segments are.
    """
    n_samples, n_heads, n_rows, _ = weights.shape
    n_groups, width = values.shape[1], values.shape[3]
    shape = (n_samples, n_groups, n_heads // n_groups, n_rows, N_SEGMENTS, width)
    parts = torch.zeros(shape, device=weights.device)
    folded = weights.reshape(n_samples, n_groups, -1, weights.shape[3])
    for sample, own in enumerate(runs):
        for run in own:
            keys = slice(run.start, run.stop)
            mixed = folded[sample, :, :, keys] @ values[sample, :, keys].float()
            parts[sample, ..., run.segment, :] += mixed.reshape(*shape[1:4], width)
    return parts.reshape(n_samples, n_heads, n_rows, N_SEGMENTS, width)


def written_norms(
    parts: Float[Tensor, "sample head row segment width"], projection: nn.Module | None
) -> Float[Tensor, "sample head row segment"]:
    """Norm of what each part becomes in the residual stream, or of the part itself where there is no projection.

    The norm of `W x` is that of `R x` with `W = Q R`, and R is as small as a head is wide.

    Args:
        parts: each segment's share of each head's output.
        projection: the linear map of all heads' outputs, side by side, into the residual stream.
    """
    if projection is None:
        return torch.as_tensor(torch.linalg.vector_norm(parts, dim=-1))
    n_samples, n_heads, n_rows, n_segments, width = parts.shape
    factor = _factor(projection, n_heads)
    folded = parts.transpose(0, 1).reshape(n_heads, -1, width) @ factor.transpose(1, 2)
    norms: Tensor = torch.linalg.vector_norm(folded, dim=-1)
    return norms.reshape(n_heads, n_samples, n_rows, n_segments).transpose(0, 1)


def shares_of(norms: Float[Tensor, "*rows segment"]) -> Float[Tensor, "*rows segment"]:
    """Return each norm over the sum of the segments' norms; nan where all are 0."""
    return norms / norms.sum(-1, keepdim=True)


def projects(module: nn.Module, n_inputs: int) -> bool:
    """Tell whether `module` is a plain linear map of `n_inputs` inputs."""
    weight = getattr(module, "weight", None)
    if not isinstance(module, (nn.Linear, Conv1D)) or not isinstance(weight, Tensor):
        return False
    inputs = weight.shape[0] if isinstance(module, Conv1D) else weight.shape[1]
    return weight.ndim == 2 and weight.is_floating_point() and int(inputs) == n_inputs


def _loaded(projection: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Hold a weight here that waits on disk or in main memory, as large models' do while they do not run."""
    if torch.as_tensor(projection.weight).device != _OFFLOADED:
        return contextlib.nullcontext()
    from accelerate.utils import align_module_device  # type: ignore[import-untyped]

    held: contextlib.AbstractContextManager[None] = align_module_device(projection)
    return held


def _factor(projection: nn.Module, n_heads: int) -> Float[Tensor, "head width width"]:
    """Return the triangular factor of each head's slice of the projection, remembered while its weight is the same."""
    weight = torch.as_tensor(projection.weight)
    identity = (weight.data_ptr(), 0 if weight.is_inference() else weight._version, n_heads)
    known = _FACTORS.get(projection)
    if known is not None and known[:3] == identity and weight.device in {known[3].device, _OFFLOADED}:
        return known[3]
    with torch.no_grad(), _loaded(projection):
        matrix = torch.as_tensor(projection.weight).detach().float()
        matrix = matrix.T if isinstance(projection, Conv1D) else matrix
        per_head = matrix.reshape(matrix.shape[0], n_heads, -1).transpose(0, 1)
        factor: Tensor = torch.linalg.qr(per_head, mode="r").R
    _FACTORS[projection] = (*identity, factor)
    return factor
