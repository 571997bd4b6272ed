"""The residual stream at the answers of contrast pairs, read batch by batch.

Every decoder block's output is reduced to the chosen answer tokens inside the forward pass, so that no more than one
batch of one layer is in memory at full length. The reduced states go to a sink: one that stores them
(`read_activations`) or one that keeps running sums (`stream_activations`).

    activations = read_activations(model, pairs, tokens="last")
    activations.hidden.shape  # (row, side, layer, width)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from foretell.conversations.pairs import SIDES, ContrastPair
from foretell.directions.activations.answer_batches import AnswerBatch, answer_batches, answer_tokens, shared_prefix
from foretell.directions.activations.forward_pass import not_finite_answers, read_batch
from foretell.directions.activations.state_rounding import FLOAT32, state_rounding
from foretell.directions.activations.stored import MEMORY_BYTES, Stored, overflow_folder, state_bytes
from foretell.directions.checked_numbers import whole_number
from foretell.errors import InputError
from foretell.jobs.progress_bar import progress_bar
from foretell.reading.chat.spans import Rendered
from foretell.reading.models.load import Model

__all__ = [
    "CALIBRATION_BYTES",
    "Activations",
    "AnswerFacts",
    "Sink",
    "TokenChoice",
    "answer_states",
    "kept_activations",
    "read_activations",
    "states_needed",
    "stream_activations",
]

TokenChoice = Literal["last", "mean", "every"]
"""Hidden states that represent an answer: its last token, the mean over its tokens, or every token by itself."""

CALIBRATION_BYTES = 384 * 2**20
"""Bound on the memory of the calibration tokens; with it the sums of a wide model stay below 2 GiB."""


@runtime_checkable
class Sink(Protocol):
    """Receives the chosen hidden states while a model is read."""

    def add(self, layer: int, pair: Int[np.ndarray, " row"], hidden: Float[Tensor, "row side width"]) -> None:
        """Take one layer's rows of one batch.

        Args:
            layer: Decoder block, from 0.
            pair: `(row,)` index of each row's pair. One row per pair; with every token, one row for each position
                that both answers have, counted from their ends.
            hidden: `(row, side, width)` float32 on the model's device, side 0 the positive answer.
        """


@dataclass(frozen=True)
class AnswerFacts:
    """Log-probability and length of each answer, and a bounded sample of its tokens for calibration."""

    mean_logprob: Float[np.ndarray, "pair side"]
    """Mean log-probability (nats) of the answer's tokens given all before them."""
    n_tokens: Int[np.ndarray, "pair side"]
    """Answer tokens."""
    calibration: Float[np.ndarray, "token layer width"]
    """Hidden states of every answer token of the calibration pairs, both answers."""
    calibration_pair: Int[np.ndarray, " token"]
    """Index of each calibration token's pair."""
    rounding: float = FLOAT32
    """Of the hidden states, as a share of their size."""


@dataclass(frozen=True)
class Activations:
    """Hidden states of both answers of each pair, float32."""

    hidden: Float[np.ndarray, "row side layer width"]
    """Side 0 is the positive answer."""
    row_pair: Int[np.ndarray, " row"]
    """Index of each row's pair; with "last" and "mean" row and pair are the same."""
    tokens: TokenChoice
    facts: AnswerFacts

    def layer(self, index: int) -> Activations:
        """Return one layer as if it were the only one, its hidden states in memory."""
        facts = replace(self.facts, calibration=self.facts.calibration[:, index : index + 1])
        return Activations(np.array(self.hidden[:, :, index : index + 1]), self.row_pair, self.tokens, facts)


def answer_states(activations: Activations) -> Float[np.ndarray, "pair side layer width"]:
    """Return one hidden state per answer: its row, or with every token the mean of its rows."""
    pairs, start = np.unique(activations.row_pair, return_index=True)
    if len(pairs) == len(activations.row_pair):
        return activations.hidden
    counts = np.diff(np.append(start, len(activations.row_pair)))
    sums = np.add.reduceat(activations.hidden, start, axis=0)
    return np.asarray(sums / counts[:, None, None, None].astype(np.float32))


def states_needed(model: Model, pairs: Sequence[ContrastPair], tokens: TokenChoice) -> int:
    """Return the bytes that `read_activations` will keep, calibration tokens apart, before it reads anything.

    Raises:
        InputError: No pairs, an answer without tokens, or an unknown choice of tokens.
    """
    n_rows = len(pairs)
    if tokens == "every":
        _, n_tokens = _checked_answers(model, pairs, tokens)
        n_rows = int(n_tokens.min(axis=1).sum())
    return state_bytes(n_rows, model.n_layers, model.width)


