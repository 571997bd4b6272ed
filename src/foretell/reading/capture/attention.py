"""Attention calls of one forward pass, turned into what its rows say, layer by layer.

It is told where a pass stands, and knows nothing of how calls are observed.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foretell.errors import NotReadableError
from foretell.reading.capture.decode_steps import Steps
from foretell.reading.capture.keeping import Keeping
from foretell.reading.capture.recording import Pass, Recording
from foretell.reading.capture.waiting import Asked, Waiting
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.hooks.output_projection import OutputProjections
from foretell.reading.hooks.residual_stream import modules_in
from foretell.reading.signals.attention_mass import RowReading, Rows, Wanted
from foretell.reading.signals.contribution import shares_of, written_norms
from foretell.reading.signals.plain import Plain
from foretell.reading.signals.questions import Question

__all__ = ["Attending"]

_WAITING_BYTES = 16 << 20
"""Queries, keys and values of layers that wait for each other without an accelerator."""


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
        self._layer_of = {id(module): layer for layer, block in enumerate(blocks) for module in modules_in(block)}
        self._n_heads = n_heads
        self._chunk_bytes = chunk_bytes
        self._wanted = wanted
        self._plain = Plain(most_bytes=chunk_bytes, entropy=wanted.entropy)
        self._keeping = Keeping(recording.shelf)
        self._waiting = Waiting(most_bytes=_WAITING_BYTES)
        self._pass: Pass | None = None
        self._rows: Rows | None = None
        self._steps: Steps | None = None
        self._last_query: tuple[int, weakref.ref[Tensor], weakref.ref[Tensor]] | None = None
        self._projections = OutputProjections(watching=wanted.contribution)

    def begin(self, current: Pass | None, query_rows: Tensor | None, steps: Steps | None = None) -> None:
        """Start a pass; without rows nothing of it is read.

        Args:
            current: where its readings go.
            query_rows: `(sample, row)` query positions within the pass.
            steps: where calls may wait if the pass is a decoding step.
        """
        self.settle()
        self._pass, self._rows, self._steps = current, None, steps
        self._last_query = None
        self._keeping.begin()
        if current is not None and query_rows is not None and query_rows.shape[1]:
            self._rows = self._rows_of(query_rows, current.start + current.width)

    def _rows_of(self, query_rows: Tensor, n_columns: int) -> Rows:
        codes = torch.from_numpy(self._recording.codes(n_columns))
        return Rows(
            codes,
            query_rows,
            chunk_bytes=self._chunk_bytes,
            wanted=self._wanted,
            plain=self._plain,
            shelf=self._recording.shelf,
        )

    def end(self) -> None:
        """Finish what the pass left open."""
        self.settle()
        self._projections.end()

    def settle(self) -> None:
        """Read and add up what waits."""
        self._projections.finish()
        self._answer()
        self._keeping.settle()

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._projections.forget()
        self._keeping.clear()

    def close(self) -> None:
        """Read nothing more."""
        self.begin(None, None)
        self._plain.close()

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
            self._projections.expect(layer, call)
            return
        question = rows.question(call)
        if question is None:
            with torch.no_grad():
                self._expect(layer, current, rows.read(call), call)
            return
        # What the layer before waited for must not answer this one, whose projection is still to come.
        self._projections.finish()
        current.layers.add(layer)
        self._wait(layer, current, rows, question)
        self._projections.expect(layer, call, self._answer if self._waiting.is_full else None)

    def _wait(self, layer: int, current: Pass, rows: Rows, question: Question) -> None:
        """Let a layer's question wait for others, which are answered first if there is no room for it."""
        if not self._waiting.push(layer, current, rows, question):
            self._answer()
            self._waiting.push(layer, current, rows, question)

    def _answer(self) -> None:
        """Answer the questions that wait."""
        with torch.no_grad():
            for asked in self._waiting.pop():
                factor = None if asked.question.value is None else self._factor(asked)
                self._keeping.keep(asked.layers, asked.current, asked.rows.answer(asked.question, factor))

    def _factor(self, asked: Asked) -> Tensor | None:
        """Return what the heads of each layer write through; None if that is known of none."""
        value = asked.question.value
        found = [self._projecting(layer, asked.question.query.shape[1]) for layer in asked.layers]
        known = [factor for factor in found if factor is not None]
        if not known or value is None:
            return None
        if len(found) == 1:
            return known[0][None]
        # Where nothing is known of one, what its heads return is measured itself.
        same = torch.eye(value.shape[3], device=value.device).expand_as(known[0])
        return torch.stack([same if factor is None else factor for factor in found])

    def _projecting(self, layer: int, n_heads: int) -> Tensor | None:
        factor = self._projections.factor(layer, n_heads)
        if factor is not None:
            self._recording.projected.add(layer)
        return factor

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
                self._keeping.keep([layer], current, rows.read_weights(weights))

    def read_steps(self, steps: Steps) -> None:
        """Read the calls of decoding steps that waited."""
        for chosen, calls in steps.calls():
            current = steps.as_pass(chosen)
            self._recording.passes.append(current)
            query_rows = torch.arange(len(chosen)).expand(len(current.columns), -1)
            rows = self._rows_of(query_rows, current.start + current.width)
            with torch.no_grad():
                for layer, call in calls.items():
                    question = rows.question(call)
                    if question is None:
                        self._expect(layer, current, rows.read(call), call)
                    else:
                        self._wait(layer, current, rows, question)
            self._answer()

    def _refuse_second(self, layer: int, current: Pass) -> None:
        if (self._steps is not None and self._steps.has(layer)) or layer in current.layers:
            raise NotReadableError(f"{self._recording.model_name}: block {layer} calls attention more than once")

    def _expect(self, layer: int, current: Pass, reading: RowReading, call: AttentionCall) -> None:
        """Keep what rows say, and what segments write as soon as it is known through what."""
        self._keeping.keep([layer], current, reading)
        if reading.parts is not None:
            write = functools.partial(self._write, layer, current, reading.parts, reading.share)
            self._projections.expect(layer, call, write)

    def _write(self, layer: int, current: Pass, parts: Tensor, share: Tensor) -> None:
        factor = self._projecting(layer, parts.shape[2])
        norms = written_norms(parts, None if factor is None else factor[None])
        self._keeping.store([layer], current, {"contribution": shares_of(norms).movedim(0, -1)}, share)
