"""Tensors of layers that wait for each other, copied side by side so that those of one kind are one tensor.

What waits is then none of the model's own memory, which it uses again for the next layer, and putting it together
costs nothing more.

    stacks = Stacks(most_bytes=16 << 20)
    stacks.push("kind", layer, (query, key))
    for layers, (queries, keys) in stacks.pop():
        ...
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from foretell.reading.capture.rooms import borrowed, returned

__all__ = ["Stacks"]

Item = TypeVar("Item")


@dataclass
class _Stack(Generic[Item]):
    n_bytes: int
    """Of one item's tensors."""
    room: Tensor
    parts: list[Tensor]
    """The room as `(item, ...)` of each tensor."""
    items: list[Item] = field(default_factory=list)


class Stacks(Generic[Item]):
    """What waits, by kind, in single precision.

    Args:
        most_bytes: bound for what waits.
    """

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._n_bytes = 0
        self._stacks: dict[Hashable, _Stack[Item]] = {}

    def push(self, kind: Hashable, item: Item, values: Sequence[Tensor]) -> bool:
        """Let copies of an item's tensors wait, if there is room beside what waits already.

        Args:
            kind: items of one kind, with tensors of the same shapes, come out together.
            item: whose they are.
            values: at least one; they ask for no gradient.

        Returns:
            False where there is no room; where nothing waits, there always is.
        """
        identity = (kind, values[0].device, *[one.shape for one in values])
        stack = self._stacks.get(identity)
        n_bytes = sum(4 * one.numel() for one in values) if stack is None else stack.n_bytes
        if self._n_bytes and self._n_bytes + n_bytes > self._most_bytes:
            return False
        if stack is None:
            stack = self._stacks[identity] = self._stack(values, n_bytes)
        place = len(stack.items)
        for part, value in zip(stack.parts, values, strict=True):
            part[place].copy_(value)
        stack.items.append(item)
        self._n_bytes += n_bytes
        return True

    def pop(self) -> Iterator[tuple[list[Item], list[Tensor]]]:
        """Yield what waited, kind by kind: items, and each of their tensors with an axis for the item before others.

        Tensors are those of the caller until the next kind is asked for.
        """
        stacks, self._stacks, self._n_bytes = self._stacks, {}, 0
        for stack in stacks.values():
            yield stack.items, [part[: len(stack.items)] for part in stack.parts]
            if stack.room.nbytes <= self._most_bytes:
                returned(stack.room)

    def clear(self) -> None:
        """Forget what waits."""
        for _ in self.pop():
            pass

    def _stack(self, values: Sequence[Tensor], n_bytes: int) -> _Stack[Item]:
        capacity = max(1, self._most_bytes // max(1, n_bytes))
        room = borrowed(max(n_bytes, self._most_bytes) // 4, values[0].device)
        sizes = [capacity * one.numel() for one in values]
        parts = torch.split(room[: sum(sizes)], sizes)
        shaped = [part.view(capacity, *one.shape) for part, one in zip(parts, values, strict=True)]
        return _Stack(n_bytes, room, shaped)
