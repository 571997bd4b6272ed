"""Which tokens of a padded batch a forward pass is given, so that hooks inside it know where they are.

fed = FedTokens(batch.segments, donors)
with fed.followed(model, scope):
    model(**inputs)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.reading.hooks.scope import Scope
from foretell.reading.models.blocks import decoder_of
from foretell.schema.tables import SEGMENTS

__all__ = ["FedTokens"]

_GENERATED = SEGMENTS.index("generated")
_PADDING = -1


class FedTokens:
    """The columns of a batch that the running pass is given, each token once.

    Args:
        segments: Codes of the prompts, or of prompts and answers; -1 padding. Columns beyond them are generated.
        donors: A number per sample, from which the conversation follows whose values it is given.
    """

    def __init__(self, segments: Int[Tensor, "sample token"], donors: Int[Tensor, " sample"]) -> None:
        self._codes = segments
        self.donors = donors
        self.first, self.end = 0, 0
        real = segments != _PADDING
        self._pads = real.int().argmax(1)
        answers = torch.where(segments == _GENERATED, torch.arange(segments.shape[1]), segments.shape[1])
        self._first_answer = answers.amin(1)

    @contextmanager
    def followed(self, model: PreTrainedModel, scope: Scope) -> Iterator[None]:
        """Count the tokens of the decoder's passes inside the block, those of the scope only."""

        def before(_module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            if scope.is_active:
                given = (*arguments[:1], options.get("input_ids"), options.get("inputs_embeds"))
                n_tokens = next(int(one.shape[1]) for one in given if isinstance(one, Tensor))
                self.first, self.end = self.end, self.end + n_tokens

        handle = decoder_of(model).register_forward_pre_hook(before, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @property
    def positions(self) -> Int[Tensor, "sample token"]:
        """Place of each token of the pass in its own conversation, from 0; 0 for padding before it."""
        return (torch.arange(self.first, self.end)[None] - self._pads[:, None]).clamp_min(0)

    @property
    def answering(self) -> Bool[Tensor, "sample token"]:
        """Which tokens of the pass predict a token of the answer or are one: from the last one of the prompt on."""
        return torch.arange(self.first, self.end)[None] >= self._first_answer[:, None] - 1

    def key_codes(self, n_keys: int) -> Int[Tensor, "sample key"]:
        """Segment codes of the last columns so far: a windowed cache holds no others."""
        beyond = max(self.end - self._codes.shape[1], 0)
        codes = torch.nn.functional.pad(self._codes[:, : self.end], (0, beyond), value=_GENERATED)
        return codes[:, -n_keys:]
