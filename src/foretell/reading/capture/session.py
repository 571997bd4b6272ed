"""Receives the hook calls of forward passes and records what each of them computed.

The place of each pass in its sequences (prompt, decode step, whole text) comes from the model's own arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from foretell.errors import InputError
from foretell.reading.capture.attention_reader import AttentionReader
from foretell.reading.capture.cache_order import MOVED
from foretell.reading.capture.decode_steps import DecodeSteps
from foretell.reading.capture.feeding import Call, next_call
from foretell.reading.capture.recording import Pass, Recording
from foretell.reading.capture.refused_calls import (
    Generation,
    own_tokens,
    refuse_other_samples,
    refuse_recomputing,
    refuse_second_text,
    refuse_transforms,
)
from foretell.reading.capture.results import Capture
from foretell.reading.capture.token_scores import TokenScores
from foretell.reading.hooks.scope import Scope
from foretell.reading.models.load import device_of
from foretell.reading.models.signatures import cache_argument, cache_of
from foretell.reading.signals.activity import Projection
from foretell.reading.signals.masks import QueryRows

__all__ = ["Session"]

_SHARE_OF_HELD_STEPS = 4
"""What is held of decode steps may take one part in so many of a chunk, beside the scores that are made of it."""


class Session:
    """Follows the passes of one model; see `listen.listen`."""

    def __init__(
        self,
        model: PreTrainedModel,
        recording: Recording,
        reader: AttentionReader,
        *,
        projection: Projection | None,
        scores: TokenScores | None,
        chunk_bytes: int,
    ) -> None:
        self.capture = Capture(recording, self)
        self.scope = Scope()
        self.reader = reader
        self.model = model
        self.generation: Generation | None = None
        self._recording = recording
        self._activity = None if projection is None else _ActivityRows(recording, projection)
        self._scores = scores
        self._steps = DecodeSteps(most_bytes=chunk_bytes // _SHARE_OF_HELD_STEPS)
        self._pass: Pass | None = None
        self._finished: Pass | None = None
        self._is_step = False
        self._model_call: dict[str, Any] | None = None
        self._call: dict[str, Any] = {}
        self._token_ids: Tensor | None = None
        self._embeddings: Tensor | None = None
        self._is_inference = False
        self._fed_again: tuple[Tensor, int] | None = None

    def finish_block(self) -> None:
        """Read what is deferred; afterwards the capture needs the model no longer."""
        self._abandon()
        self.flush()

    def drop_held(self) -> None:
        """Forget what is deferred, because the block ends with an exception."""
        self._abandon()
        if len(self._steps):
            self._recording.truncate(self._steps.start)
            self._steps.clear()
        self.capture.forget()

    def flush(self) -> None:
        """Read the decode steps that are held."""
        held = self._steps.take_finished(has_present=self._is_step and self._pass is not None)
        if len(held):
            self.reader.read_steps(held, None if self._activity is None else self._activity.read_steps)
        self.reader.order.raise_moves()

    def before_model(self, _module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Remember the arguments of the whole model."""
        if self.scope.is_active:
            self._model_call = _bound(self.model, arguments, options)
            refuse_transforms(self._model_call)

    def before_decoder(self, module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Start a pass: find out which tokens it is given, and which of them are rows."""
        if not self.scope.is_active:
            return
        self._abandon()
        refuse_recomputing(self.model)
        bound = _bound(module, arguments, options)
        refuse_transforms(bound)
        n_samples, width = own_tokens(module, bound).shape[:2]
        refuse_other_samples(n_samples, self._recording, self.generation)
        call = bound if self._model_call is None else self._model_call
        token_ids = next((one["input_ids"] for one in (call, bound) if one.get("input_ids") is not None), None)
        if token_ids is None and self._fed_again is not None:
            token_ids = self._fed_again[0]
        if token_ids is not None and token_ids.shape != (n_samples, width):
            token_ids = None
        cache = cache_of(bound, module)
        start = 0 if cache is None else int(cache.get_seq_length())
        if self.generation is not None and self._fed_again is None:
            refuse_second_text(start, width, token_ids, self._recording, self.generation)
        if start == 0:
            self._embeddings = bound.get("inputs_embeds") if call.get("input_ids") is None else None
        self._call, self._token_ids = call, token_ids
        self._is_inference = torch.is_inference_mode_enabled()
        self._begin(start, width, grows=_grows(cache))

    def _begin(self, start: int, width: int, *, grows: bool) -> None:
        is_step = width == 1 and start > 0 and grows and self._recording.keeps_rows
        if not (is_step and self._steps.follows(start)):
            self.flush()
        if start == 0:
            self.reader.order.clear()
        current, same = self._recording.begin(
            start, width, self._token_ids, n_same=0 if self._fed_again is None else self._fed_again[1]
        )
        n_given = self._recording.segments.shape[1]
        if self.generation is None and start == 0 and same < n_given < width:
            raise InputError(
                f"segments are for {n_given} tokens, and the first pass was given {width}: give a code for each token"
            )
        self.capture.forget()
        if self._call.get("attention_mask") is None:
            self._recording.note_missing_mask(current.end)
        if self._scores is not None and self._token_ids is not None:
            self._scores.begin(current, self._token_ids, same)
        # Steps that only some samples take are rare, and are read like any other pass.
        self._is_step = is_step and bool((current.place.n_rows == 1).all())
        if is_step and not self._is_step:
            self.flush()
        if self._is_step:
            self._steps.begin(current)
        self._pass = current
        if self._activity is not None:
            self._activity.begin()
        self.reader.begin(current, self._steps if self._is_step else None)

    def _abandon(self) -> None:
        """Forget a pass that was not finished, because of an exception inside the model."""
        if self._pass is not None and self._is_step:
            self._steps.discard()
        self._pass, self._is_step = None, False
        self.reader.begin(None)

    def on_residual(self, layer: int, hidden: Tensor) -> None:
        """Read the pass's rows of the residual stream after one block, or hold them with later steps."""
        current = self._pass
        if not self.scope.is_active or current is None or not current.has_rows:
            return
        if self._is_step and hidden.shape[1] == 1:
            self._steps.hold_hidden(layer, hidden)
            return
        if self._activity is not None:
            self._activity.read(current, layer, hidden)

    def after_decoder(self, _module: nn.Module, _arguments: tuple[Any, ...], _output: Any) -> None:
        """Let the pass count: the decoder came to its end."""
        current = self._pass
        if not self.scope.is_active or current is None:
            return
        self.reader.order.check(current)
        self.reader.end()
        if self._activity is not None:
            self._activity.end(current)
        self._recording.commit(current)
        self._pass = None
        self.reader.begin(None)
        self._finished = current

    def after_model(self, _module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
        """Read the log-probabilities of this pass's tokens, and hold the logits of the next one."""
        if not self.scope.is_active:
            return
        call, self._model_call = self._model_call, None
        current, self._finished = self._finished, None
        if call is None or current is None or self._scores is None:
            return
        logits = _logits(output, self.model)
        if logits is not None:
            self._scores.end(current, self._token_ids, logits, _positions(call, logits.shape[1], current.width))

    def finish(self, token_ids: Tensor) -> None:
        """Feed the last tokens of `token_ids` that no pass has seen.

        Raises:
            InputError: The model was given other tokens than these.
        """
        recording = self._recording
        cache = cache_of(self._call)
        if cache is not None and cache.get_seq_length() < recording.n_columns:
            # Columns that were cut off the cache since (rejected drafts) are fed again.
            self.flush()
            recording.truncate(int(cache.get_seq_length()))
        fed = recording.token_ids(min(recording.n_columns, token_ids.shape[1]))
        if fed is not None:
            given = token_ids[:, : fed.shape[1]].to(fed.device)
            if bool(((fed != given) & (fed >= 0)).any()):
                raise InputError(f"finish: these are not the tokens that the model was given: {MOVED}")
        self._feed(token_ids)

    def _feed(self, token_ids: Tensor) -> None:
        first = self._recording.n_columns
        if token_ids.shape[1] <= first:
            return
        call = dict(self._call)
        if self.generation is not None and self.generation.knows_mask:
            call["attention_mask"] = self.generation.attention_mask
        embed = self.model.get_input_embeddings()
        cache_name = cache_argument(self.model)
        arguments = next_call(Call(call, cache_name, self._embeddings, embed), token_ids, first)
        device = device_of(self.model)
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in arguments.items()}
        self._fed_again = (token_ids, first)
        try:
            with torch.inference_mode() if self._is_inference else torch.no_grad():
                self.model(**moved)
        finally:
            self._fed_again = None


class _ActivityRows:
    """Projects the rows of one pass after the other, layer by layer, and keeps them when the pass has ended."""

    def __init__(self, recording: Recording, projection: Projection) -> None:
        self._recording = recording
        self._projection = projection
        self.begin()

    def begin(self) -> None:
        """Start a pass; what was read of one that did not end is dropped."""
        self._rows: QueryRows | None = None
        self._projected: Tensor | None = None

    def read(self, current: Pass, layer: int, hidden: Float[Tensor, "sample token width"]) -> None:
        """Project the pass's rows of the hidden states after one block."""
        if self._rows is None:
            self._rows = QueryRows(current.query_rows, most_bytes=0)
        self._projected = self._with_layer(self._projected, layer, self._rows.of_tokens(hidden))

    def end(self, current: Pass) -> None:
        """Keep what was read."""
        self._keep(current, self._projected)

    def read_steps(self, current: Pass, hidden: Mapping[int, Float[Tensor, "sample step width"]]) -> None:
        """Keep the activity of some decode steps, of hidden states by layer."""
        projected = None
        for layer, one in hidden.items():
            projected = self._with_layer(projected, layer, one)
        self._keep(current, projected)

    def _with_layer(
        self, projected: Tensor | None, layer: int, hidden: Float[Tensor, "sample row width"]
    ) -> Float[Tensor, "layer sample row direction"]:
        """Return the projections of all layers, nan where nothing was read so far, as one tensor (see `_Sums`)."""
        own = self._projection.project(layer, hidden)
        if projected is None:
            projected = own.new_full((self._recording.n_layers, *own.shape), torch.nan)
        projected[layer] = own
        return projected

    def _keep(self, current: Pass, projected: Float[Tensor, "layer sample row direction"] | None) -> None:
        if projected is not None:
            self._recording.rows.write("activity", 0, self._projection.activity(projected), current.place)


def _bound(module: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `module` is called with, by name."""
    if not arguments:
        return dict(options)
    bound = dict(inspect.signature(module.forward).bind_partial(*arguments, **options).arguments)
    named = bound.pop("kwargs", {})
    return {**bound, **named}


def _grows(cache: Any) -> bool:
    """Whether a cache leaves the keys of earlier steps as they are; others write over them, or round them later."""
    return type(cache) is DynamicCache


def _logits(output: Any, model: PreTrainedModel) -> Tensor | None:
    """Return the logits of a model's output, which may be a tuple."""
    if isinstance(output, (tuple, list)):
        n_vocabulary = model.config.get_text_config(decoder=True).vocab_size
        found = (one for one in output if isinstance(one, Tensor) and one.ndim == 3 and one.shape[2] >= n_vocabulary)
        return next(found, None)
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) and logits.ndim == 3 else None


def _positions(call: Mapping[str, Any], n_logits: int, width: int) -> np.ndarray:
    """Return the positions within the pass that logits were made for."""
    kept = call.get("logits_to_keep")
    if isinstance(kept, Tensor) and kept.numel() == n_logits:
        return np.asarray(np.arange(width)[kept.detach().cpu().numpy()])
    return np.arange(width - n_logits, width)
