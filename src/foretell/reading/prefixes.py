"""What several conversations begin with, fed to the model once.

Two answers to one question, or many samples of one prompt, differ only after the prompt. Keys and values of the
common beginning are computed once and repeated; every row attends to them as if each text had been fed whole.

    shared = shared_beginning(model, rendered)
    shared.n_tokens   # 0 where nothing is worth sharing
    cache = prompts_once(model, batch.token_ids, batch.attention_mask)   # before answers are written to them
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from foretell.reading.models import Model
from foretell.reading.rendered import Rendered
from foretell.reading.residual import decoder_of
from foretell.reading.trial import FAILURES

__all__ = ["Beginning", "common_beginning", "plain_memory", "prompts_once", "shared_beginning"]

_WORTH_SHARING = 16
"""Tokens; a shorter common beginning is not worth a pass of its own."""


@dataclass(frozen=True)
class Beginning:
    """The tokens that all texts of a batch begin with, and the model's memory of them, once for each text."""

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
    cache = plain_memory(model, token_ids)
    if cache is None:
        return Beginning()
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None:
            # Each text's own keys and values are put behind it in a copy, so that all may look at the same ones here.
            layer.keys, layer.values = (one.expand(len(rendered), -1, -1, -1) for one in (layer.keys, layer.values))
    return Beginning(n_tokens, cache)


def prompts_once(
    model: Model, token_ids: Int[Tensor, "sample token"], attention_mask: Int[Tensor, "sample token"]
) -> Cache | None:
    """Feed every prompt of a batch once, however many samples are asked of it.

    Args:
        model: A loaded model.
        token_ids: Prompts padded on the left.
        attention_mask: 1 for their tokens, 0 for padding.

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
    if "position_ids" in inspect.signature(decoder_of(model.model).forward).parameters:
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
    cache = getattr(output, "past_key_values", None)
    if not isinstance(cache, DynamicCache) or not _is_plain(cache):
        return None
    return cache if cache.get_seq_length() == token_ids.shape[1] else None


def _may_be_plain(model: Model) -> bool:
    """Tell by the configuration, which may name windows or other memories, so that nothing is fed to know it."""
    try:
        return _is_plain(DynamicCache(config=model.model.config))
    except FAILURES:
        return False


def _is_plain(cache: DynamicCache) -> bool:
    return all(type(layer) is DynamicLayer for layer in cache.layers)
