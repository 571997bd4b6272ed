"""Steering: the effect of adding a direction to the residual stream on the log-odds of two answers.

The vector is added after the chosen blocks, at every position that predicts a token of the answer and at the answer's
own tokens, never before them. A dose is in the direction's standard deviations and is divided evenly among the
chosen layers, because what is added after one block is still there after the next; a random direction is added with the
same length. A vector of that length may change the odds whatever its direction. The effect of the direction is the
component that changes sign with the dose, so give every dose with its opposite.

    odds = steered_odds(model, direction, pairs, layers=(12, 14), doses=(-4.0, 4.0))
    odds.shifted - odds.base
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from foretell.conversations.pairs import SIDES, ContrastPair
from foretell.directions.activations.answer_batches import AnswerBatch, answer_batches, answer_tokens, shared_prefix
from foretell.directions.activations.forward_pass import answer_logprob, not_finite_answers
from foretell.directions.checked_numbers import distinct_layers, finite_numbers, whole_number
from foretell.directions.direction import Direction
from foretell.errors import InputError
from foretell.jobs.progress_bar import progress_bar
from foretell.reading.hooks.residual_stream import residual_blocks
from foretell.reading.hooks.scope import Scope
from foretell.reading.models.load import Model

__all__ = ["SteeredOdds", "adding", "editing", "steered_odds"]


@dataclass(frozen=True)
class SteeredOdds:
    """Log-odds (nats) of the positive over the negative answer of each pair, with and without an added vector."""

    base: Float[np.ndarray, " pair"]
    """log P(positive answer) - log P(negative answer), sums over the answers' tokens."""
    shifted: Float[np.ndarray, "dose pair"]
    """The same with the direction added; not finite where that passes what the model's precision holds."""
    random: Float[np.ndarray, "draw dose pair"]
    """The same with random directions of the same length added."""
    doses: tuple[float, ...]
    """The doses, each once."""


def steered_odds(
    model: Model,
    direction: Direction,
    pairs: Sequence[ContrastPair],
    *,
    layers: Sequence[int],
    doses: Sequence[float],
    n_random: int = 5,
    seed: int = 0,
    batch_tokens: int = 4096,
    progress: bool | None = None,
) -> SteeredOdds:
    """Compute the log-odds of both answers of each pair while a direction is added, for every dose.

    A layer or a dose that is given twice counts once.

    Raises:
        InputError: The direction belongs to another model or has no vector at a layer, there are no layers, doses or
            pairs, a setting is out of range, or a pair's log-odds are not finite without steering.
    """
    direction.check_fits(model)
    layers, doses = _checked(direction, layers, doses, pairs)
    n_random, seed = whole_number(n_random, "n_random", least=0), whole_number(seed, "seed", least=0)
    answers = answer_tokens(model, pairs)
    prefix = shared_prefix(model, answers)
    n_prefix = 0 if prefix is None else prefix.get_seq_length()
    batches = list(answer_batches(model, answers, n_prefix=n_prefix, batch_tokens=batch_tokens))
    generator = np.random.default_rng(seed)
    unit = {layer: direction.vectors[layer].astype(np.float64) for layer in layers}
    drawn = [{layer: _random_unit(generator, direction.width) for layer in layers} for _ in range(n_random)]
    length = {layer: float(direction.standard_deviation[layer]) / len(layers) for layer in layers}
    shifted = np.empty((len(doses), len(pairs)))
    random = np.empty((n_random, len(doses), len(pairs)))
    total = 1 + (1 + n_random) * len(doses)
    with progress_bar(total=total, desc="steering", unit="dose", progress=progress) as bar:
        base = _odds(model, batches, prefix, {}, len(pairs))
        if not np.isfinite(base).all():
            named = [
                f'an answer of pair "{pair.id}"'
                for pair, odds in zip(pairs, base, strict=True)
                if not np.isfinite(odds)
            ]
            raise InputError(not_finite_answers(named, model.dtype))
        bar.update()
        for row, dose in enumerate(doses):
            for draw, vectors in enumerate((unit, *drawn)):
                added = {layer: dose * length[layer] * vectors[layer] for layer in layers}
                found = _odds(model, batches, prefix, added, len(pairs))
                if draw:
                    random[draw - 1, row] = found
                else:
                    shifted[row] = found
                bar.update()
    return SteeredOdds(base, shifted, random, doses)


