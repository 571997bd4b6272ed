"""Where a model's residual stream is: at which modules, and at what they are given or at what they return.

A trial on a short text compares them with the model library's own hidden states, once per configuration.

    from foretell.reading.hooks.residual_place import residual_place
    blocks = layer_lists(model)[residual_place(model).index]
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.hooks.last_in_line import given_hidden, is_hooked_by_others, last_in_line, returned_hidden
from foretell.reading.models.blocks import Blocks, layer_lists
from foretell.reading.models.trial import (
    FAILURES,
    WIDTH,
    evaluating,
    first_line,
    identity_of,
    in_this_thread,
    trial_text,
)

__all__ = ["ResidualPlace", "residual_place"]

_TOLERANCE = 1e-3
"""Of the largest hidden state; another quantity is off by about all of it."""


@dataclass(frozen=True)
class ResidualPlace:
    """Where a model's residual stream after each block is."""

    index: int
    """Which of the model's `layer_lists` returns it."""
    is_given: bool
    """Whether each next block is given just that; otherwise the model does something to it first."""


_PLACES: dict[tuple[object, ...], ResidualPlace] = {}


def residual_place(model: PreTrainedModel) -> ResidualPlace:
    """Return where the residual stream is, as a trial found out.

    Raises:
        NotReadableError: No list of modules returns the hidden states; the message says what was found instead.
    """
    identity = identity_of(model)
    if identity not in _PLACES:
        reasons = []
        lists = layer_lists(model)
        for index, blocks in enumerate(lists):
            found = _tried(model, blocks)
            if isinstance(found, bool):
                _PLACES[identity] = ResidualPlace(index, found)
                break
            reasons.append(found)
        else:
            is_hooked = any(is_hooked_by_others(block) for block in lists[0])
            advice = "; its blocks have forward hooks: read a text once before they are registered" if is_hooked else ""
            raise NotReadableError(f"{type(model).__name__}: its residual stream cannot be read: {reasons[0]}{advice}")
    return _PLACES[identity]


class _Chain:
    """Everything that the hidden state after one block is in a pass, from what it returns to what the next is given."""

    def __init__(self) -> None:
        self.n_runs = 0
        self.output: Any = None
        """What the block returned."""
        self.returned: Tensor | None = None
        """The hidden state in that."""
        self.left: Tensor | None = None
        """The same after hooks of others."""
        self.offered: Tensor | None = None
        """What the next block was called with."""
        self.given: Tensor | None = None
        """The same after hooks of others."""

    def deviations(self, expected: Tensor, real: Tensor) -> tuple[float, float]:
        """Return how far what the block returned, and what the next one was given, are from `expected`.

        The library may have recorded its state before or after any hook of others.
        """
        returned, given = (
            min(_deviation(one, expected, real) for one in pair)
            for pair in ((self.returned, self.left), (self.offered, self.given))
        )
        follows = self.left is not None and self.offered is not None and torch.equal(self.left, self.offered)
        is_last = self.offered is None and self.given is None
        return returned, min(given, returned) if follows or is_last else given


def _tried(model: PreTrainedModel, blocks: Blocks) -> bool | str:
    """Compare blocks with the hidden states of a short text.

    Returns:
        True where each next block is given them, False where they are only what blocks return, and otherwise why they
        are neither.
    """
    inputs, codes = trial_text(model)
    try:
        chains, states = _chains(model, blocks, inputs)
    except FAILURES as error:
        return f"the model gives no hidden states to compare with: {first_line(error)}"
    if len(states) != len(blocks) + 1:
        return f"the model gives {len(states)} hidden states for {len(blocks)} blocks"
    real = torch.from_numpy(codes >= 0)
    malformed = (_malformed(layer, chain, real) for layer, chain in enumerate(chains))
    reason = next((one for one in malformed if one is not None), None)
    if reason is not None:
        return reason
    # Entry 0 is the embedding, except in models that list blocks alone.
    outcomes = [_compared(chains, states[first:], real) for first in (1, 0)]
    return next((one for one in outcomes if isinstance(one, bool)), outcomes[0])


def _chains(model: PreTrainedModel, blocks: Blocks, inputs: dict[str, Any]) -> tuple[list[_Chain], tuple[Tensor, ...]]:
    """Run the model; return what was seen at its blocks, and its own hidden states."""
    chains = [_Chain() for _ in blocks]

    def given(layer: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if layer:
            chains[layer - 1].given = _cloned(given_hidden(arguments, options))

    def returned(layer: int, output: Any) -> None:
        chains[layer].left = _cloned(returned_hidden(output))

    def offer(layer: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if layer and active():
            chains[layer - 1].offered = _cloned(given_hidden(arguments, options))

    def end(layer: int, output: Any) -> None:
        if active():
            chains[layer].n_runs += 1
            chains[layer].output, chains[layer].returned = output, _cloned(returned_hidden(output))

    active = in_this_thread()
    with contextlib.ExitStack() as stack:
        stack.enter_context(last_in_line(blocks, given, returned, active))
        for layer, block in enumerate(blocks):
            for handle in (
                block.register_forward_pre_hook(
                    lambda _module, arguments, options, layer=layer: offer(layer, arguments, options),
                    with_kwargs=True,
                    prepend=True,
                ),
                block.register_forward_hook(
                    lambda _module, _arguments, output, layer=layer: end(layer, output), prepend=True
                ),
            ):
                stack.callback(handle.remove)
        stack.enter_context(evaluating(model))
        return chains, tuple(model(**inputs, output_hidden_states=True).hidden_states or ())


def _cloned(hidden: Tensor | None) -> Tensor | None:
    return None if hidden is None else hidden.detach().to("cpu", copy=True)


def _malformed(layer: int, chain: _Chain, real: Tensor) -> str | None:
    """Say why what a block returns cannot be the hidden state of every token."""
    if chain.n_runs != 1:
        return f"block {layer} runs {chain.n_runs} times in a pass"
    if chain.left is not None and chain.left.shape[0] == len(real) and chain.left.shape[1] >= WIDTH:
        return None
    first = chain.output[0] if isinstance(chain.output, (tuple, list)) and chain.output else chain.output
    found = first if chain.left is None else chain.left
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    return f"block {layer} hands on {shape} for {tuple(real.shape)} tokens, not one hidden state per token"


def _compared(chains: Sequence[_Chain], states: Sequence[Tensor], real: Tensor) -> bool | str:
    """Compare blocks with all states but the last one, which is taken after a norm; returns as `_tried`."""
    pairs = list(zip(chains, states[:-1], strict=False))
    deviations = [chain.deviations(state, real) for chain, state in pairs]
    layer = next((layer for layer, (returned, _) in enumerate(deviations) if returned > _TOLERANCE), None)
    if layer is None:
        return all(given <= _TOLERANCE for _, given in deviations)
    chain, state = pairs[layer]
    if chain.left is not None and chain.left.shape[-1] != state.shape[-1]:
        return f"block {layer} hands on {chain.left.shape[-1]} numbers per token, not {state.shape[-1]}"
    return f"what block {layer} hands on differs from its hidden state by {deviations[layer][0]:.2g} of its size"


def _deviation(found: Tensor | None, expected: Tensor, real: Tensor) -> float:
    """Return the largest difference at real tokens, as a share of the largest number expected; else infinity."""
    if found is None or found.shape[0] != len(real) or found.shape[1] < WIDTH or found.shape[2] != expected.shape[2]:
        return math.inf
    own, theirs = (one[:, :WIDTH].float().cpu()[real] for one in (found, expected))
    deviation = float((own - theirs).abs().max() / theirs.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
    return deviation if math.isfinite(deviation) else math.inf
