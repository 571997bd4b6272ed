"""Log-probabilities and entropies of generated tokens from a model's logits, without a full-size copy of them.

values = token_logprobs(logits, positions, token_ids, chunk_bytes=64 << 20)
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["token_entropies", "token_logprobs"]


def token_logprobs(
    logits: Float[Tensor, "sample position vocabulary"],
    positions: Int[Tensor, "sample token"],
    token_ids: Int[Tensor, "sample token"],
    *,
    chunk_bytes: int,
) -> Float[Tensor, "sample token"]:
    """Log-probability (nats, float32) of `token_ids[sample, token]` by the logits at `positions[sample, token]`.

    Args:
        logits: a model's output in any floating-point type.
        positions: places on the position axis, 0 or more.
        token_ids: the tokens asked for.
        chunk_bytes: bound for the float32 copy of logits held at a time (at least one token per sample).
    """
    n_samples, _, n_vocabulary = logits.shape
    step = max(1, chunk_bytes // (n_samples * n_vocabulary * 4))
    samples = torch.arange(n_samples, device=logits.device)[:, None]
    parts = []
    for first in range(0, positions.shape[1], step):
        chosen = logits[samples, positions[:, first : first + step]].float()
        wanted = chosen.gather(2, token_ids[:, first : first + step, None]).squeeze(2)
        parts.append(wanted - chosen.logsumexp(2))
    return torch.cat(parts, dim=1)


def token_entropies(
    logits: Float[Tensor, "sample position vocabulary"], positions: Int[Tensor, "sample token"], *, chunk_bytes: int
) -> Float[Tensor, "sample token"]:
    """Entropy (nats, float32) of the distribution that the logits at `positions[sample, token]` stand for.

    0 is a token that was certain, the logarithm of the vocabulary's size one that could have been any.

    Args:
        logits: a model's output in any floating-point type.
        positions: places on the position axis, 0 or more.
        chunk_bytes: bound for the float32 copy of logits held at a time (at least one token per sample).
    """
    n_samples, _, n_vocabulary = logits.shape
    step = max(1, chunk_bytes // (n_samples * n_vocabulary * 4 * 2))
    samples = torch.arange(n_samples, device=logits.device)[:, None]
    parts = []
    for first in range(0, positions.shape[1], step):
        logs = logits[samples, positions[:, first : first + step]].float().log_softmax(2)
        likely = logs.exp()
        # A token that cannot come has a logarithm of -inf and adds nothing.
        parts.append(-likely.mul_(logs.clamp_min_(torch.finfo(torch.float32).min)).sum(2))
    return torch.cat(parts, dim=1)
