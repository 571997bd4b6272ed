"""The linear map that each layer's heads write through, recognised by what it is given.

It is the one whose input is the very tensor that attention returned. If something stands in between (a gate, a norm
over heads), there is none.

    projections = OutputProjections(watching=True)
    projections.expect(layer, call)
    projections.factor(layer, n_heads)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.signals.contribution import factor_of, projects

__all__ = ["OutputProjections"]

Then = Callable[[], None]


@dataclass(frozen=True)
class _Writing:
    """What a layer's heads are about to write."""

    layer: int
    address: int
    n_inputs: int
    then: Then | None


class OutputProjections:
    """Finds the projection of each layer.

    Args:
        watching: whether linear maps of attention modules are watched for the one that takes the attention's output.
    """

    def __init__(self, *, watching: bool) -> None:
        self._is_watching = watching
        self._writing: _Writing | None = None
        self._known: dict[int, nn.Module | None] = {}
        self._watched: list[RemovableHandle] = []

    def end(self) -> None:
        """Finish a pass; where every projection is known, linear maps are no longer watched."""
        self.finish()
        self._is_watching &= not self._known

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
        if self._is_watching and layer not in self._known and call.output is not None:
            n_inputs = call.query.shape[1] * call.value.shape[3]
            self._writing = _Writing(layer, call.output.data_ptr(), n_inputs, then)
            linear = (one for one in call.module.modules() if isinstance(one, (nn.Linear, Conv1D)))
            self._watched = [one.register_forward_pre_hook(self._on_linear) for one in linear]
        elif then is not None:
            then()

    def finish(self, projection: nn.Module | None = None) -> None:
        """Remember the projection of the last layer that attended."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        self._let_go()
        self._known[writing.layer] = projection
        if writing.then is not None:
            with torch.no_grad():
                writing.then()

    def forget(self) -> None:
        """Forget the layer that attended last, and let go of its linear maps."""
        self._writing = None
        self._let_go()

    def _let_go(self) -> None:
        while self._watched:
            self._watched.pop().remove()

    def _on_linear(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        writing = self._writing
        if writing is None or not arguments or not isinstance(arguments[0], Tensor):
            return
        given = arguments[0]
        if given.data_ptr() == writing.address and given.shape[-1] == writing.n_inputs:
            self.finish(module if projects(module, writing.n_inputs) else None)
