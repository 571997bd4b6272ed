"""One answer, written or given, read under `foretell.listen`, with every token passed on as soon as it is read.

A token is read once it has been fed, which is when the next one is chosen; `generate` itself is followed, so that the
numbers are those of `foretell.read` and `foretell.watch`.

    answer = Answering(model, direction=lying, monitor=monitor, pass_on=print, is_stopped=lambda: False)
    answer.written(conversation, sampling, draw="asked")
    answer.given(conversation, "Paris.")
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from foretell.conversations.conversation import Conversation, Message
from foretell.directions.direction import Direction
from foretell.directions.steering import adding
from foretell.errors import InputError
from foretell.jobs.positions import n_positions, too_long
from foretell.jobs.reading_settings import Sampling
from foretell.monitors.live.watch import end_ids
from foretell.monitors.live.watching import Scored, Watching
from foretell.monitors.monitor import Monitor
from foretell.reading.capture.listen import Capture, listen
from foretell.reading.chat.rendered import Batch, Rendered, pad_batch
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import accepts
from foretell.reading.runs.answers import generated_after, generation_options
from foretell.serving.live_rows import LiveRows, LiveToken
from foretell.serving.question import Steering
from foretell.serving.request_bounds import MAX_TOKENS

__all__ = ["Answering", "Outcome", "ReadAnswer", "warmed_up"]

Outcome = Literal["end of turn", "longest", "stopped", "given"]
PassOn = Callable[[LiveToken, "Scored | None"], object]


@dataclass(frozen=True)
class ReadAnswer:
    """One answer with everything that was read of it."""

    text: str
    tokens: tuple[LiveToken, ...]
    scores: tuple[Scored, ...]
    """Of the monitor, one per token; none without a monitor."""
    attention_layers: tuple[int, ...]
    """Block of each place on the layer axis of masses."""
    outcome: Outcome


class Answering:
    """Reads answers of one model, one after the other.

    Args:
        model: A loaded model.
        direction: Whose activity is read; None: no activity. That it fits the model is not looked at here.
        monitor: What scores every token, likewise; None: no scores.
        steering: How much of the direction is added, and where.
        pass_on: Called with every token and its score.
        is_stopped: Asked at every token whether the answer ends here.

    Raises:
        InputError: There is no layer to steer.
    """

    def __init__(
        self,
        model: Model,
        *,
        direction: Direction | None = None,
        monitor: Monitor | None = None,
        steering: Steering | None = None,
        pass_on: PassOn = lambda _token, _score: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._model, self._direction, self._monitor = model, direction, monitor
        self._pass_on, self._is_stopped = pass_on, is_stopped
        self._added = {} if direction is None or steering is None else _added_vectors(direction, steering)

    def written(self, conversation: Conversation, sampling: Sampling, *, draw: str) -> ReadAnswer:
        """Let the model answer.

        Args:
            conversation: What it answers.
            sampling: How.
            draw: Name of the answer, which its draws follow together with the seed, as those of `foretell.read` follow
                the sample's id.

        Raises:
            InputError: The text is too long.
            SpanError: It cannot be split into segments.
        """
        model = self._model
        rendered = render(model, conversation, answer=None)
        self._check_length(rendered, sampling.max_new_tokens)
        batch = pad_batch([rendered], pad_id=model.pad_id, side="left")
        width = len(rendered.token_ids)
        options = generation_options(model, sampling, [draw])
        ends = end_ids(model, options)
        with self._listened(batch, rendered) as (capture, live):
            step = _Step(live, width, ends, self._is_stopped)
            output = generated_after(model, batch, stopping_criteria=StoppingCriteriaList([step]), **options)
            fresh = output[0, width:].tolist()
            is_end = np.isin(fresh, list(ends))
            count = int(is_end.argmax()) if is_end.any() else len(fresh)
            capture.keep([count])
            live.finish(count, fresh)
        outcome: Outcome = "end of turn" if is_end.any() else "stopped" if step.is_stopped else "longest"
        return live.answer(str(model.tokenizer.decode(fresh[:count], skip_special_tokens=True)), outcome)

    def given(self, conversation: Conversation, text: str, token_ids: Sequence[int] | None = None) -> ReadAnswer:
        """Read an answer as if the model had written it, in one pass.

        Raises:
            InputError: It has no tokens, or the text is too long.
            SpanError: It cannot be split into segments.
        """
        model = self._model
        rendered = render(model, conversation, answer=text, answer_token_ids=token_ids)
        self._check_length(rendered, 0)
        n_prompt = rendered.n_prompt_tokens
        ids = rendered.token_ids[n_prompt:].tolist()
        if not ids:
            raise InputError("the answer has no tokens, so there is nothing to read")
        batch = pad_batch([rendered], pad_id=model.pad_id, side="right")
        options: dict[str, Any] = {"use_cache": False}
        if accepts(model.model, "logits_to_keep"):
            options["logits_to_keep"] = len(rendered.token_ids) - max(n_prompt - 1, 0)
        with self._listened(batch, rendered) as (_capture, live):
            model.model(
                input_ids=batch.token_ids.to(model.device),
                attention_mask=batch.attention_mask.to(model.device),
                **options,
            )
            live.finish(len(ids), ids)
        return live.answer(text, "given")

    def _check_length(self, rendered: Rendered, n_new: int) -> None:
        own = n_positions(self._model.model.config.get_text_config(decoder=True))
        limit = MAX_TOKENS if own is None else min(own, MAX_TOKENS)
        problem = too_long(len(rendered.token_ids), n_new, limit)
        if problem is not None:
            raise InputError(problem)

    @contextlib.contextmanager
    def _listened(self, batch: Batch, rendered: Rendered) -> Iterator[tuple[Capture, _Live]]:
        first = rendered.n_prompt_tokens - 1

        def mask(width: int) -> torch.Tensor:
            """The tokens of the answer, and the one before it, which predicts its first."""
            return (torch.arange(width) >= (first if width > 1 else 0)).float()[None]

        options: dict[str, Any] = {"directions": () if self._direction is None else (self._direction,)}
        if self._monitor is not None:
            options["hidden"] = list(self._monitor.columns.state_layers)
        with (
            torch.inference_mode(),
            adding(self._model, self._added, mask) if self._added else contextlib.nullcontext(),
            listen(self._model, batch.segments, **options) as capture,
        ):
            yield capture, _Live(self._model, capture, self._monitor, options, self._pass_on)


def warmed_up(model: Model) -> Model:
    """Return a model that has written a token, so that checks and allocations of the first one are over.

    Raises:
        NotReadableError: The model cannot be read exactly.
    """
    Answering(model).written(Conversation("first", "live", (Message("user", "Hi"),)), Sampling(2), draw="first")
    return model


def _added_vectors(direction: Direction, steering: Steering) -> dict[int, np.ndarray]:
    """Return what is added after each chosen block that has a direction."""
    chosen = range(steering.first, min(steering.last, direction.n_layers - 1) + 1)
    layers = [layer for layer in chosen if direction.reasons[layer] is None]
    if not layers:
        raise InputError(f"layers {steering.first} to {steering.last}: the direction has no vector there to steer with")
    share = steering.dose / len(layers)
    return {layer: share * direction.standard_deviation[layer] * direction.vectors[layer] for layer in layers}


class _Live:
    """What is known of the answer that is being read."""

    def __init__(
        self, model: Model, capture: Capture, monitor: Monitor | None, options: dict[str, Any], pass_on: PassOn
    ) -> None:
        self._capture, self._pass_on = capture, pass_on
        self._rows = LiveRows(capture, model.tokenizer, has_activity=bool(options["directions"]))
        self._tokens: list[LiveToken] = []
        self._watching = None if monitor is None else Watching(monitor, every=1)
        if self._watching is not None:
            self._watching.start(1)

    def update(self, n_rows: int, token_ids: Sequence[int], *, ends_at: int | None = None) -> None:
        """Read and pass on the tokens that are new.

        Args:
            n_rows: Tokens of the answer that were fed.
            token_ids: Those that are known, also one that was not fed.
            ends_at: How many tokens the whole answer has, once that is known.
        """
        scored: dict[int, Scored] = {}
        if self._watching is not None and n_rows > self._rows.n_read:
            if ends_at is not None:
                self._watching.end(np.array([True]), ends_at)
            n_before = len(self._watching.scored)
            self._watching.update(self._capture, n_rows)
            scored = {one.n_generated: one for one in self._watching.scored[n_before:]}
        for token in self._rows.new(n_rows, token_ids):
            self._tokens.append(token)
            self._pass_on(token, scored.get(token.answer_position + 1))

    def finish(self, n_tokens: int, token_ids: Sequence[int]) -> None:
        """Read the last tokens of an answer of so many."""
        self.update(n_tokens, token_ids, ends_at=n_tokens)

    def answer(self, text: str, outcome: Outcome) -> ReadAnswer:
        """Return what was read."""
        scores = () if self._watching is None else tuple(self._watching.scored)
        layers = tuple(map(int, self._capture.layers)) if self._tokens else ()
        return ReadAnswer(text, tuple(self._tokens), scores, layers, outcome)


class _Step(StoppingCriteria):
    """Passes on what was read before each step, and ends the answer where that is asked for."""

    def __init__(self, live: _Live, width: int, ends: frozenset[int], is_stopped: Callable[[], bool]) -> None:
        self._live, self._width, self._ends, self._ask = live, width, ends, is_stopped
        self.is_stopped = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        ids = input_ids[0, self._width :].tolist()
        # The newest token has not been fed; where it ends the turn, the answer is what stands before it.
        n_fed = len(ids) - 1
        self._live.update(n_fed, ids, ends_at=n_fed if ids[-1] in self._ends else None)
        self.is_stopped = self.is_stopped or self._ask()
        return torch.tensor([self.is_stopped], device=input_ids.device)
