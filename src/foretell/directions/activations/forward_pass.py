"""One batch of answers through the model: the hidden states and log-probabilities of the answer tokens, and no more.

logprob, sound = read_batch(model, batch, prefix, lambda layer, rows: print(layer, rows.shape))
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import DynamicCache

from foretell.directions.activations.answer_batches import AnswerBatch
from foretell.jobs.finite import in_precision
from foretell.reading.hooks.residual_stream import residual_hooks
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import cache_argument
from foretell.reading.signals.log_probabilities import token_scores

__all__ = ["answer_logprob", "not_finite_answers", "read_batch"]

_LOGIT_BYTES = 256 * 2**20
"""Bound on the float32 copy of logits that are turned into log-probabilities at a time."""
_N_NAMED = 3
"""Answers that a message names."""


def read_batch(
    model: Model,
    batch: AnswerBatch,
    prefix: DynamicCache | None,
    record: Callable[[int, Float[Tensor, "answer width"]], None],
) -> tuple[Float[np.ndarray, " answer"], Bool[np.ndarray, " sample"]]:
    """Run one batch; `record` gets the float32 hidden states of all answer tokens, layer by layer.

    Returns:
        The log-probability (nats) of each answer token, and whether all numbers of each sample are finite.
    """
    sound: dict[torch.device, Tensor] = {}

    def reduced(layer: int, hidden: Tensor) -> None:
        rows = hidden[batch.sample, batch.position].float()
        finite = torch.isfinite(rows).all(dim=1)
        sound[rows.device] = sound[rows.device] & finite if rows.device in sound else finite
        record(layer, rows)

    with torch.inference_mode(), residual_hooks(model.model, reduced):
        logprob = answer_logprob(model, batch, prefix).double().cpu().numpy()
    tokens = np.logical_and.reduce([np.isfinite(logprob), *(flags.cpu().numpy() for flags in sound.values())])
    return logprob, np.logical_and.reduceat(tokens, batch.ends - batch.lengths)


def not_finite_answers(named: Sequence[str], dtype: torch.dtype) -> str:
    """Say which answers cannot be read because their numbers are not finite, and what to do."""
    more = f" and {len(named) - _N_NAMED} more" if len(named) > _N_NAMED else ""
    return (
        f"{', '.join(named[:_N_NAMED])}{more}: hidden states or log-probabilities are not finite "
        f"{in_precision(dtype)}, or leave it out"
    )


def answer_logprob(model: Model, batch: AnswerBatch, prefix: DynamicCache | None) -> Tensor:
    """Run one batch and return the log-probability (nats) of each answer token.

    Logits are computed only where an answer token is predicted.
    """
    before = batch.position - 1

    def select_rows(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (inputs[0][batch.sample, before][None], *inputs[1:]) if inputs else None

    head: nn.Module | None = model.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    cache = copy.deepcopy(prefix)
    if cache is not None:
        cache.batch_repeat_interleave(len(batch.lengths))
    memory = {} if cache is None else {cache_argument(model.model): cache}
    with nullcontext() if head is None else head.register_forward_pre_hook(select_rows):
        logits = model.model(
            input_ids=batch.token_ids,
            attention_mask=batch.attention_mask,
            use_cache=cache is not None,
            **memory,
        ).logits
    # A head that was called with keywords, or that is no module, has computed logits for every position.
    logits = logits if logits.shape[0] == 1 else logits[batch.sample, before][None]
    target = batch.token_ids[batch.sample, batch.position]
    rows = torch.arange(len(target), device=target.device)
    (scores,) = token_scores(logits, rows[None], target[None], entropy=False, chunk_bytes=_LOGIT_BYTES)
    return scores[0]
