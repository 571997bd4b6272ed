"""Answers of contrast pairs as token batches: similar lengths together, the common prefix fed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from foretell.conversations.pairs import SIDES, ContrastPair, Side
from foretell.directions.checked_numbers import whole_number
from foretell.errors import InputError
from foretell.reading.chat.spans import Rendered, pad_batch, render
from foretell.reading.models.load import Model
from foretell.reading.runs.prefix_cache import common_beginning, plain_memory
from foretell.schema.tables import SEGMENTS

__all__ = ["AnswerBatch", "answer_batches", "answer_tokens", "shared_prefix"]

_GENERATED = SEGMENTS.index("generated")


@dataclass(frozen=True)
class AnswerBatch:
    """Both answers of some pairs after the common prefix, padded on the right; or answers that are no pairs."""

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

    def means(self, values: Float[np.ndarray, " answer"]) -> Float[np.ndarray, " sample"]:
        """Return the mean over each sample's answer tokens."""
        return np.asarray(np.add.reduceat(values, self.ends - self.lengths) / self.lengths)

    @property
    def pair_of_token(self) -> Int[np.ndarray, " answer"]:
        """Index of each answer token's pair."""
        return np.repeat(np.repeat(self.pair, len(SIDES)), self.lengths)


def answer_tokens(model: Model, pairs: Sequence[ContrastPair]) -> list[tuple[Rendered, Rendered]]:
    """Return the tokens of both sides of each pair.

    Raises:
        InputError: An answer has no tokens.
    """
    return [(_tokens(model, pair, "positive"), _tokens(model, pair, "negative")) for pair in pairs]


def _tokens(model: Model, pair: ContrastPair, side: Side) -> Rendered:
    conversation, answer = pair.conversation(side)
    rendered = render(model, conversation, answer=answer)
    if not rendered.counts["generated"]:
        raise InputError(f'pair "{pair.id}": its {side} answer has no tokens, so there is nothing to read')
    return rendered


def shared_prefix(model: Model, answers: Sequence[tuple[Rendered, ...]]) -> DynamicCache | None:
    """Feed the common prefix of all conversations once, where the cache is plain keys and values.

    Other caches (sliding windows, recurrent states) are not shared: such models read each conversation whole.
    """
    n_tokens = common_beginning([answer for both in answers for answer in both])
    if not n_tokens:
        return None
    token_ids = torch.as_tensor(answers[0][0].token_ids[None, :n_tokens], device=model.device)
    with torch.inference_mode():
        return plain_memory(model, token_ids)


def answer_batches(
    model: Model, answers: Sequence[tuple[Rendered, ...]], *, n_prefix: int, batch_tokens: int
) -> Iterator[AnswerBatch]:
    """Yield batches of pairs of similar length whose padded tokens stay within the budget, longest first.

    Args:
        model: Where the tensors go.
        answers: Both sides of each pair, or single answers, all of one kind.
        n_prefix: Tokens at the start of every conversation that are left out.
        batch_tokens: Padded tokens in one batch, prefix included; a longer pair makes a batch of its own.
    """
    batch_tokens = whole_number(batch_tokens, "batch_tokens", least=1)
    lengths = np.array([max(len(answer.token_ids) for answer in both) for both in answers])
    order = np.argsort(-lengths, kind="stable")
    start, n_together = 0, len(answers[0])
    while start < len(order):
        n_pairs = max(1, batch_tokens // (n_together * int(lengths[order[start]])))
        pair = order[start : start + n_pairs]
        yield _batch(model, [answer for index in pair for answer in answers[index]], pair, n_prefix)
        start += n_pairs


def _batch(model: Model, answers: Sequence[Rendered], pair: np.ndarray, n_prefix: int) -> AnswerBatch:
    # Right padding is invisible to causal attention and keeps every position id, whatever the architecture.
    padded = pad_batch(answers, pad_id=model.pad_id, side="right").to(model.device)
    generated = padded.segments == _GENERATED
    sample, position = generated.to(model.device).nonzero(as_tuple=True)
    return AnswerBatch(
        pair=pair,
        token_ids=padded.token_ids[:, n_prefix:],
        attention_mask=padded.attention_mask,
        sample=sample,
        position=position - n_prefix,
        lengths=generated.sum(dim=1).numpy(),
    )
