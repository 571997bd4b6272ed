"""Log-probabilities and entropies of generated tokens from a model's logits, without a full-size copy of them.

logprobs, entropies = token_scores(logits, positions, token_ids, entropy=True, chunk_bytes=64 << 20)
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["token_scores"]

_CACHE_BYTES = 2 << 20
"""Logits taken at a time without an accelerator: what a processor's cache holds, and memory that is found at once."""


def token_scores(
    logits: Float[Tensor, "sample position vocabulary"],
    positions: Int[Tensor, "sample token"],
    token_ids: Int[Tensor, "sample token"],
    *,
    entropy: bool,
    chunk_bytes: int,
) -> tuple[Float[Tensor, "sample token"], Float[Tensor, "sample token"] | None]:
    """How likely tokens were, and how open it was which would come, by the logits at their positions.

    Args:
        logits: a model's output in any floating-point type.
        positions: places on the position axis, 0 or more.
        token_ids: the tokens asked for.
        entropy: whether entropies are wanted.
        chunk_bytes: bound for float32 copies of logits held at a time (at least one token per sample).

    Returns:
        Log-probability (nats) of each token, and entropy (nats) of the distribution that it was drawn from: 0 where
        it was certain, the logarithm of the vocabulary's size where it could have been any; None if not wanted.
    """
    n_samples, _, n_vocabulary = logits.shape
    most = min(chunk_bytes, _CACHE_BYTES) if logits.device.type == "cpu" else chunk_bytes
    step = max(1, most // (n_samples * n_vocabulary * 4 * (2 if entropy else 1)))
    samples = torch.arange(n_samples, device=logits.device)[:, None]
    logprobs, entropies = [], []
    for first in range(0, positions.shape[1], step):
        chosen = logits[samples, positions[:, first : first + step]].float()
        tokens = token_ids[:, first : first + step, None]
        if not entropy:
            logprobs.append(chosen.gather(2, tokens).squeeze(2) - chosen.logsumexp(2))
            continue
        logs = chosen.log_softmax(2)
        logprobs.append(logs.gather(2, tokens).squeeze(2))
        likely = torch.exp(logs, out=chosen)
        # A token that cannot come has a logarithm of -inf and adds nothing.
        entropies.append(-likely.mul_(logs.clamp_min_(torch.finfo(torch.float32).min)).sum(2))
    return torch.cat(logprobs, dim=1), torch.cat(entropies, dim=1) if entropy else None
