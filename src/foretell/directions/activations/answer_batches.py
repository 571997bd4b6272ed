"""Answers of contrast pairs as token batches: similar lengths together, what all have in common fed only once.

It knows which tokens are answers, and nothing of what is read from them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache

from foretell.conversations.pairs import SIDES, ContrastPair
from foretell.errors import InputError
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.runs.prefix_cache import plain_memory
from foretell.schema.tables import SEGMENTS

__all__ = ["AnswerBatch", "AnswerTokens", "Prefix", "answer_batches", "answer_tokens", "shared_prefix"]

_GENERATED = SEGMENTS.index("generated")
_WORTH_SHARING = 4
"""Tokens; a shorter common beginning is not worth a pass of its own."""


@dataclass(frozen=True)
class AnswerTokens:
    """One rendered conversation: its tokens, and which of them are the answer."""

    token_ids: Int[np.ndarray, " token"]
    positions: Int[np.ndarray, " answer"]


@dataclass(frozen=True)
class Prefix:
    """The tokens that every conversation begins with, and what the model remembers of them; none if it has no cache."""

    n_tokens: int = 0
    cache: Cache | None = None

    def repeated(self, n_samples: int) -> Cache | None:
        """Return a fresh copy of the memory for a batch."""
        if self.cache is None:
            return None
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(n_samples)
        return cache


@dataclass(frozen=True)
class AnswerBatch:
    """Both answers of some pairs after the common prefix, padded on the right."""

    pair: Int[np.ndarray, " pair"]
    """Index of each pair; samples are positive and negative of the first pair, then of the second ..."""
    token_ids: Int[Tensor, "sample token"]
    attention_mask: Int[Tensor, "sample column"]
    """Also over the prefix."""
    sample: Int[Tensor, " answer"]
    """Row of each answer token, answers one after the other."""
    position: Int[Tensor, " answer"]
    """Column of each answer token in `token_ids`."""
    lengths: Int[np.ndarray, " sample"]
    """Answer tokens of each sample."""

    @property
    def ends(self) -> Int[np.ndarray, " sample"]:
        """Where each sample's answer tokens end, counted through the batch."""
        return np.asarray(np.cumsum(self.lengths))

    @property
    def pair_of_token(self) -> Int[np.ndarray, " answer"]:
        """Index of each answer token's pair."""
        return np.repeat(np.repeat(self.pair, len(SIDES)), self.lengths)


def answer_tokens(model: Model, pairs: Sequence[ContrastPair]) -> list[tuple[AnswerTokens, AnswerTokens]]:
    """Return the tokens of both sides of each pair.

    Raises:
        InputError: An answer has no tokens.
    """
    return [(_tokens(model, pair, 0), _tokens(model, pair, 1)) for pair in pairs]


def _tokens(model: Model, pair: ContrastPair, side: int) -> AnswerTokens:
    conversation, answer = pair.conversation(SIDES[side])
    rendered = render(model, conversation, answer=answer)
    positions = np.flatnonzero(np.asarray(rendered.segments) == _GENERATED)
    if not len(positions):
        raise InputError(f'pair "{pair.id}": its {SIDES[side]} answer has no tokens, so there is nothing to read')
    return AnswerTokens(np.asarray(rendered.token_ids, dtype=np.int64), positions)


def shared_prefix(model: Model, answers: Sequence[tuple[AnswerTokens, AnswerTokens]]) -> Prefix:
    """Feed what all conversations begin with once, where the model keeps plain keys and values of the past.

    Sliding windows, recurrent states and other memories are not shared: such models read each conversation whole.
    """
    every = [answer for both in answers for answer in both]
    # The token before the first answer token must be fed, because it predicts it.
    shortest = min(int(answer.positions[0]) - 1 for answer in every)
    first = every[0].token_ids[:shortest]
    n_tokens = len(first)
    for answer in every:
        differs = np.flatnonzero(answer.token_ids[:n_tokens] != first[:n_tokens])
        n_tokens = int(differs[0]) if len(differs) else n_tokens
    if n_tokens < _WORTH_SHARING:
        return Prefix()
    token_ids = torch.as_tensor(first[None, :n_tokens], device=model.device)
    with torch.inference_mode():
        cache = plain_memory(model, token_ids)
    return Prefix() if cache is None else Prefix(n_tokens, cache)


def answer_batches(
    model: Model, answers: Sequence[tuple[AnswerTokens, AnswerTokens]], *, n_prefix: int, batch_tokens: int
) -> Iterator[AnswerBatch]:
    """Yield batches of pairs of similar length whose padded tokens stay within the budget, longest first.

    Args:
        model: Where the tensors go.
        answers: Both sides of each pair.
        n_prefix: Tokens at the start of every conversation that are left out.
        batch_tokens: Padded tokens in one batch, prefix included; a longer pair makes a batch of its own.
    """
    lengths = np.array([max(len(answer.token_ids) for answer in both) for both in answers])
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        n_pairs = max(1, batch_tokens // (len(SIDES) * int(lengths[order[start]])))
        pair = order[start : start + n_pairs]
        yield _batch(model, [answer for index in pair for answer in answers[index]], pair, n_prefix)
        start += n_pairs


def _batch(model: Model, answers: Sequence[AnswerTokens], pair: np.ndarray, n_prefix: int) -> AnswerBatch:
    longest = max(len(answer.token_ids) for answer in answers)
    # Right padding is invisible to causal attention and keeps every position id, whatever the architecture.
    token_ids = torch.zeros((len(answers), longest), dtype=torch.long)
    mask = torch.zeros_like(token_ids)
    for sample, answer in enumerate(answers):
        token_ids[sample, : len(answer.token_ids)] = torch.as_tensor(answer.token_ids)
        mask[sample, : len(answer.token_ids)] = 1
    lengths = np.array([len(answer.positions) for answer in answers])
    position = np.concatenate([answer.positions for answer in answers]) - n_prefix
    return AnswerBatch(
        pair=pair,
        token_ids=token_ids[:, n_prefix:].to(model.device),
        attention_mask=mask.to(model.device),
        sample=torch.as_tensor(np.repeat(np.arange(len(answers)), lengths), device=model.device),
        position=torch.as_tensor(position, device=model.device),
        lengths=lengths,
    )
