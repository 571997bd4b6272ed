"""Log-probabilities of generated tokens, and how open it was which would come, without a full-size copy of the logits.

logprobs, entropies, margins = token_scores(logits, positions, token_ids, entropy=True, chunk_bytes=64 << 20)
"""

from __future__ import annotations

import math

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
) -> tuple[Float[Tensor, "sample token"], ...]:
    """How likely tokens were, and how open it was which would come, by the logits at their positions.

    Args:
        logits: a model's output in any floating-point type.
        positions: places on the position axis, 0 or more.
        token_ids: the tokens asked for.
        entropy: whether entropies and margins are wanted.
        chunk_bytes: bound for float32 copies of logits held at a time (at least one token per sample).

    Returns:
        Log-probability (nats) of each token, and where they are wanted of the distribution that it was drawn from the
        entropy (nats): 0 where it was certain, the logarithm of the vocabulary's size where it could have been any; and
        the margin: probability of the likeliest token minus that of the second.
    """
    n_samples, _, n_vocabulary = logits.shape
    most = min(chunk_bytes, _CACHE_BYTES) if logits.device.type == "cpu" else chunk_bytes
    step = max(1, most // (n_samples * n_vocabulary * 4 * (2 if entropy else 1)))
    samples = torch.arange(n_samples, device=logits.device)[:, None]
    found: list[tuple[Tensor, ...]] = []
    for start in range(0, positions.shape[1], step):
        chosen = logits[samples, positions[:, start : start + step]].float()
        tokens = token_ids[:, start : start + step, None]
        if not entropy:
            found.append((chosen.gather(2, tokens).squeeze(2) - chosen.logsumexp(2),))
            continue
        logs = chosen.log_softmax(2)
        logprobs = logs.gather(2, tokens).squeeze(2)
        likely = torch.exp(logs, out=chosen)
        margins = _margin(likely)
        # A token that cannot come has a logarithm of -inf and adds nothing.
        entropies = -likely.mul_(logs.clamp_min_(torch.finfo(torch.float32).min)).sum(2)
        found.append((logprobs, entropies, margins))
    return tuple(torch.cat(one, dim=1) for one in zip(*found, strict=True))


def _margin(likely: Float[Tensor, "sample token vocabulary"]) -> Float[Tensor, "sample token"]:
    """Return the largest probability minus the second one.

    The second one is in the part of the vocabulary that has the largest, or it is the largest of another part. So one
    look at all of them is enough; `topk` of the whole vocabulary takes ten times as long on a processor.
    """
    n_vocabulary = likely.shape[2]
    n_parts = max(math.isqrt(n_vocabulary), 1)
    width = -(-n_vocabulary // n_parts)
    whole = n_vocabulary // width * width
    parts = likely[:, :, :whole].reshape(*likely.shape[:2], -1, width)
    largest = parts.amax(3)
    part = largest.argmax(2)
    inside = parts.gather(2, part[..., None, None].expand(-1, -1, 1, width)).squeeze(2)
    others = largest.scatter(2, part[..., None], 0.0)
    few = torch.cat([inside, others, likely[:, :, whole:]], dim=2).topk(2, dim=2).values
    return few[:, :, 0] - few[:, :, 1]
