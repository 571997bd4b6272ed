"""What attention weights of a few rows say: their entropy, and how much each segment writes through a head.

It is given weights, or parts of heads' outputs, and knows nothing of how a model computes them.

    contribution = shares_of(written_norms(parts.flatten(2, 3), factor_of(projection, n_heads)[None]))
"""

from __future__ import annotations

import contextlib
import weakref

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

__all__ = ["factor_of", "row_entropy", "shares_of", "written_norms"]

_OFFLOADED = torch.device("meta")
_FACTORS: weakref.WeakKeyDictionary[nn.Module, tuple[int, int, int, Tensor]] = weakref.WeakKeyDictionary()


def row_entropy(weights: Float[Tensor, "sample head row key"]) -> Float[Tensor, "sample head row"]:
    """Entropy (nats) of each row's weights over the keys, as shares of their sum: 0 is one key, log n is all of n.

    Undefined:
        nan where a row has no weight.
    """
    total = weights.sum(-1)
    # A weight of 0 adds nothing, so any finite logarithm does for it.
    logs = weights.clamp_min(torch.finfo(torch.float32).tiny).log_()
    return torch.as_tensor(total.log() - logs.mul_(weights).sum(-1) / total)


def written_norms(
    parts: Float[Tensor, "segment sample head row width"], factor: Float[Tensor, "_ head width width"] | None
) -> Float[Tensor, "segment sample head row"]:
    """Norm of what each part becomes in the residual stream, or of the part itself where nothing is known of that.

    The norm of `W x` is that of `R x` with `W = Q R`, and R is as small as a head is wide.

    Args:
        parts: each segment's share of each head's output.
        factor: the triangular factor of each head's slice of the projection, for as many neighbouring samples each as
            there are of them.
    """
    if factor is None:
        return torch.as_tensor(torch.linalg.vector_norm(parts, dim=-1))
    n_factors, n_heads, width, _ = factor.shape
    n_segments, n_samples, _, n_rows, _ = parts.shape
    # All rows that a head writes through the same factor are one product.
    split = parts.view(n_segments, n_factors, -1, n_heads, n_rows, width).permute(1, 3, 0, 2, 4, 5)
    folded = split.reshape(n_factors * n_heads, -1, width)
    norms = torch.linalg.vector_norm(torch.bmm(folded, factor.transpose(2, 3).flatten(0, 1)), dim=-1)
    by_head = norms.view(n_factors, n_heads, n_segments, -1, n_rows).permute(2, 0, 3, 1, 4)
    return torch.reshape(by_head, (n_segments, n_samples, n_heads, n_rows))


def shares_of(norms: Float[Tensor, "segment ..."]) -> Float[Tensor, "segment ..."]:
    """Return each norm over the sum of the segments' norms; nan where all are 0."""
    return norms / norms.sum(0)


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


def factor_of(projection: nn.Module, n_heads: int) -> Float[Tensor, "head width width"]:
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
