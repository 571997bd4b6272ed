"""Decode steps in a row, read together some steps later.

A step brings one row, and what it costs is mostly the calls. A growing cache keeps the keys of earlier steps where
they are, so the queries of several steps are held until the keys of the last one are there; each sees only those of
its own step. It knows nothing of what is read from them.

    steps.begin(current)
    steps.defer(layer, call)       # False: this call has to be read at once
    for group in steps.groups():
        group.current, group.calls, group.hidden
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.capture.recording import Pass
from foretell.reading.capture.row_store import Place
from foretell.reading.hooks.attention_interface import AttentionCall

__all__ = ["DecodeSteps", "StepGroup"]

_MOST_STEPS = 32
"""The calls of one reading are then spread over 32 tokens, which leaves 3 % of them per token."""


@dataclass
class _Step:
    """What is held of one step."""

    current: Pass
    queries: dict[int, Tensor] = field(default_factory=dict)
    masks: dict[int, Tensor | None] = field(default_factory=dict)
    hidden: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepGroup:
    """Some steps as one pass, and the layers that were deferred in all of them."""

    current: Pass
    calls: dict[int, AttentionCall]
    """One call per layer, with a query per step."""
    hidden: dict[int, Float[Tensor, "sample step width"]]


class DecodeSteps:
    """Steps that follow each other by one token, and what is held of them.

    Args:
        most_bytes: bound for the queries and hidden states that are held.
    """

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._steps: list[_Step] = []
        self._last: dict[int, AttentionCall] = {}
        self._n_bytes = 0

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def start(self) -> int:
        """Columns before the first step."""
        return self._steps[0].current.start

    def follows(self, start: int) -> bool:
        """Whether a step after `start` columns follows the last one, and there is room for it."""
        if not self._steps:
            return True
        is_next = start == self._steps[-1].current.end
        return is_next and len(self._steps) < _MOST_STEPS and self._n_bytes < self._most_bytes

    def take_finished(self, *, has_present: bool) -> DecodeSteps:
        """Return the steps so far and hold them no longer, but for the present one if there is one."""
        finished = DecodeSteps(most_bytes=self._most_bytes)
        n_finished = len(self._steps) - has_present
        finished._steps, finished._last = self._steps[:n_finished], dict(self._last)
        present = self._steps[n_finished:]
        if not has_present:
            self.clear()
        self._steps = present
        return finished

    def begin(self, current: Pass) -> None:
        """Start a step."""
        self._steps.append(_Step(current))

    def discard(self) -> None:
        """Forget the present step, because its pass was not finished."""
        self._steps.pop()

    def defer(self, layer: int, call: AttentionCall) -> bool:
        """Hold a call of the present step if its keys are those of all tokens so far.

        Calls with arguments that belong to a row, and layers that were not deferred in all steps before, are read at
        once.
        """
        step = self._steps[-1]
        n_keys = step.current.end
        if call.query.shape[2] != 1 or call.key.shape[2] != n_keys:
            return False
        if call.mask is not None and (call.mask.ndim != 4 or call.mask.shape[2] != 1 or call.mask.shape[3] < n_keys):
            return False
        if any(isinstance(value, Tensor) and value.ndim == 4 for value in call.options.values()):
            return False
        if len(self._steps) > 1 and layer not in self._steps[-2].queries:
            return False
        step.queries[layer], step.masks[layer] = call.query.detach(), call.mask
        self._last[layer] = call
        self._n_bytes += call.query.nbytes
        return True

    def hold_hidden(self, layer: int, hidden: Float[Tensor, "sample 1 width"]) -> None:
        """Hold a block's output of the present step; it is copied, because models may change theirs in place."""
        self._steps[-1].hidden[layer] = hidden.detach().clone()
        self._n_bytes += hidden.nbytes

    def groups(self) -> Iterator[StepGroup]:
        """Yield what is held: mostly all layers and all steps at once."""
        by_count: dict[int, list[int]] = {}
        for layer in self._last:
            by_count.setdefault(sum(layer in step.queries for step in self._steps), []).append(layer)
        states = _hidden(self._steps)
        for count, layers in by_count.items():
            if count:
                masks: dict[tuple[object, ...], Tensor] = {}
                calls = {layer: self._joined_call(layer, self._steps[:count], masks) for layer in layers}
                yield StepGroup(_as_pass(self._steps[:count]), calls, states if count == len(self._steps) else {})
                if count == len(self._steps):
                    states = {}
        if states:
            yield StepGroup(_as_pass(self._steps), {}, states)

    def _joined_call(self, layer: int, steps: list[_Step], masks: dict[tuple[object, ...], Tensor]) -> AttentionCall:
        """Return one call for several; layers with the same masks share the joined one in `masks`."""
        last = self._last[layer]
        n_keys = steps[-1].current.end
        own = [step.masks[layer] for step in steps]
        identity = (*map(id, own), last.query.device)
        if identity not in masks:
            masks[identity] = _joined_mask(own, [step.current.end for step in steps], last.query.device)
        return dataclasses.replace(
            last,
            query=torch.cat([step.queries[layer] for step in steps], dim=2),
            key=last.key[:, :, :n_keys],
            value=last.value[:, :, :n_keys],
            mask=masks[identity],
            options={**last.options, "is_causal": False},
            output=None,
        )


def _as_pass(steps: list[_Step]) -> Pass:
    first = steps[0].current
    n_samples = len(first.place.first)
    rows = torch.arange(len(steps)).repeat(n_samples, 1)
    place = Place(first.place.first, first.place.n_rows * len(steps))
    return Pass(first.start, len(steps), rows, place)


def _hidden(steps: list[_Step]) -> dict[int, Tensor]:
    """Return the hidden states of layers that were held in every step."""
    layers = set.intersection(*(set(step.hidden) for step in steps)) if steps else set()
    return {layer: torch.cat([step.hidden[layer] for step in steps], dim=1) for layer in sorted(layers)}


def _joined_mask(masks: list[Tensor | None], n_keys: list[int], device: torch.device) -> Tensor:
    """Return one mask `(sample or 1, head or 1, step, key)`; what came after a step is hidden from it."""
    additive = next((mask for mask in masks if mask is not None and mask.dtype != torch.bool), None)
    dtype = torch.bool if additive is None else additive.dtype
    hidden = False if additive is None else torch.finfo(additive.dtype).min
    rows = []
    for mask, seen in zip(masks, n_keys, strict=True):
        if mask is None:
            mask = torch.full((1, 1, 1, seen), dtype == torch.bool, dtype=dtype, device=device)
        rows.append(torch.nn.functional.pad(mask[..., :seen], (0, n_keys[-1] - seen), value=hidden))
    sizes = [max(row.shape[axis] for row in rows) for axis in (0, 1)]
    return torch.cat([row.expand(*sizes, -1, -1) for row in rows], dim=2)
