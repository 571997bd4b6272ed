"""A conversation as tokens, each in exactly one segment, and batches of such.

batch = pad_batch([first, second], pad_id=0, side="left")
model(input_ids=batch.token_ids, attention_mask=batch.attention_mask)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from foretell.errors import InputError
from foretell.schema.tables import SEGMENTS

__all__ = ["Batch", "Rendered", "pad_batch"]


@dataclass(frozen=True)
class Rendered:
    """One conversation as the model sees it."""

    text: str
    """The rendered prompt, followed by the answer if one was given."""
    token_ids: Int[np.ndarray, " token"]
    segments: Int[np.ndarray, " token"]
    """Code of each token's segment: 0 system, 1 prompt, 2 query, 3 template, 4 generated."""
    offsets: Int[np.ndarray, "token 2"]
    """First and one past the last character of `text` that each token stands for."""
    n_prompt_tokens: int
    """Number of tokens before the answer."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of tokens in each segment, by name."""
        return {name: int((self.segments == code).sum()) for code, name in enumerate(SEGMENTS)}

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """Neighbouring tokens of one segment as (segment, text); the texts together are all of `text`."""
        pieces: list[tuple[str, str]] = []
        reached = 0
        edges = np.flatnonzero(np.diff(self.segments, append=-1)) if len(self.segments) else np.zeros(0, dtype=int)
        for last in edges:
            stop = len(self.text) if last == edges[-1] else max(reached, int(self.offsets[last, 1]))
            pieces.append((SEGMENTS[self.segments[last]], self.text[reached:stop]))
            reached = stop
        return pieces

    @property
    def prompt(self) -> Rendered:
        """The same without its answer, for a model to go on from."""
        end = self.n_prompt_tokens
        n_characters = len(self.text) if end == len(self.token_ids) else int(self.offsets[end, 0])
        return Rendered(self.text[:n_characters], self.token_ids[:end], self.segments[:end], self.offsets[:end], end)


@dataclass(frozen=True)
class Batch:
    """Several conversations as rectangles; what is filled up has code -1 and is masked."""

    token_ids: Int[Tensor, "sample token"]
    attention_mask: Int[Tensor, "sample token"]
    segments: Int[Tensor, "sample token"]

    @property
    def position_ids(self) -> Int[Tensor, "sample token"]:
        """Position of each token in its own conversation, from 0, wherever it was filled up."""
        return (self.attention_mask.cumsum(1) - 1).clamp_min(0)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a forward pass over the batch needs; positions make it independent of the padding's side."""
        return {
            "input_ids": self.token_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
        }

    def to(self, device: torch.device) -> Batch:
        """Return the batch with token ids and mask on `device`."""
        return Batch(self.token_ids.to(device), self.attention_mask.to(device), self.segments)


def pad_batch(rendered: Sequence[Rendered], *, pad_id: int, side: Literal["left", "right"] = "left") -> Batch:
    """Put conversations side by side, filled up to the longest.

    Args:
        rendered: one or more conversations.
        pad_id: token id to fill with, such as `Model.pad_id`; it is never attended to.
        side: `left` to generate from prompts; either one to read given answers.

    Raises:
        InputError: There is nothing to put side by side.
    """
    if not rendered:
        raise InputError("pad_batch: at least one conversation is needed")
    width = max(len(one.token_ids) for one in rendered)
    token_ids = np.full((len(rendered), width), pad_id, dtype=np.int64)
    segments = np.full((len(rendered), width), -1, dtype=np.int64)
    for sample, one in enumerate(rendered):
        place = slice(width - len(one.token_ids), width) if side == "left" else slice(0, len(one.token_ids))
        token_ids[sample, place] = one.token_ids
        segments[sample, place] = one.segments
    return Batch(
        token_ids=torch.from_numpy(token_ids),
        attention_mask=torch.from_numpy((segments >= 0).astype(np.int64)),
        segments=torch.from_numpy(segments),
    )