def _checked(
    direction: Direction, layers: object, doses: object, pairs: Sequence[ContrastPair]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return layers and doses, each once."""
    chosen, given = distinct_layers(layers), finite_numbers(doses, "doses")
    for values, what in ((pairs, "contrast pairs"), (chosen, "layers"), (given, "doses")):
        if not len(values):
            raise InputError(f"there are no {what} to steer with")
    for layer in chosen:
        if not 0 <= layer < direction.n_layers:
            raise InputError(f"there is no layer {layer}; the model has layers 0 to {direction.n_layers - 1}")
        if direction.reasons[layer]:
            raise InputError(f"the direction has no vector at layer {layer}: {direction.reasons[layer]}")
    return chosen, given


def _random_unit(generator: np.random.Generator, width: int) -> np.ndarray:
    vector = generator.normal(size=width)
    return np.asarray(vector / np.linalg.norm(vector))


def _odds(
    model: Model,
    batches: Sequence[AnswerBatch],
    prefix: DynamicCache | None,
    added: Mapping[int, Float[np.ndarray, " width"]],
    n_pairs: int,
) -> np.ndarray:
    odds = np.empty(n_pairs)
    for batch in batches:
        mask = torch.zeros(batch.token_ids.shape, device=batch.token_ids.device)
        mask[batch.sample, batch.position] = 1.0
        mask[batch.sample, batch.position - 1] = 1.0
        with torch.inference_mode(), adding(model, added, mask):
            logprob = answer_logprob(model, batch, prefix).double().cpu().numpy()
        sums = np.add.reduceat(logprob, batch.ends - batch.lengths).reshape(-1, len(SIDES))
        odds[batch.pair] = sums[:, 0] - sums[:, 1]
    return odds


@contextmanager
def adding(
    model: Model,
    vectors: Mapping[int, Float[np.ndarray, " width"]],
    mask: Float[Tensor, "sample token"] | Callable[[int], Float[Tensor, "sample token"]],
) -> Iterator[None]:
    """Add a vector to the output of each chosen block, at the positions of the mask, in the caller's thread only.

    Args:
        model: A loaded model.
        vectors: What to add, by layer.
        mask: Factor of the vector at each fed token; 0 leaves the token unchanged. For passes of several widths a
            function of the width.

    Raises:
        NotReadableError: The model's blocks cannot be found.
    """
    edits = {layer: partial(_added, vector, mask) for layer, vector in vectors.items()}
    scope = Scope()
    with scope.entered(), editing(model, edits, scope):
        yield


@contextmanager
def editing(model: Model, edits: Mapping[int, Callable[[Tensor], Tensor]], scope: Scope) -> Iterator[None]:
    """Replace the output of chosen blocks by another hidden state, in the passes of one thread or coroutine.

    Args:
        model: A loaded model.
        edits: By layer; each gets `(sample, token, width)` and returns the same shape.
        scope: Whose passes are changed.

    Raises:
        NotReadableError: The model's blocks cannot be found.
    """
    blocks = residual_blocks(model.model)
    with ExitStack() as stack:
        for layer, edit in edits.items():
            stack.callback(blocks[layer].register_forward_hook(partial(_edited, edit, scope)).remove)
        yield


def _edited(
    edit: Callable[[Tensor], Tensor], scope: Scope, _module: nn.Module, _inputs: tuple[Any, ...], output: Any
) -> Any:
    if not scope.is_active:
        return None
    if isinstance(output, (tuple, list)):
        return (edit(output[0]), *output[1:])
    return edit(output)


def _added(vector: np.ndarray, mask: Tensor | Callable[[int], Tensor], hidden: Tensor) -> Tensor:
    extra = torch.as_tensor(vector, dtype=hidden.dtype, device=hidden.device)
    factor = mask(hidden.shape[1]) if callable(mask) else mask
    return hidden + factor.to(hidden)[..., None] * extra
