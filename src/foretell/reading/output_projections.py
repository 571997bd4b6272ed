"""The linear map that each layer's heads write through, recognised by what it is given.

It is the one whose input is the very tensor that attention returned. If something stands in between (a gate, a norm
over heads), there is none.

    projections = OutputProjections(blocks)
    projections.watch()
    projections.expect(layer, call)
    projections.factor(layer, n_heads)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from foretell.reading.attention import AttentionCall
from foretell.reading.weighing import factor_of, projects

__all__ = ["OutputProjections"]

Then = Callable[[], None]


@dataclass(frozen=True)
class _Writing:
    """What a layer's heads are about to write."""

    layer: int
    module: nn.Module
    address: int
    n_inputs: int
    then: Then | None


class OutputProjections:
    """Finds the projection of each layer.

    Args:
        blocks: the decoder's blocks.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self._blocks = blocks
        self._writing: _Writing | None = None
        self._known: dict[int, nn.Module | None] = {}
        self._watched: list[RemovableHandle] = []

    def watch(self) -> None:
        """Watch linear maps of the blocks for the one that takes the attention's output."""
        for block in self._blocks:
            for module in block.modules():
                if isinstance(module, (nn.Linear, Conv1D)):
                    self._watched.append(module.register_forward_pre_hook(self._on_linear))

    def unwatch(self) -> None:
        """Watch them no more."""
        while self._watched:
            self._watched.pop().remove()

    def end(self) -> None:
        """Finish a pass; where every projection is known, linear maps are no longer watched."""
        self.finish()
        if self._watched and self._known:
            self.unwatch()

    def factor(self, layer: int, n_heads: int) -> Tensor | None:
        """Return the triangular factors of a layer's projection, `(head, width, width)`; None without one."""
        projection = self._known.get(layer)
        return None if projection is None else factor_of(projection, n_heads)

    def expect(self, layer: int, call: AttentionCall, then: Then | None = None) -> None:
        """Look out for what a layer's heads write through, unless it is known; the layer before had its time.

        Args:
            layer: the layer.
            call: its attention.
            then: called when it is found, or known that there is none, which may be at once.
        """
        self.finish()
        if self._watched and layer not in self._known and call.output is not None:
            n_inputs = call.query.shape[1] * call.value.shape[3]
            self._writing = _Writing(layer, call.module, call.output.data_ptr(), n_inputs, then)
        elif then is not None:
            then()

    def finish(self, projection: nn.Module | None = None) -> None:
        """Remember the projection of the last layer that attended."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        self._known[writing.layer] = projection
        if writing.then is not None:
            with torch.no_grad():
                writing.then()

    def forget(self) -> None:
        """Forget the layer that attended last."""
        self._writing = None

    def _on_linear(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        writing = self._writing
        if writing is None or not arguments or not isinstance(arguments[0], Tensor):
            return
        given = arguments[0]
        if given.data_ptr() == writing.address and given.shape[-1] == writing.n_inputs:
            own = any(one is module for one in writing.module.modules())
            self.finish(module if own and projects(module, writing.n_inputs) else None)
