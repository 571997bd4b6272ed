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
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from foretell.errors import NotReadableError
from foretell.reading.attention import AttentionCall
from foretell.reading.recording import Pass, Recording, Tally
from foretell.reading.rows import RowReading, Rows, Wanted
from foretell.reading.steps import Steps
from foretell.reading.weighing import projects, shares_of, written_norms

__all__ = ["Attending"]


@dataclass(frozen=True)
class _Writing:
    """What a layer's heads are about to write; the linear map that takes the attention's output is its projection."""

    layer: int
    module: nn.Module
    address: int
    n_inputs: int
    current: Pass
    parts: Tensor | None
    """Parts that wait for the projection; None where they are made later."""


class Attending:
    """Reads attention for a `Listener`.

    Args:
        recording: where readings go.
        blocks: the decoder's blocks.
        n_heads: heads of a layer whose weights come without an axis of their own; 0 if that is not known.
        chunk_bytes: bound for scores and masks held at a time.
        wanted: what is read beside masses.
    """

    def __init__(
        self, recording: Recording, blocks: Sequence[nn.Module], *, n_heads: int, chunk_bytes: int, wanted: Wanted
    ) -> None:
        self._recording = recording
        self._blocks = blocks
        self._layer_of = {id(module): layer for layer, block in enumerate(blocks) for module in block.modules()}
        self._n_heads = n_heads
        self._chunk_bytes = chunk_bytes
        self._wanted = wanted
        self._pass: Pass | None = None
        self._rows: Rows | None = None
        self._steps: Steps | None = None
        self._last_query: tuple[int, weakref.ref[Tensor], weakref.ref[Tensor]] | None = None
        self._writing: _Writing | None = None
        self._projections: dict[int, nn.Module | None] = {}
        self._watched: list[RemovableHandle] = []
        self._share: tuple[Tensor, Tensor] | None = None

    def begin(self, current: Pass | None, query_rows: Tensor | None, steps: Steps | None = None) -> None:
        """Start a pass; without rows nothing of it is read.

        Args:
            current: where its readings go.
            query_rows: `(sample, row)` query positions within the pass.
            steps: where calls may wait if the pass is a decoding step.
        """
        self._pass, self._rows, self._steps = current, None, steps
        self._last_query = self._writing = self._share = None
        if current is not None and query_rows is not None and query_rows.shape[1]:
            self._rows = self._rows_of(query_rows, current.start + current.width)

    def _rows_of(self, query_rows: Tensor, n_columns: int) -> Rows:
        codes = torch.from_numpy(self._recording.codes(n_columns))
        return Rows(codes, query_rows, chunk_bytes=self._chunk_bytes, wanted=self._wanted)

    def end(self) -> None:
        """Finish what the last layer left open; where every projection is known, linear maps are no longer watched."""
        self._finish_writing(None)
        if self._watched and self._projections:
            self.unwatch()

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

    def on_attention(self, call: AttentionCall) -> None:
        """Read the pass's rows in one attention call that came through the interface."""
        layer = self._layer_of.get(id(call.module))
        if layer is not None:
            self.on_kernel(layer, call)

    def on_kernel(self, layer: int, call: AttentionCall) -> None:
        """Read the pass's rows in one call of scaled dot-product attention, or let it wait with later steps.

        A second call with the very same queries and keys (differential attention mixes two halves of the values)
        has the same weights, so it says nothing new of where the heads look.
        """
        rows, current = self._rows, self._pass
        if rows is None or current is None or call.query.shape[2] != current.width:
            return
        last = self._last_query
        if last is not None and last[0] == layer and last[1]() is call.query and last[2]() is call.key:
            return
        self._last_query = (layer, weakref.ref(call.query), weakref.ref(call.key))
        self._refuse_second(layer, current)
        if self._steps is not None and self._steps.takes(layer, call):
            self._expect(layer, call, current, None)
            return
        with torch.no_grad():
            self._keep(layer, current, call, rows.read(call))

    def on_weights(self, layer: int, weights: Tensor) -> None:
        """Read the pass's rows in the result of a softmax inside a block, if it is one of attention."""
        rows, current = self._rows, self._pass
        if rows is None or current is None:
            return
        n_samples = len(self._recording.segments)
        if weights.ndim == 3 and self._n_heads and weights.shape[0] == n_samples * self._n_heads:
            weights = weights.reshape(n_samples, self._n_heads, *weights.shape[1:])
        if weights.ndim != 4 or weights.shape[0] != n_samples or weights.shape[2] != current.width:
            return
        if weights.shape[3] >= min(current.width, 2):
            self._refuse_second(layer, current)
            with torch.no_grad():
                self._keep(layer, current, None, rows.read_weights(weights))

    def settle(self, steps: Steps) -> None:
        """Read the calls that waited."""
        for chosen, calls in steps.calls():
            columns = steps.columns_of(chosen)
            current = Pass(start=steps.start + chosen[0], width=chosen[-1] + 1 - chosen[0], columns=columns)
            self._recording.passes.append(current)
            query_rows = torch.arange(len(chosen)).expand(len(columns), -1)
            rows = self._rows_of(query_rows, current.start + current.width)
            with torch.no_grad():
                for layer, call in calls.items():
                    self._keep(layer, current, call, rows.read(call))

    def _refuse_second(self, layer: int, current: Pass) -> None:
        waits = self._steps is not None and self._steps.has(layer)
        if waits or layer in current.readings.get("mass", {}):
            raise NotReadableError(f"{self._recording.model_name}: block {layer} calls attention more than once")

    def _keep(self, layer: int, current: Pass, call: AttentionCall | None, reading: RowReading) -> None:
        share = reading.share[:, None]
        read = {"mass": reading.mass}
        if current.bins is None:
            # Layers with the same mask have the same shares; they are kept once.
            if self._share is None or self._share[0] is not reading.share:
                self._share = (reading.share, self._recording.shelf.keep(share))
            current.readings.setdefault("share", {})[layer] = self._share[1]
        else:
            read["lift"] = torch.where(share > 0, reading.mass / share, torch.nan)
        if reading.entropy is not None:
            read["entropy"] = reading.entropy[..., None]
        self._store(current, layer, read)
        if reading.parts is None or call is None:
            return
        if layer in self._projections or call.output is None:
            self._write(current, layer, reading.parts, self._projections.get(layer))
        else:
            self._expect(layer, call, current, reading.parts)

    def _store(self, current: Pass, layer: int, read: dict[str, Tensor]) -> None:
        """Keep quantities, or, where rows are added up, their sums; those are made side by side."""
        keep = self._recording.shelf.keep
        kept: dict[str, Tensor | Tally] = {}
        if current.bins is None:
            kept.update((quantity, keep(values)) for quantity, values in read.items())
        else:
            tally = Tally.of(torch.cat(list(read.values()), dim=-1), current.bins)
            sizes = [values.shape[-1] for values in read.values()]
            parts = (torch.split(keep(whole), sizes, dim=-1) for whole in (tally.total, tally.number))
            kept.update((quantity, Tally(*part)) for quantity, *part in zip(read, *parts, strict=True))
        for quantity, one in kept.items():
            current.readings.setdefault(quantity, {})[layer] = one

    def _expect(self, layer: int, call: AttentionCall, current: Pass, parts: Tensor | None) -> None:
        """Look out for the projection that a layer's heads write through, unless it is known."""
        self._finish_writing(None)
        if self._wanted.contribution and layer not in self._projections and call.output is not None:
            n_inputs = call.query.shape[1] * call.value.shape[3]
            self._writing = _Writing(layer, call.module, call.output.data_ptr(), n_inputs, current, parts)

    def _on_linear(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Notice the linear map that takes the attention's very output: it writes the heads' parts."""
        writing = self._writing
        if writing is None or not arguments or not isinstance(arguments[0], Tensor):
            return
        given = arguments[0]
        if given.data_ptr() == writing.address and given.shape[-1] == writing.n_inputs:
            own = any(one is module for one in writing.module.modules())
            self._finish_writing(module if own and projects(module, writing.n_inputs) else None)

    def _finish_writing(self, projection: nn.Module | None) -> None:
        """Remember the projection of the last layer that attended, and turn its parts into contributions."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        self._projections[writing.layer] = projection
        if writing.parts is not None:
            with torch.no_grad():
                self._write(writing.current, writing.layer, writing.parts, projection)

    def _write(self, current: Pass, layer: int, parts: Tensor, projection: nn.Module | None) -> None:
        self._store(current, layer, {"contribution": shares_of(written_norms(parts, projection))})
        if projection is not None:
            self._recording.projected.add(layer)
