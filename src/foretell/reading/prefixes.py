"""What several conversations begin with, fed to the model once.

Two answers to one question, or many samples of one prompt, differ only after the prompt. Keys and values of the
common beginning are computed once and repeated; every row attends to them as if each text had been fed whole.

    shared = shared_beginning(model, rendered)
    shared.n_tokens   # 0 where nothing is worth sharing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from foretell.reading.models import Model
from foretell.reading.rendered import Rendered
from foretell.reading.residual import decoder_of

__all__ = ["Beginning", "common_beginning", "shared_beginning"]

_WORTH_SHARING = 16
"""Tokens; a shorter common beginning is not worth a pass of its own."""


@dataclass(frozen=True)
class Beginning:
    """The tokens that all texts of a batch begin with, and the model's memory of them, one copy per text."""

    n_tokens: int = 0
    cache: Cache | None = None


def common_beginning(rendered: Sequence[Rendered]) -> int:
    """Return how many tokens all texts begin with, short of the token that predicts the first answer token.

    Segments must agree too, because one code stands for a token in every text.
    """
    if len(rendered) < 2:
        return 0
    n_tokens = min(one.n_prompt_tokens for one in rendered) - 1
    first = rendered[0]
    for other in rendered[1:]:
        differs = (other.token_ids[:n_tokens] != first.token_ids[:n_tokens]) | (
            other.segments[:n_tokens] != first.segments[:n_tokens]
        )
        n_tokens = int(np.argmax(differs)) if differs.any() else n_tokens
    return n_tokens if n_tokens >= _WORTH_SHARING else 0


def shared_beginning(model: Model, rendered: Sequence[Rendered]) -> Beginning:
    """Feed what all texts begin with once, where the model keeps plain keys and values of the past.

    Sliding windows, recurrent states and other memories are not shared: such models read each text whole.
    """
    n_tokens = common_beginning(rendered)
    if not n_tokens:
        return Beginning()
    token_ids = torch.as_tensor(rendered[0].token_ids[None, :n_tokens], device=model.device)
    output = decoder_of(model.model)(input_ids=token_ids, use_cache=True)
    cache = getattr(output, "past_key_values", None)
    if not isinstance(cache, DynamicCache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return Beginning()
    if cache.get_seq_length() != n_tokens:
        return Beginning()
    cache.batch_repeat_interleave(len(rendered))
    return Beginning(n_tokens, cache)