def read_activations(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    tokens: TokenChoice = "last",
    batch_tokens: int = 4096,
    calibration_bytes: int = CALIBRATION_BYTES,
    folder: Path | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Activations:
    """Read the residual stream after every decoder block for both answers of each pair.

    Args:
        model: A loaded model.
        pairs: Contrast pairs; both answers of a pair are always read in the same batch.
        tokens: Hidden states that represent an answer. With "every", positions `-1`, `-2` ... of both answers form
            rows, as many as the shorter answer has tokens.
        batch_tokens: Padded tokens in one batch, at least 1; a single longer pair makes a batch of its own.
        calibration_bytes: Bound on the memory of the calibration tokens. Where not all fit, pairs are chosen in turn
            from each topic.
        folder: Folder for a file of the hidden states, which must exist as long as they are used; None keeps them in
            memory (`foretell.directions.activations.stored.state_bytes` gives their size).
        seed: Order in which pairs are chosen for calibration.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        Hidden states `(row, side, layer, width)` and facts about the answers, in the order of `pairs`.

    Raises:
        InputError: No pairs, an answer without tokens or with hidden states that are not finite, or an unknown choice
            of tokens.
    """
    answers, n_tokens = _checked_answers(model, pairs, tokens)
    n_rows = n_tokens.min(axis=1) if tokens == "every" else np.ones(len(pairs), dtype=np.int64)
    store = Stored(n_rows, model.n_layers, model.width, folder)
    chosen = _calibration_pairs(model, pairs, n_tokens, calibration_bytes, seed)
    read = _Reading(model, [pair.id for pair in pairs], answers, tokens, chosen)
    facts = _streamed(read, [store], batch_tokens=batch_tokens, progress=progress)
    return Activations(store.hidden, store.row_pair, tokens, facts)


@contextmanager
def kept_activations(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    tokens: TokenChoice,
    memory_bytes: int = MEMORY_BYTES,
    **options: Any,
) -> Iterator[Activations]:
    """Give what `read_activations` returns, in a temporary file inside the block where it exceeds `memory_bytes`.

    Raises:
        InputError: As `read_activations`, or the disk has too little space for the file.
    """
    with overflow_folder(states_needed(model, pairs, tokens), memory_bytes=memory_bytes) as folder:
        yield read_activations(model, pairs, tokens=tokens, folder=folder, **options)


def stream_activations(
    model: Model,
    pairs: Sequence[ContrastPair],
    sinks: Sequence[Sink],
    *,
    tokens: TokenChoice = "last",
    batch_tokens: int = 4096,
    calibration_bytes: int = CALIBRATION_BYTES,
    seed: int = 0,
    progress: bool | None = None,
) -> AnswerFacts:
    """Read both answers of each pair and pass the chosen hidden states to every sink without storing them.

    Options are those of `read_activations`. Batches come longest first, so pairs reach the sinks out of order.

    Raises:
        InputError: As `read_activations`.
    """
    answers, n_tokens = _checked_answers(model, pairs, tokens)
    chosen = _calibration_pairs(model, pairs, n_tokens, calibration_bytes, seed)
    read = _Reading(model, [pair.id for pair in pairs], answers, tokens, chosen)
    return _streamed(read, sinks, batch_tokens=batch_tokens, progress=progress)


def _checked_answers(
    model: Model, pairs: Sequence[ContrastPair], tokens: str
) -> tuple[list[tuple[Rendered, Rendered]], np.ndarray]:
    """Return the tokens of both answers of each pair, and how many they are."""
    if not pairs:
        raise InputError("there are no contrast pairs to read")
    if tokens not in get_args(TokenChoice):
        raise InputError(f'tokens must be one of {", ".join(get_args(TokenChoice))}, not "{tokens}"')
    answers = answer_tokens(model, pairs)
    return answers, _n_tokens(answers)


def _n_tokens(answers: Sequence[tuple[Rendered, Rendered]]) -> Int[np.ndarray, "pair side"]:
    return np.array([[answer.counts["generated"] for answer in both] for both in answers], dtype=np.int64)


@dataclass(frozen=True)
class _Reading:
    """What is read of which answers."""

    model: Model
    ids: Sequence[str]
    answers: Sequence[tuple[Rendered, Rendered]]
    tokens: TokenChoice
    chosen: np.ndarray
    """Pairs whose tokens are kept for calibration."""


def _streamed(reading: _Reading, sinks: Sequence[Sink], *, batch_tokens: int, progress: bool | None) -> AnswerFacts:
    """Run all batches: chosen hidden states go to the sinks, tokens of the chosen pairs to their calibration rows."""
    model, answers, chosen = reading.model, reading.answers, reading.chosen
    n_tokens = _n_tokens(answers)
    kept_tokens = n_tokens[chosen].sum(axis=1)
    calibration = np.empty((int(kept_tokens.sum()), model.n_layers, model.width), dtype=np.float32)
    calibration_rows = dict(
        zip(chosen.tolist(), np.split(np.arange(len(calibration)), np.cumsum(kept_tokens)[:-1]), strict=True)
    )
    mean_logprob = np.full(n_tokens.shape, np.nan)
    with progress_bar(total=len(answers), desc="reading pairs", unit="pair", progress=progress) as bar:
        prefix = shared_prefix(model, answers)
        n_prefix = 0 if prefix is None else prefix.get_seq_length()
        for batch in answer_batches(model, answers, n_prefix=n_prefix, batch_tokens=batch_tokens):
            kept = np.flatnonzero(np.isin(batch.pair_of_token, chosen))
            # Tokens are written to their final rows, because sorting them afterwards would need twice the memory.
            places = [calibration_rows[pair] for pair in batch.pair.tolist() if pair in calibration_rows]
            rows = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
            mean_logprob[batch.pair] = _read(
                reading, batch, prefix, sinks, kept=kept, rows=rows, calibration=calibration
            )
            bar.update(len(batch.pair))
    pair_of_token = np.repeat(chosen, kept_tokens)
    return AnswerFacts(mean_logprob, n_tokens, calibration, pair_of_token, state_rounding(model.dtype))


def _calibration_pairs(
    model: Model, pairs: Sequence[ContrastPair], n_tokens: np.ndarray, n_bytes: int, seed: int
) -> np.ndarray:
    """Return the pairs whose tokens fit into `n_bytes`, taken in turn from each topic; one pair at least."""
    generator = np.random.default_rng(whole_number(seed, "seed", least=0))
    turns: dict[str, int] = {}
    order = generator.permutation(len(pairs))
    turn = np.empty(len(pairs), dtype=np.int64)
    for index in order:
        topic = pairs[index].topic
        turn[index] = turns.get(topic, 0)
        turns[topic] = turn[index] + 1
    order = order[np.argsort(turn[order], kind="stable")]
    used = np.cumsum(n_tokens[order].sum(axis=1)) * model.n_layers * model.width * np.dtype(np.float32).itemsize
    return np.sort(order[: max(1, int(np.searchsorted(used, n_bytes, side="right")))])


def _read(
    reading: _Reading,
    batch: AnswerBatch,
    prefix: DynamicCache | None,
    sinks: Sequence[Sink],
    *,
    kept: np.ndarray,
    rows: np.ndarray,
    calibration: np.ndarray,
) -> np.ndarray:
    """Run one batch, hand out its hidden states, and return `(pair, side)` mean log-probabilities.

    The answer tokens `kept` go to these `rows` of the calibration tokens.

    Raises:
        InputError: Hidden states or log-probabilities of an answer are not finite.
    """
    row_pair, select = _selection(batch, reading.tokens)
    on_device = torch.as_tensor(kept, device=batch.sample.device)

    def record(layer: int, answer_rows: Tensor) -> None:
        selected = select(answer_rows)
        for sink in sinks:
            sink.add(layer, row_pair, selected)
        calibration[rows, layer] = answer_rows[on_device].cpu().numpy()

    logprob, sound = read_batch(reading.model, batch, prefix, record)
    if not sound.all():
        named = [
            f'the {SIDES[sample % len(SIDES)]} answer of pair "{reading.ids[batch.pair[sample // len(SIDES)]]}"'
            for sample in np.flatnonzero(~sound)
        ]
        raise InputError(not_finite_answers(named, reading.model.dtype))
    return np.asarray(batch.means(logprob).reshape(-1, len(SIDES)))


def _selection(batch: AnswerBatch, tokens: TokenChoice) -> tuple[np.ndarray, Callable[[Tensor], Tensor]]:
    """Return the pair of each row, and the function from all answer tokens' states to `(row, side, width)`."""
    if tokens == "mean":
        share = torch.zeros((len(batch.lengths), len(batch.sample)), device=batch.sample.device)
        share[batch.sample, torch.arange(len(batch.sample), device=share.device)] = 1.0
        share /= share.sum(dim=1, keepdim=True)
        return batch.pair, lambda rows: (share @ rows).unflatten(0, (-1, len(SIDES)))
    ends = batch.ends.reshape(-1, len(SIDES))
    common = batch.lengths.reshape(-1, len(SIDES)).min(axis=1) if tokens == "every" else np.ones(len(ends), np.int64)
    index = np.concatenate([end - np.arange(n, 0, -1)[:, None] for end, n in zip(ends, common, strict=True)])
    on_device = torch.as_tensor(index, device=batch.sample.device)
    return np.repeat(batch.pair, common), lambda rows: rows[on_device]
