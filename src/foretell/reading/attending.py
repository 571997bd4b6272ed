"""Attention calls of one forward pass, turned into what its rows say, layer by layer.

It is told where a pass stands, and knows nothing of how calls are observed.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foretell.errors import NotReadableError
from foretell.reading.attention import AttentionCall
from foretell.reading.recording import Pass, Recording, Tally
from foretell.reading.rows import RowReading, Rows
from foretell.reading.weighing import projects, shares_of, written_norms

__all__ = ["Attending"]


@dataclass(frozen=True)
class _Writing:
    """What a layer's heads are about to write: its parts wait for the projection that takes the attention's output."""

    layer: int
    module: nn.Module
    parts: Tensor
    address: int | None
    n_inputs: int


class Attending:
    """Reads attention for a `Listener`.

    Args:
        recording: where readings go.
        blocks: the decoder's blocks.
        n_heads: heads of a layer whose weights come without an axis of their own; 0 if that is not known.
    """

    def __init__(self, recording: Recording, blocks: Sequence[nn.Module], *, n_heads: int) -> None:
        self._recording = recording
        self._layer_of = {id(module): layer for layer, block in enumerate(blocks) for module in block.modules()}
        self._n_heads = n_heads
        self._pass: Pass | None = None
        self._rows: Rows | None = None
        self._last_query: tuple[int, weakref.ref[Tensor], weakref.ref[Tensor]] | None = None
        self._writing: _Writing | None = None
        self._share: tuple[Tensor, Tensor] | None = None

    def begin(self, current: Pass | None, rows: Rows | None) -> None:
        """Start a pass; without rows nothing of it is read."""
        self._pass, self._rows = current, rows
        self._last_query = self._writing = self._share = None

    def end(self) -> None:
        """Finish what the last layer left open."""
        self._finish_writing(None)

    def on_attention(self, call: AttentionCall) -> None:
        """Read the pass's rows in one attention call that came through the interface."""
        layer = self._layer_of.get(id(call.module))
        if layer is not None:
            self.on_kernel(layer, call)

    def on_kernel(self, layer: int, call: AttentionCall) -> None:
        """Read the pass's rows in one call of scaled dot-product attention.

        A second call with the very same queries and keys (differential attention mixes two halves of the values)
        has the same weights, so it says nothing new of where the heads look.
        """
        if self._rows is None or self._pass is None or call.query.shape[2] != self._pass.width:
            return
        last = self._last_query
        if last is not None and last[0] == layer and last[1]() is call.query and last[2]() is call.key:
            return
        self._last_query = (layer, weakref.ref(call.query), weakref.ref(call.key))
        with torch.no_grad():
            reading = self._rows.read(call)
            self._keep(layer, reading)
            if reading.parts is not None:
                address = None if call.output is None else call.output.data_ptr()
                n_inputs = reading.parts.shape[1] * reading.parts.shape[4]
                self._writing = _Writing(layer, call.module, reading.parts, address, n_inputs)

    def on_weights(self, layer: int, weights: Tensor) -> None:
        """Read the pass's rows in the result of a softmax inside a block, if it is one of attention."""
        if self._rows is None or self._pass is None:
            return
        n_samples = len(self._recording.segments)
        if weights.ndim == 3 and self._n_heads and weights.shape[0] == n_samples * self._n_heads:
            weights = weights.reshape(n_samples, self._n_heads, *weights.shape[1:])
        if weights.ndim != 4 or weights.shape[0] != n_samples or weights.shape[2] != self._pass.width:
            return
        if weights.shape[3] >= min(self._pass.width, 2):
            with torch.no_grad():
                self._keep(layer, self._rows.read_weights(weights))

    def _keep(self, layer: int, reading: RowReading) -> None:
        current = self._pass
        if current is None:
            return
        if layer in current.readings.get("mass", {}):
            raise NotReadableError(f"{self._recording.model_name}: block {layer} calls attention more than once")
        self._finish_writing(None)
        self._store("mass", layer, reading.mass)
        share = reading.share[:, None]
        if current.bins is None:
            # Layers with the same mask have the same shares; they are kept once.
            if self._share is None or self._share[0] is not reading.share:
                self._share = (reading.share, self._recording.shelf.keep(share))
            current.readings.setdefault("share", {})[layer] = self._share[1]
        else:
            self._store("lift", layer, torch.where(share > 0, reading.mass / share, torch.nan))
        if reading.entropy is not None:
            self._store("entropy", layer, reading.entropy[..., None])

    def _store(self, quantity: str, layer: int, values: Tensor) -> None:
        current = self._pass
        if current is None:
            return
        keep = self._recording.shelf.keep
        kept: Tensor | Tally
        if current.bins is None:
            kept = keep(values)
        else:
            tally = Tally.of(values, current.bins)
            kept = Tally(total=keep(tally.total), number=keep(tally.number))
        current.readings.setdefault(quantity, {})[layer] = kept

    def on_linear(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Notice the linear map that takes the attention's very output: it writes the heads' parts."""
        writing = self._writing
        if writing is None or writing.address is None or not arguments or not isinstance(arguments[0], Tensor):
            return
        given = arguments[0]
        if given.data_ptr() == writing.address and given.shape[-1] == writing.n_inputs:
            own = any(one is module for one in writing.module.modules())
            self._finish_writing(module if own and projects(module, writing.n_inputs) else None)

    def _finish_writing(self, projection: nn.Module | None) -> None:
        """Turn the parts of the last layer that attended into contributions."""
        writing, current = self._writing, self._pass
        self._writing = None
        if writing is not None and current is not None:
            with torch.no_grad():
                self._store("contribution", writing.layer, shares_of(written_norms(writing.parts, projection)))
            if projection is not None:
                self._recording.projected.add(writing.layer)
