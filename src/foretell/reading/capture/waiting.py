"""Questions of layers that wait to be answered, those of one kind put together as one.

After a layer of the model, code and indicators have to be brought into the processor's cache again before anything
of it is read; layers that wait for each other pay for that once, and small ones share their products.

    waiting = Waiting(most_bytes=16 << 20)
    waiting.push(layer, current, rows, question)
    for asked in waiting.pop():
        asked.rows.answer(asked.question)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from foretell.reading.capture.recording import Pass
from foretell.reading.capture.stacks import Stacks
from foretell.reading.signals.attention_mass import Rows
from foretell.reading.signals.questions import Question

__all__ = ["Asked", "Waiting"]

_LITTLE = 16
"""A layer that stands by itself and has more than one part in so many of the bound does so much at a time that waiting
gains nothing, and the model would need more memory while its own is held."""


_Asking: TypeAlias = tuple[int, Pass, Rows, Tensor | None, bool, float]
"""Of a question whose tensors are in a stack: layer, pass, rows, mask, whether it is causal, and scale."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, with the layers and the pass that it is of and the rows that will answer it."""

    layers: tuple[int, ...]
    current: Pass
    rows: Rows
    question: Question
    """Of several layers it has the samples one after the other."""


class Waiting:
    """What waits to be answered.

    Args:
        most_bytes: bound for queries, keys and values that wait without an accelerator; with one, nothing does.
    """

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._stacks: Stacks[_Asking] = Stacks(most_bytes=most_bytes)
        self._lone: list[Asked] = []
        self._n_bytes = 0
        self.is_full = False
        """Whether what waits should be answered as soon as it can be."""

    def push(self, layer: int, current: Pass, rows: Rows, question: Question) -> bool:
        """Let a layer's question wait.

        Returns:
            False where there is no room beside what waits already; where nothing waits, there always is.
        """
        kind, tensors = question.kind, question.tensors
        if kind is not None and 2 * 4 * sum(one.numel() for one in tensors) <= self._most_bytes:
            # The question itself would hold the model's tensors.
            asking = (layer, current, rows, question.mask, question.causal, question.scale)
            return self._stacks.push((id(current), *kind), asking, tensors)
        n_bytes = question.n_bytes
        waits = question.query.device.type == "cpu" and _LITTLE * n_bytes <= self._most_bytes
        if self._lone and not (waits and self._n_bytes + n_bytes <= self._most_bytes):
            return False
        self.is_full |= not waits
        query = question.query
        if question.value is not None or not self.is_full:
            # Rows are copied, so that the queries of all tokens need not be kept until projections or others are there.
            query = query.clone(memory_format=torch.contiguous_format)
        bias = None if question.bias is None else question.bias.clone()
        output = None if question.output is None else question.output.clone(memory_format=torch.contiguous_format)
        copied = dataclasses.replace(question, query=query, bias=bias, output=output)
        self._lone.append(Asked((layer,), current, rows, copied))
        self._n_bytes += n_bytes
        return True

    def pop(self) -> Iterator[Asked]:
        """Yield what waited; a question's tensors are those of the caller until the next is asked for."""
        lone, self._lone, self._n_bytes, self.is_full = self._lone, [], 0, False
        yield from lone
        for asking, tensors in self._stacks.pop():
            query, key, *others = (one.flatten(0, 1) for one in tensors)
            value, output = (*others, None, None)[:2]
            _, current, rows, mask, causal, scale = asking[0]
            question = Question(query, key, value, mask, causal, scale, output=output)
            yield Asked(tuple(one[0] for one in asking), current, rows, question)

    def clear(self) -> None:
        """Forget what waits."""
        for _ in self.pop():
            pass
