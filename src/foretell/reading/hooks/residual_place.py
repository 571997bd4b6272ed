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
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.hooks.last_in_line import given_hidden, hidden_or_none, is_hooked_by_others, returned_part
from foretell.reading.models.blocks import Blocks, layer_lists
from foretell.reading.models.load import first_line
from foretell.reading.models.trial import FAILURES, WIDTH, evaluating, identity_of, in_this_thread, trial_text

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


class _Block:
    """What one pass showed of a block; a hook of others may change the hidden state before and after it."""

    def __init__(self) -> None:
        self.given: Tensor | None = None
        """The hidden state that it was called with, before hooks of others."""
        self.returned: Tensor | None = None
        """The one that it returned, before hooks of others."""
        self.left: Any = None
        """What is left of that after them."""
        self.n_runs = 0


def _tried(model: PreTrainedModel, blocks: Blocks) -> bool | str:
    """Compare blocks with the hidden states of a short text.

    Returns:
        True where each next block is given them, False where they are only what blocks return, and otherwise why they
        are neither.
    """
    inputs, codes = trial_text(model)
    try:
        seen, states = _pass(model, blocks, inputs)
    except FAILURES as error:
        return f"the model gives no hidden states to compare with: {first_line(error)}"
    if len(states) != len(blocks) + 1:
        return f"the model gives {len(states)} hidden states for {len(blocks)} blocks"
    real = torch.from_numpy(codes >= 0)
    for layer, block in enumerate(seen):
        if block.n_runs != 1:
            return f"block {layer} runs {block.n_runs} times in a pass"
        hidden = hidden_or_none(block.left)
        if hidden is None or hidden.shape[0] != len(real) or hidden.shape[1] < WIDTH:
            shape = tuple(block.left.shape) if isinstance(block.left, Tensor) else type(block.left).__name__
            return f"block {layer} hands on {shape} for {tuple(real.shape)} tokens, not one hidden state per token"
    # Entry 0 is the embedding, except in models that list blocks alone; the last one is taken after a norm.
    reason = _difference(seen, states[1:-1], real)
    if reason is not None and _difference(seen, states[:-1], real) is not None:
        return reason
    return all(_deviation(after.given, before.left, real) <= _TOLERANCE for before, after in pairwise(seen))


def _pass(model: PreTrainedModel, blocks: Blocks, inputs: dict[str, Any]) -> tuple[list[_Block], tuple[Tensor, ...]]:
    """Run the model; return what was seen at its blocks, and its own hidden states."""
    seen = {block: _Block() for block in blocks}
    active = in_this_thread()

    def enter(block: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if active():
            seen[block].given = _copied(given_hidden(arguments, options))

    def end(block: nn.Module, _arguments: object, output: Any) -> None:
        if active():
            seen[block].returned = _copied(returned_part(output))

    def leave(block: nn.Module, _arguments: object, output: Any) -> None:
        if active():
            seen[block].left = _copied(returned_part(output))
            seen[block].n_runs += 1

    with contextlib.ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_pre_hook(enter, with_kwargs=True, prepend=True).remove)
            stack.callback(block.register_forward_hook(end, prepend=True).remove)
            stack.callback(block.register_forward_hook(leave).remove)
        stack.enter_context(evaluating(model))
        states = model(**inputs, output_hidden_states=True).hidden_states
    return list(seen.values()), tuple(states or ())


def _copied(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def _difference(seen: Sequence[_Block], states: Sequence[Tensor], real: Tensor) -> str | None:
    """Say which block does not return the hidden state that the library recorded before or after hooks of others."""
    for layer, (block, state) in enumerate(zip(seen, states, strict=False)):
        deviation = min(_deviation(block.returned, state, real), _deviation(block.left, state, real))
        if deviation > _TOLERANCE and block.left.shape[-1] != state.shape[-1]:
            return f"block {layer} hands on {block.left.shape[-1]} numbers per token, not {state.shape[-1]}"
        if deviation > _TOLERANCE:
            return f"what block {layer} hands on differs from its hidden state by {deviation:.2g} of its size"
    return None


def _deviation(found: Any, expected: Tensor, real: Tensor) -> float:
    """Return the largest difference at real tokens, as a share of the largest number expected; else infinity."""
    hidden = hidden_or_none(found)
    if hidden is None or hidden.shape[::2] != (len(real), expected.shape[2]) or hidden.shape[1] < WIDTH:
        return math.inf
    own, theirs = (one[:, :WIDTH].float().cpu()[real] for one in (hidden, expected))
    deviation = float((own - theirs).abs().max() / theirs.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
    return deviation if math.isfinite(deviation) else math.inf
