"""Attention calls of one forward pass, turned into what its rows say, layer by layer.

It is told where a pass stands, and knows nothing of how calls are observed.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from foretell.errors import NotReadableError
from foretell.reading.attention import AttentionCall
from foretell.reading.output_projections import OutputProjections
from foretell.reading.plain import Plain, Question
from foretell.reading.recording import Pass, Recording
from foretell.reading.residual import modules_in
from foretell.reading.rows import RowReading, Rows, Wanted
from foretell.reading.steps import Steps
from foretell.reading.tallies import Tallies
from foretell.reading.weighing import shares_of, written_norms

__all__ = ["Attending"]

_WAITING_BYTES = 16 << 20
"""Queries, keys and values of layers that wait for each other without an accelerator: the first of them pays for
bringing the code and the indicators into the cache."""
_LITTLE_BYTES = 1 << 20
"""Of one layer; those with more do so much at a time that they wait for a quarter of that."""
_TALLIED_BYTES = 2 << 20


_Asked: TypeAlias = tuple[int, Pass, Rows, Question]
"""A question, with the layer and the pass that it is of and the rows that will answer it."""


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
        self._tallies = Tallies(recording.shelf, most_bytes=_TALLIED_BYTES)
        self._questions: list[_Asked] = []
        self._n_bytes = 0
        self._pass: Pass | None = None
        self._rows: Rows | None = None
        self._steps: Steps | None = None
        self._last_query: tuple[int, weakref.ref[Tensor], weakref.ref[Tensor]] | None = None
        self.projections = OutputProjections(blocks)
        self._share: tuple[Tensor, Tensor] | None = None

    def begin(self, current: Pass | None, query_rows: Tensor | None, steps: Steps | None = None) -> None:
        """Start a pass; without rows nothing of it is read.

        Args:
            current: where its readings go.
            query_rows: `(sample, row)` query positions within the pass.
            steps: where calls may wait if the pass is a decoding step.
        """
        self.settle()
        self._pass, self._rows, self._steps = current, None, steps
        self._last_query = self._share = None
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
        self.projections.end()

    def settle(self) -> None:
        """Read and add up what waits."""
        self.projections.finish()
        self._answer()
        self._tallies.settle()

    def clear(self) -> None:
        """Forget what waits."""
        self._questions, self._n_bytes = [], 0
        self.projections.forget()
        self._tallies.clear()

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
            self.projections.expect(layer, call)
            return
        with torch.no_grad():
            question = rows.question(call)
            if question is None:
                self._keep(layer, current, call, rows.read(call))
            else:
                self._ask(layer, current, rows, question, call)

    def _ask(self, layer: int, current: Pass, rows: Rows, question: Question, call: AttentionCall) -> None:
        """Let a layer's question wait for others; one so large that no other has room beside it waits for nothing.

        Only what its heads write through, which is seen a little later than its attention, has to be waited for.
        """
        n_bytes = question.n_bytes
        most = _most_waiting(n_bytes) if question.query.device.type == "cpu" else 0
        # What the layer before waited for must not answer this one, whose projection is still to come.
        self.projections.finish()
        if self._n_bytes + n_bytes > most:
            self._answer()
        current.layers.add(layer)
        self._questions.append((layer, current, rows, question))
        self._n_bytes += n_bytes
        self.projections.expect(layer, call, self._answer if 2 * n_bytes > most else None)

    def _answer(self) -> None:
        """Answer the questions that wait; small ones of the same kind together."""
        questions, self._questions, self._n_bytes = self._questions, [], 0
        with torch.no_grad():
            for _, same in itertools.groupby(questions, key=_kind_of):
                asked = list(same)
                layer, current, rows, question = asked[0]
                factor = None if question.value is None else self._projecting(layer, question.query.shape[1])
                readings = rows.answer([one for *_, one in asked], factor)
                for (layer, *_), reading in zip(asked, readings, strict=True):
                    self._keep(layer, current, None, reading)

    def _projecting(self, layer: int, n_heads: int) -> Tensor | None:
        factor = self.projections.factor(layer, n_heads)
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
                self._keep(layer, current, None, rows.read_weights(weights))

    def read_steps(self, steps: Steps) -> None:
        """Read the calls of decoding steps that waited."""
        for chosen, calls in steps.calls():
            columns = steps.columns_of(chosen)
            current = Pass(start=steps.start + chosen[0], width=chosen[-1] + 1 - chosen[0], columns=columns)
            self._recording.passes.append(current)
            query_rows = torch.arange(len(chosen)).expand(len(columns), -1)
            rows = self._rows_of(query_rows, current.start + current.width)
            with torch.no_grad():
                for layer, call in calls.items():
                    question = rows.question(call)
                    if question is None:
                        self._keep(layer, current, call, rows.read(call))
                    else:
                        self._questions.append((layer, current, rows, question))
            self._answer()

    def _refuse_second(self, layer: int, current: Pass) -> None:
        if (self._steps is not None and self._steps.has(layer)) or layer in current.layers:
            raise NotReadableError(f"{self._recording.model_name}: block {layer} calls attention more than once")

    def _keep(self, layer: int, current: Pass, call: AttentionCall | None, reading: RowReading) -> None:
        current.layers.add(layer)
        read = {"mass": reading.mass}
        if reading.entropy is not None:
            read["entropy"] = reading.entropy[..., None]
        if reading.contribution is not None:
            read["contribution"] = reading.contribution
        if current.bins is None:
            # Layers with the same mask have the same shares; they are kept once.
            if self._share is None or self._share[0] is not reading.share:
                self._share = (reading.share, self._recording.shelf.keep(reading.share[:, None]))
            current.readings.setdefault("share", {})[layer] = self._share[1]
        self._store(current, layer, read, reading.share)
        if reading.parts is not None and call is not None:
            write = functools.partial(self._write, layer, current, reading.parts, reading.share)
            self.projections.expect(layer, call, write)

    def _write(self, layer: int, current: Pass, parts: Tensor, share: Tensor) -> None:
        norms = written_norms(parts, self._projecting(layer, parts.shape[2]))
        self._store(current, layer, {"contribution": shares_of(norms.movedim(1, -1))}, share)

    def _store(self, current: Pass, layer: int, read: dict[str, Tensor], share: Tensor) -> None:
        """Keep quantities, or, where rows are added up, let them wait for that."""
        if current.bins is not None:
            self._tallies.add(current, layer, read, share)
            return
        for quantity, values in read.items():
            current.readings.setdefault(quantity, {})[layer] = self._recording.shelf.keep(values)


def _most_waiting(n_bytes: int) -> int:
    """Return how much may wait beside a layer of so many bytes."""
    return _WAITING_BYTES if n_bytes <= _LITTLE_BYTES else _WAITING_BYTES // 4


def _kind_of(asked: _Asked) -> tuple[object, ...]:
    layer, current, _, question = asked
    return (id(current), question.kind or layer)
