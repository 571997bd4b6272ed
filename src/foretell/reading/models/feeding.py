"""Arguments that feed a model the tokens it has not seen yet, as the call before fed it.

arguments = next_call(call, token_ids, first)
model(**arguments)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from foretell.errors import InputError
from foretell.reading.models.signatures import cache_of

__all__ = ["Call", "next_call"]

_PER_TOKEN = ("inputs_embeds", "labels", "cache_position", "token_type_ids")
"""Arguments of a call that belong to its own tokens only."""


@dataclass(frozen=True)
class Call:
    """What the last call of a model was given."""

    arguments: Mapping[str, Any]
    """By name."""
    cache_name: str
    """What the model calls its cache."""
    embeddings: Tensor | None
    """What the first tokens of the text were fed as instead of token ids."""
    embed: Callable[[Tensor], Tensor]
    """From token ids to embeddings."""


def next_call(call: Call, token_ids: Int[Tensor, "sample token"], first: int) -> dict[str, Any]:
    """Return arguments that feed what comes after the first tokens of `token_ids`.

    Args:
        call: the call before.
        token_ids: every column of the sequences; those that were fed as embeddings hold anything.
        first: columns that the model has seen.

    Raises:
        InputError: The call had a mask of its own for each query, which cannot be continued.
    """
    cache = cache_of(call.arguments)
    # A cache of fixed size cannot take another token: the whole text is fed instead.
    start = first if cache is not None and not getattr(cache, "is_compileable", False) else 0
    arguments = {
        key: value
        for key, value in call.arguments.items()
        if key not in {*_PER_TOKEN, "input_ids"} and (cache is None or value is not cache)
    }
    arguments["attention_mask"] = mask = _mask(call, first, token_ids.shape[1])
    if start:
        arguments[call.cache_name] = cache
    arguments["use_cache"] = bool(start)
    if start == 0 and call.embeddings is not None:
        later = call.embed(token_ids[:, call.embeddings.shape[1] :])
        arguments["inputs_embeds"] = torch.cat([call.embeddings, later.to(call.embeddings.dtype)], dim=1)
    else:
        arguments["input_ids"] = token_ids[:, start:]
    positions = call.arguments.get("position_ids")
    if isinstance(positions, Tensor):
        arguments["position_ids"] = _positions(positions, mask, (start, first, token_ids.shape[1]))
    return arguments


def _mask(call: Call, first: int, n_columns: int) -> Tensor | None:
    """Return the mask of the call with the new tokens seen."""
    mask = call.arguments.get("attention_mask")
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        raise InputError(
            "finish: the last pass was given a mask of its own for each query, so the last token cannot be fed as the "
            "others were; feed it yourself before you leave the block"
        )
    mask = mask[:, :first]
    seen = torch.ones((len(mask), n_columns - mask.shape[1]), dtype=mask.dtype, device=mask.device)
    return torch.cat([mask, seen], dim=1)


def _positions(positions: Tensor, mask: Tensor | None, columns: tuple[int, int, int]) -> Tensor:
    """Return the positions of the new tokens, or of all tokens, as they go on from those of the call."""
    start, first, n_columns = columns
    if start:
        return positions[..., -1:] + torch.arange(1, n_columns - start + 1, device=positions.device)
    whole = torch.arange(n_columns)[None] if mask is None else (mask.cumsum(1) - 1).clamp_min(0)
    whole = whole.to(positions.device)
    if not bool((whole[:, first - 1] == positions[..., -1]).all()):
        raise InputError(
            "finish: the positions given are not those of the attention mask, so the last token cannot be fed as the "
            "others were; feed it yourself before you leave the block"
        )
    return whole
