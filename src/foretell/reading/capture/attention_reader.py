"""Attention calls of the present pass, turned into rows of the recording, layer by layer.

How calls are observed is no concern of this module.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foretell.errors import NotReadableError
from foretell.reading.capture.cache_order import CacheOrder
from foretell.reading.capture.decode_steps import DecodeSteps
from foretell.reading.capture.recording import Pass, Recording
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.signals.attention_mass import Quantities, RowReader, SegmentMass
from foretell.reading.signals.joined_layers import JoinedLayers

__all__ = ["AttentionReader"]

HeadFactors = Callable[[int, int], Tensor | None]
"""Gets a layer and its number of heads, returns what they write through (see `hooks.output_projection`)."""


class AttentionReader:
    """Reads the rows of one pass after the other.

    Args:
        recording: where rows go.
        blocks: the decoder's blocks.
        n_heads: heads of a layer whose weights come without an axis of their own; 0 if that is not known.
        chunk_bytes: bound for scores and masks held at a time.
        quantities: what is read beside masses.
        head_factors: what the heads of a layer write through; None where contributions are not read.
        layers: those that are read.
    """

    def __init__(
        self,
        recording: Recording,
        blocks: Sequence[nn.Module],
        *,
        n_heads: int,
        chunk_bytes: int,
        quantities: Quantities,
        head_factors: HeadFactors | None,
        layers: Collection[int],
    ) -> None:
        self._recording, self._layers = recording, layers
        self._layer_of = {id(module): layer for layer, block in enumerate(blocks) for module in block.modules()}
        self._n_heads = n_heads
        self._chunk_bytes = chunk_bytes
        self._quantities = quantities
        self._head_factors = head_factors
        self._pass: Pass | None = None
        self._reader: _PassReader | None = None
        self._steps: DecodeSteps | None = None
        self._last_query: tuple[int, weakref.ref[Tensor], weakref.ref[Tensor]] | None = None
        self.order = CacheOrder()

    def begin(self, current: Pass | None, steps: DecodeSteps | None = None) -> None:
        """Start a pass; without rows nothing of it is read.

        Args:
            current: where its rows go; None reads nothing until the next pass.
            steps: where calls may be held if the pass is a decode step.
        """
        self._pass, self._steps, self._last_query = current, steps, None
        self._reader = self._reader_of(current) if current is not None and current.has_rows else None

    def end(self) -> None:
        """Read what is held of the pass."""
        if self._reader is not None:
            self._reader.end()

    def _reader_of(self, current: Pass) -> _PassReader:
        return _PassReader(self._recording, current, self._chunk_bytes, self._quantities, self._head_factors)

    def on_interface(self, call: AttentionCall) -> None:
        """Read a call that came through the attention interface."""
        layer = self._layer_of.get(id(call.module))
        if layer is not None:
            self.on_kernel(layer, call)

    def on_kernel(self, layer: int, call: AttentionCall) -> None:
        """Read one call of scaled dot-product attention, or hold it with later steps.

        A second call with the very same queries and keys (differential attention mixes two halves of the values)
        has the same weights, so it says nothing new of where the heads look.
        """
        current = self._pass
        if current is None or call.query.shape[2] != current.width:
            return
        self.order.observe(layer, call.key)
        if self._reader is None or layer not in self._layers:
            return
        last = self._last_query
        if last is not None and last[0] == layer and last[1]() is call.query and last[2]() is call.key:
            return
        self._last_query = (layer, weakref.ref(call.query), weakref.ref(call.key))
        self._refuse_second(layer, current)
        current.layers.add(layer)
        if self._steps is None or not self._steps.defer(layer, call):
            self._reader.read(layer, call)

    def on_weights(self, layer: int, weights: Tensor) -> None:
        """Read the result of a softmax inside a block, if it is one of attention."""
        current, reader = self._pass, self._reader
        if reader is None or current is None or layer not in self._layers:
            return
        n_samples = self._recording.n_samples
        if weights.ndim == 3 and self._n_heads and weights.shape[0] == n_samples * self._n_heads:
            weights = weights.reshape(n_samples, self._n_heads, *weights.shape[1:])
        if weights.ndim != 4 or weights.shape[0] != n_samples or weights.shape[2] != current.width:
            return
        if weights.shape[3] >= min(current.width, 2):
            self._refuse_second(layer, current)
            current.layers.add(layer)
            reader.read_weights(layer, weights)

    def read_steps(self, steps: DecodeSteps, read_hidden: Callable[[Pass, Mapping[int, Tensor]], None]) -> None:
        """Read the decode steps that are held.

        Args:
            steps: the steps.
            read_hidden: called with the hidden states that are held, by layer.
        """
        for group in steps.groups():
            reader = self._reader_of(group.current)
            for layer, call in group.calls.items():
                reader.read(layer, call)
            reader.end()
            read_hidden(group.current, group.hidden)

    def _refuse_second(self, layer: int, current: Pass) -> None:
        if layer in current.layers:
            raise NotReadableError(f"{self._recording.model_name}: block {layer} calls attention more than once")


class _PassReader:
    """Reads the attention of one pass, the layers of a short one several at a time."""

    def __init__(
        self,
        recording: Recording,
        current: Pass,
        chunk_bytes: int,
        quantities: Quantities,
        head_factors: HeadFactors | None,
    ) -> None:
        self._recording = recording
        self._pass = current
        self._head_factors = head_factors
        codes = torch.from_numpy(recording.codes(current.end))
        self._reader = RowReader(codes, current.query_rows, chunk_bytes=chunk_bytes, quantities=quantities)
        self._joined = JoinedLayers()

    def read(self, layer: int, call: AttentionCall) -> None:
        """Read a call, or hold it until it is read with those of the next layers."""
        factors = None
        if self._head_factors is not None:
            factors = self._head_factors(layer, call.query.shape[1])
            if factors is not None:
                self._recording.projected.add(layer)
        if not self._joined.takes(layer, call, factors):
            self.end()
            self._joined.takes(layer, call, factors)
        if self._joined.is_full:
            self.end()

    def read_weights(self, layer: int, weights: Float[Tensor, "sample head query key"]) -> None:
        """Read whole attention weights."""
        self._write([layer], self._reader.of_weights(weights))

    def end(self) -> None:
        """Read what is held."""
        joined = self._joined
        if joined.layers:
            self._write(joined.layers, self._reader.of_calls(joined.calls, joined.factors))
            joined.clear()

    def _write(self, layers: Sequence[int], found: SegmentMass) -> None:
        values = {"mass": found.mass, "lift": found.lift, "lookback": found.lookback[..., None]}
        if found.entropy is not None:
            values["entropy"] = found.entropy[..., None]
        if found.contribution is not None:
            values["contribution"] = found.contribution
        if found.previous_token is not None:
            values["previous_token"] = found.previous_token[..., None]
        by_layer = {name: torch.unflatten(rows, 1, (len(layers), -1)) for name, rows in values.items()}
        self._recording.write(self._pass, layers, by_layer)
        self._recording.note_padding(self._pass, torch.unflatten(found.padding, 1, (len(layers), -1)))
