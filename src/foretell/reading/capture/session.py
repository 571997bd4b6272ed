"""The ear itself: turns hook calls of forward passes into what `Heard` speaks of.

It follows where each pass stands in its sequences (prompt, decoding step, whole text) from the model's own
arguments, and knows nothing of how hooks are attached.

    listener = Listener(model, recording, blocks, logprob=True, chunk_bytes=64 << 20)
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.attention import Attending
from foretell.reading.capture.decode_steps import Steps
from foretell.reading.capture.recording import GENERATED, Pass, Recording
from foretell.reading.capture.results import Heard
from foretell.reading.models.load import device_of
from foretell.reading.signals.activity import Projecting
from foretell.reading.signals.attention_mass import Wanted
from foretell.reading.signals.masks import span_of
from foretell.reading.signals.token_scores import Scoring

__all__ = ["Listener"]

_SHARE_OF_WAITING = 4
"""What waits of decoding steps may take one part in so many of a chunk."""


class Listener:
    """Follows the passes of one model; see `listening.listen`."""

    def __init__(
        self,
        model: PreTrainedModel,
        recording: Recording,
        blocks: Sequence[nn.Module],
        *,
        projecting: Projecting | None,
        logprob: bool,
        chunk_bytes: int,
        wanted: Wanted,
    ) -> None:
        self.heard = Heard(recording, finish=self._finish, settle=self.settle)
        self._model = model
        self._recording = recording
        n_heads = getattr(model.config.get_text_config(decoder=True), "num_attention_heads", None)
        self.attending = Attending(
            recording,
            blocks,
            n_heads=n_heads if isinstance(n_heads, int) else 0,
            chunk_bytes=chunk_bytes,
            wanted=wanted,
        )
        self._projecting = projecting
        self._scoring = Scoring(entropy=wanted.entropy, chunk_bytes=chunk_bytes) if logprob else None
        self._chunk_bytes = chunk_bytes
        self._thread = threading.get_ident()
        self._open = True
        self._arguments: dict[str, Any] = {}
        self._token_ids: Tensor | None = None
        self._pass: Pass | None = None
        self._has_rows = False
        self._steps = Steps(most_bytes=chunk_bytes // _SHARE_OF_WAITING)
        self._is_step = False
        self._query_rows: dict[torch.device, Tensor] = {}
        self._span: slice | None = None
        self._whole_ids: Tensor | None = None
        self._finishing = False

    def close(self) -> None:
        """Let go of the model's cache and last logits; nothing more can be fed."""
        self._open = False
        self._arguments, self._token_ids, self._whole_ids, self._scoring = {}, None, None, None
        self._has_rows = self._is_step = False
        self._forget_waiting()
        self.attending.close()

    def settle(self) -> None:
        """Read what waited of decoding steps and of the last pass."""
        if len(self._steps):
            steps = self._steps
            self._steps = Steps(most_bytes=self._chunk_bytes // _SHARE_OF_WAITING, after=steps)
            self.attending.read_steps(steps)
            for chosen, hidden in steps.hidden():
                current = steps.as_pass(chosen)
                self._recording.passes.append(current)
                for layer, states in hidden.items():
                    self._project(current, layer, states)
        self.attending.settle()
        if self._projecting is not None:
            self._projecting.settle()

    def _project(self, current: Pass, layer: int, hidden: Tensor) -> None:
        if self._projecting is not None:
            self._projecting.add(current, layer, hidden)

    def refuse_tallying(self) -> None:
        """Say that generating needs rows, because only afterwards it is known which ones count."""
        if self._recording.tallied:
            raise InputError("generate: its rows must be kept; listen with rows=True")

    def before_model(self, _module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Remember what the whole model is asked."""
        if threading.get_ident() != self._thread:
            raise InputError("this model is being listened to in another thread")
        self._arguments = _bound(self._model, arguments, options)
        self._token_ids = self._arguments.get("input_ids")

    def before_decoder(self, module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Start a pass: find out which tokens it is given, and which of them are rows."""
        bound = _bound(module, arguments, options)
        given = next((bound[name] for name in ("input_ids", "inputs_embeds") if bound.get(name) is not None), None)
        if given is None:
            raise NotReadableError(f"{type(module).__name__}: it is given neither token ids nor embeddings")
        if bound.get("encoder_hidden_states") is not None:
            raise NotReadableError(
                f"{type(module).__name__}: it attends to an encoder's states, and that is not read; "
                "only a decoder's attention to its own tokens is"
            )
        n_samples, width = given.shape[:2]
        if n_samples != len(self._recording.segments):
            raise InputError(f"segments are for {len(self._recording.segments)} samples, and the model got {n_samples}")
        cache = bound.get("past_key_values")
        start = int(cache.get_seq_length()) if cache is not None else 0
        if self._token_ids is None and bound.get("input_ids") is not None:
            self._token_ids = bound["input_ids"]
        self._begin(start, width)

    def _begin(self, start: int, width: int) -> None:
        seen = self._recording.n_columns
        again = start == 0 and self._continues(seen, width)
        if start == 0 and not again:
            self._recording.passes.clear()
            self._recording.kept = None
            self._forget_waiting()
            if self._scoring is not None:
                self._scoring.forget()
        self._whole_ids = self._token_ids if start == 0 else None
        self.heard.forget()
        codes = self._recording.codes(start + width)
        is_row = codes[:, start:] == GENERATED
        if again:
            is_row[:, :seen] = False
        columns, rows = _rows_of(is_row, start)
        self._has_rows = rows.shape[1] > 0
        self._is_step = self._has_rows and width == 1 and start > 0 and not self._recording.tallied
        if not (self._is_step and self._steps.goes_on(start)):
            self.settle()
        self._pass = Pass(start=start, width=width, columns=torch.from_numpy(columns))
        self._recording.passes.append(self._pass)
        if self._is_step:
            self._steps.begin(start, self._pass.columns)
        query_rows = torch.from_numpy(rows)
        self._query_rows = {torch.device("cpu"): query_rows}
        self._span = span_of(query_rows)
        if self._has_rows:
            if self._recording.tallied:
                self._pass.bins = self._recording.bins(self._pass.columns)
            if self._scoring is not None and self._token_ids is not None:
                self._scoring.begin(self._pass, self._token_ids)
        self.attending.begin(self._pass, query_rows, self._steps if self._is_step else None)

    def _forget_waiting(self) -> None:
        self._steps.clear()
        self.attending.clear()
        if self._projecting is not None:
            self._projecting.clear()

    def _continues(self, seen: int, width: int) -> bool:
        """Tell whether a pass without a cache repeats the text of the one before and adds to it."""
        before, now = self._whole_ids, self._token_ids
        if before is None or now is None or not self._recording.segments.shape[1] <= seen < width:
            return self._finishing
        return bool(torch.equal(now[:, :seen], before[:, :seen].to(now.device)))

    def on_residual(self, layer: int, hidden: Tensor) -> None:
        """Project the pass's rows of one block's output, or let them wait with later steps."""
        if not self._has_rows or self._pass is None:
            return
        if self._is_step and hidden.shape[1] == 1:
            self._steps.keep_hidden(layer, hidden)
            return
        # Of what is detached no gradient is asked, and that costs less than a context in which none is.
        hidden = hidden.detach()
        if self._span is not None:
            rows = hidden[:, self._span]
        else:
            samples = torch.arange(len(hidden), device=hidden.device)[:, None]
            rows = hidden[samples, self._rows_on(hidden.device)]
        self._project(self._pass, layer, rows)

    def after_model(self, _module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
        """Read the log-probabilities of this pass's tokens, and keep the logits of the next one."""
        self.attending.end()
        logits = getattr(output, "logits", None)
        if self._scoring is not None and self._pass is not None and isinstance(logits, Tensor) and logits.ndim == 3:
            self._scoring.end(self._pass, logits, self._token_ids, self._query_rows[torch.device("cpu")])

    def _rows_on(self, device: torch.device) -> Tensor:
        if device not in self._query_rows:
            self._query_rows[device] = self._query_rows[torch.device("cpu")].to(device)
        return self._query_rows[device]

    def _finish(self, token_ids: Tensor) -> None:
        """Feed the last tokens of `token_ids` that no pass has seen."""
        seen = self._recording.n_columns
        if token_ids.shape[1] <= seen:
            return
        if not self._open:
            raise InputError("finish: the block of listen has been left; finish inside it")
        mask = torch.from_numpy(self._recording.codes(token_ids.shape[1]) >= 0).long().to(token_ids.device)
        arguments = _rest(token_ids, mask, seen, self._arguments)
        self._finishing = True
        inference = self._scoring is not None and self._scoring.inferring
        try:
            with torch.inference_mode() if inference else torch.no_grad():
                self._model(**{name: _moved(value, device_of(self._model)) for name, value in arguments.items()})
        finally:
            self._finishing = False


def _bound(module: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `module` is called with, by name."""
    if not arguments:
        return dict(options)
    bound = dict(inspect.signature(module.forward).bind_partial(*arguments, **options).arguments)
    named = bound.pop("kwargs", {})
    return {**bound, **named}


def _rows_of(generated: np.ndarray, start: int) -> tuple[Int[np.ndarray, "sample row"], Int[np.ndarray, "sample row"]]:
    """Return columns (-1 where a sample has fewer rows) and query positions of the generated tokens of a pass.

    A sample's missing rows repeat its first one, so that every row can be computed; they are never used.
    """
    n_rows = int(generated.sum(1).max(initial=0))
    columns = np.full((len(generated), n_rows), -1, dtype=np.int64)
    rows = np.zeros((len(generated), n_rows), dtype=np.int64)
    for sample, chosen in enumerate(generated):
        places = np.flatnonzero(chosen)
        columns[sample, : len(places)] = places + start
        rows[sample, : len(places)] = places
        if len(places):
            rows[sample, len(places) :] = places[0]
    return columns, rows


def _rest(token_ids: Tensor, mask: Tensor, seen: int, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments that feed what comes after the first `seen` tokens, as the pass `before` was fed."""
    cache = before.get("past_key_values")
    # A cache of fixed size has no room for a token more: the whole text is fed once instead.
    first = 0 if cache is None or cache.is_compileable else seen
    arguments: dict[str, Any] = {"input_ids": token_ids[:, first:], "attention_mask": mask, "use_cache": bool(first)}
    if "position_ids" in before:
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)[:, first:]
    if first:
        arguments["past_key_values"] = cache
    return arguments


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
