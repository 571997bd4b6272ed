"""What several conversations begin with, fed to the model once.

Two answers to one question, or many samples of one prompt, differ only after the prompt. Keys and values of the
common beginning are computed once; every row attends to them as if each text had been fed whole.

    n_tokens = shareable_tokens(model, rendered)   # 0 where nothing is worth sharing
    cache = first_tokens(cache_of_the_first, n_tokens, n_samples=len(rendered) - 1)
    cache = prompts_once(model, batch.token_ids, batch.attention_mask)   # before answers are written to them
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from foretell.reading.chat.rendered import Rendered
from foretell.reading.models.blocks import decoder_of
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import accepts, cache_from
from foretell.reading.models.trial import FAILURES

__all__ = ["common_beginning", "first_tokens", "plain_memory", "prompts_once", "shareable_tokens"]

_WORTH_SHARING = 16
"""Tokens; a shorter common beginning is not worth a pass of its own."""
_LEAST_SAVED = 1 / 8
"""Of all tokens of a batch; to save fewer costs more, because two passes and attention to a memory are slower."""


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


def shareable_tokens(model: Model, rendered: Sequence[Rendered]) -> int:
    """Return how many tokens all texts begin with, where it is worth feeding them once; else 0.

    It is not where that saves few of all tokens, and cannot be where the model keeps something else than plain keys
    and values of the past: models with sliding windows or recurrent states read each text whole.
    """
    n_tokens = common_beginning(rendered)
    n_saved = n_tokens * (len(rendered) - 1)
    worth = n_saved > 0 and n_saved >= _LEAST_SAVED * sum(len(one.token_ids) for one in rendered)
    return n_tokens if worth and _may_be_plain(model) else 0


def first_tokens(cache: object, n_tokens: int, *, n_samples: int) -> DynamicCache | None:
    """Let several texts look at the beginning of what a model remembers of one; the memory is changed.

    Returns:
        None if it is anything else than plain keys and values, all of them there.
    """
    if not _is_plain(cache) or cache.get_seq_length() < n_tokens:
        return None
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None:
            # Each text's own keys and values are put behind it in a copy, so that all may look at the same ones here.
            common = (one[:, :, :n_tokens].expand(n_samples, -1, -1, -1) for one in (layer.keys, layer.values))
            layer.keys, layer.values = common
    return cache


def prompts_once(
    model: Model, token_ids: Int[Tensor, "sample token"], attention_mask: Int[Tensor, "sample token"]
) -> Cache | None:
    """Feed every prompt of a batch padded on the left once, however many samples are asked of it.

    Returns:
        The model's memory of all but the last column, one copy per sample; None where no prompt comes twice, or where
        the model keeps something else than plain keys and values.
    """
    whole = torch.cat([token_ids, attention_mask], dim=1).numpy()
    _, first, place = np.unique(whole, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(whole) or token_ids.shape[1] <= _WORTH_SHARING:
        return None
    mask = attention_mask[first]
    options = {"attention_mask": mask[:, :-1].to(model.device)}
    if accepts(decoder_of(model.model), "position_ids"):
        # As the library's own generation counts them.
        options["position_ids"] = (mask.cumsum(1) - 1).masked_fill(mask == 0, 1)[:, :-1].to(model.device)
    cache = plain_memory(model, token_ids[first, :-1].to(model.device), **options)
    if cache is not None:
        cache.batch_select_indices(torch.as_tensor(place.reshape(-1), device=model.device))
    return cache


def plain_memory(model: Model, token_ids: Int[Tensor, "sample token"], **options: Tensor) -> DynamicCache | None:
    """Return the model's memory of some tokens; None if it is anything else than plain keys and values of them all."""
    if not _may_be_plain(model):
        return None
    output = decoder_of(model.model)(input_ids=token_ids, use_cache=True, **options)
    cache = cache_from(output)
    return cache if _is_plain(cache) and cache.get_seq_length() == token_ids.shape[1] else None


def _may_be_plain(model: Model) -> bool:
    """Tell by the configuration, which may name windows or other memories, so that nothing is fed to know it."""
    try:
        return _is_plain(DynamicCache(config=model.model.config))
    except FAILURES:
        return False


def _is_plain(cache: object) -> TypeGuard[DynamicCache]:
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)
