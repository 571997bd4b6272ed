"""Decoding steps in a row, read together some steps later.

A step brings one row, and what it costs is mostly the calls. A growing cache keeps the keys of earlier steps where
they are, so the queries of several steps can wait for the keys of the last one; each sees only those of its own step.
It knows nothing of what is read from them.

    steps.begin(start, columns)
    steps.takes(layer, call)       # False: this call has to be read at once
    for chosen, calls in steps.calls():
        current = steps.as_pass(chosen)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from foretell.errors import InputError
from foretell.reading.capture.recording import Pass
from foretell.reading.hooks.attention_interface import AttentionCall

__all__ = ["Steps"]

_MOST_STEPS = 32


@dataclass
class _Waiting:
    """One layer's calls of some steps."""

    last: AttentionCall
    """The newest call, whose keys and values hold those of all the others."""
    steps: list[int] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    masks: list[Tensor | None] = field(default_factory=list)


@dataclass(frozen=True)
class _Newest:
    """The keys of a step's own tokens in the last layer, which no two different texts have in common."""

    layer: int
    n_keys: int
    keys: Tensor
    """`(sample, head, width)`."""


class Steps:
    """Steps that follow each other by one token, and what waits of them.

    Args:
        most_bytes: bound for the queries and hidden states that wait.
        after: the steps that these go on from.
    """

    def __init__(self, *, most_bytes: int, after: Steps | None = None) -> None:
        self._most_bytes = most_bytes
        self.clear()
        self._newest: _Newest | None = None if after is None else after._newest

    def clear(self) -> None:
        """Forget everything."""
        self.start = 0
        self._columns: list[Tensor] = []
        self._waiting: dict[int, _Waiting] = {}
        self._hidden: dict[int, tuple[list[int], list[Tensor]]] = {}
        self._n_bytes = 0
        self._newest = None

    def __len__(self) -> int:
        return len(self._columns)

    def goes_on(self, start: int) -> bool:
        """Tell whether a step after `start` tokens follows the last one and there is room for it."""
        return start == self.start + len(self) and len(self) < _MOST_STEPS and self._n_bytes < self._most_bytes

    def begin(self, start: int, columns: Int[Tensor, "sample 1"]) -> None:
        """Start a step; the first one says where all of them begin."""
        if not self._columns:
            self.start = start
        self._columns.append(columns)

    def takes(self, layer: int, call: AttentionCall) -> bool:
        """Let a call of the present step wait if its keys are those of all tokens so far.

        Caches of fixed size or with a window, and calls with arguments that belong to a row, are not for waiting.

        Raises:
            InputError: Samples of the cache changed places since the last step.
        """
        n_keys = self.start + len(self)
        if call.query.shape[2] != 1 or call.key.shape[2] != n_keys:
            return False
        if call.mask is not None and (call.mask.ndim != 4 or call.mask.shape[2] != 1 or call.mask.shape[3] < n_keys):
            return False
        for value in call.options.values():
            if isinstance(value, Tensor) and value.ndim == 4:
                return False
        if self._newest is None or layer >= self._newest.layer:
            self._newest = _newest(layer, call.key, self._newest)
        waiting = self._waiting.get(layer)
        if waiting is None:
            waiting = self._waiting[layer] = _Waiting(call)
        waiting.last = call
        waiting.steps.append(len(self) - 1)
        waiting.queries.append(call.query)
        waiting.masks.append(call.mask)
        self._n_bytes += call.query.nbytes
        return True

    def has(self, layer: int) -> bool:
        """Tell whether a call of this layer waits in the present step."""
        waiting = self._waiting.get(layer)
        return waiting is not None and waiting.steps[-1] == len(self) - 1

    def keep_hidden(self, layer: int, hidden: Tensor) -> None:
        """Let a block's output of the present step wait; it is copied, because models may change theirs in place."""
        steps, waiting = self._hidden.setdefault(layer, ([], []))
        steps.append(len(self) - 1)
        waiting.append(hidden.detach().clone())
        self._n_bytes += hidden.nbytes

    def as_pass(self, steps: tuple[int, ...]) -> Pass:
        """Return some steps, in rising order, as one pass whose rows they are."""
        columns = torch.cat([self._columns[step] for step in steps], dim=1)
        return Pass(start=self.start + steps[0], width=steps[-1] + 1 - steps[0], columns=columns)

    def calls(self) -> Iterator[tuple[tuple[int, ...], dict[int, AttentionCall]]]:
        """Yield steps and, for the layers that waited in just those, one call with a query per step."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for layer, waiting in self._waiting.items():
            groups.setdefault(tuple(waiting.steps), []).append(layer)
        for steps, layers in groups.items():
            masks: dict[tuple[object, ...], Tensor] = {}
            yield steps, {layer: self._together(self._waiting[layer], masks) for layer in layers}

    def hidden(self) -> Iterator[tuple[tuple[int, ...], dict[int, Tensor]]]:
        """Yield steps and, for the layers that waited in just those, their hidden states `(sample, step, width)`."""
        groups: dict[tuple[int, ...], dict[int, Tensor]] = {}
        for layer, (steps, waiting) in self._hidden.items():
            groups.setdefault(tuple(steps), {})[layer] = torch.cat(waiting, dim=1)
        yield from groups.items()

    def _together(self, waiting: _Waiting, masks: dict[tuple[object, ...], Tensor]) -> AttentionCall:
        """Return one call for several; layers with the same masks share the joined one in `masks`."""
        last = waiting.last
        identity = (*map(id, waiting.masks), last.query.device)
        if identity not in masks:
            n_keys = [self.start + step + 1 for step in waiting.steps]
            masks[identity] = _joined(waiting.masks, n_keys, last.key.shape[2], last.query.device)
        return dataclasses.replace(
            last,
            query=torch.cat(waiting.queries, dim=2),
            mask=masks[identity],
            options={**last.options, "is_causal": False},
            output=None,
        )


def _newest(layer: int, key: Tensor, before: _Newest | None) -> _Newest:
    """Return the newest keys, if those of the step before are still where they were."""
    if before is not None and (before.layer, before.n_keys) == (layer, key.shape[2] - 1):
        now = key[:, :, -2]
        # A key that is none of those before was changed otherwise: caches may keep them in fewer bits as they grow old.
        if not torch.equal(now, before.keys) and bool((now[:, None] == before.keys).all(-1).all(-1).any(1).all()):
            raise InputError(
                "the cache's samples changed places between two steps (a search over beams does that), so rows of one "
                "sample would be of several texts; read the finished texts instead"
            )
    return _Newest(layer, key.shape[2], key[:, :, -1].detach().clone())


def _joined(masks: list[Tensor | None], n_keys: list[int], width: int, device: torch.device) -> Tensor:
    """Return one mask `(sample or 1, head or 1, step, key)`; what came after a step is hidden from it."""
    additive = next((mask for mask in masks if mask is not None and mask.dtype != torch.bool), None)
    dtype = torch.bool if additive is None else additive.dtype
    hidden = False if additive is None else torch.finfo(additive.dtype).min
    rows = []
    for mask, seen in zip(masks, n_keys, strict=True):
        if mask is None:
            mask = torch.full((1, 1, 1, seen), dtype == torch.bool, dtype=dtype, device=device)
        rows.append(torch.nn.functional.pad(mask[..., :seen], (0, width - seen), value=hidden))
    sizes = [max(row.shape[axis] for row in rows) for axis in (0, 1)]
    return torch.cat([row.expand(*sizes, -1, -1) for row in rows], dim=2)
