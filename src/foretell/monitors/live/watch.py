"""Watch a model while it generates: scores of every answer so far, alarms, and a stop.

with foretell.watch(model, monitor, segments=batch.segments, stop=True) as watching:
model.model.generate(input_ids, attention_mask=attention_mask, max_new_tokens=64)
watching.scores, watching.alarms
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from foretell.errors import InputError
from foretell.monitors.live.watching import OnScore, Scored, Watching
from foretell.reading.capture.listen import listen
from foretell.reading.chat.rendered import pad_batch
from foretell.reading.chat.spans import render
from foretell.reading.hooks.scope import Scope
from foretell.schema.tables import SEGMENTS

if TYPE_CHECKING:
    from foretell.monitors.monitor import Monitor
    from foretell.reading.capture.results import Capture
    from foretell.reading.models.load import Model

__all__ = ["Scored", "Watching", "end_ids", "watch"]

_WATCHED: weakref.WeakSet[Any] = weakref.WeakSet()
_LOCK = threading.Lock()
_PATIENCE = 5.0
"""Seconds that leaving a block waits for a call in another thread."""


@contextlib.contextmanager
def watch(
    model: Model,
    monitor: Monitor,
    on_score: OnScore | None = None,
    stop: bool = False,
    *,
    segments: Any = None,
    conversations: Any = None,
    every: int | None = None,
) -> Iterator[Watching]:
    """Score the answers of `model.model.generate` while they are written.

    A token has a row once it has been fed, so the score after n tokens is known when token n + 1 is chosen, and that of
    the last token when `generate` returns. Tokens that end a turn are not part of an answer. What is yielded speaks of
    the latest call of `generate`. Only what the monitor looks at is read. Only calls in the caller's own thread,
    coroutine, or a copy of its context (`asyncio.to_thread`) are watched; one block at a time watches a model. On
    leaving, also by an exception in `on_score`, the model is as it was before. A call that another thread is still at,
    as when a task that awaits it is cancelled, ends at its next token; leaving waits for that, five seconds at most.

    Args:
        model: The model that the monitor was made from.
        monitor: From `fit_monitor` or `Monitor.load`.
        on_score: Called with every score (`Scored`) as soon as it is known; what it raises ends the generation.
        stop: End an answer once it has an alarm: at the token after the one that the alarm is of.
        segments: `(sample, token)` codes of the left-padded prompts, as in `foretell.listen`. A monitor without
            attention needs none.
        conversations: In place of `segments`: what the prompts were rendered from (all that `as_conversations` takes),
            in order.
        every: Also score after every so many tokens. Alarms come only at the moments that the threshold was calibrated
            for (`monitor.scored_at`), because its guarantee is for these.

    Yields:
        `Watching`: `.scores (sample, token)`, `.probabilities`, `.alarms` (tokens at the first alarm, by sample).

    Raises:
        InputError: The model, its chat template or its precision is not the monitor's; the model is watched already;
            segments are missing or do not fit the prompts; or, from `generate`, beam search, or another thread of the
            block that generates.
    """
    if every is not None and (type(every) is not int or every < 1):
        raise InputError(f"every must be 1 token or more, not {every!r}")
    monitor.check_model(model)
    codes = _codes(model, segments, conversations)
    if codes is None and monitor.columns.heads:
        raise InputError(
            "watch: the monitor looks at attention to the segments of the prompt: give segments= (codes as for "
            "foretell.listen) or conversations= (what the prompts were made from)"
        )
    watching = Watching(monitor, on_score, every=every)
    with _exclusively(model.model):
        scope = Scope()
        generate: Callable[..., Any] = model.model.generate  # type: ignore[assignment]
        call = _OneCall()

        @functools.wraps(generate)
        def watched(*arguments: Any, **options: Any) -> Any:
            if not scope.is_active or call.is_mine:
                return generate(*arguments, **options)
            bound = dict(inspect.signature(generate).bind_partial(*arguments, **options).arguments)
            bound.update(bound.pop("kwargs", {}))
            try:
                with call.taken():
                    return _generated(model, watching, codes, bound, _Until(call, stop=stop))
            finally:
                # What listens in a call that ends late puts back what it found.
                if call.is_left and vars(model.model).get("generate") is watched:
                    restore()

        own = vars(model.model).get("generate")

        def restore() -> None:
            if own is None:
                vars(model.model).pop("generate", None)
            else:
                vars(model.model)["generate"] = own

        vars(model.model)["generate"] = watched
        try:
            with scope.entered():
                yield watching
        finally:
            call.leave()
            restore()


def _codes(model: Model, segments: Any, conversations: Any) -> np.ndarray | None:
    """Return the segments of the prompts; None where neither is given."""
    if segments is not None and conversations is not None:
        raise InputError("watch: give either segments or conversations, not both")
    if conversations is None:
        given = segments.detach().cpu() if isinstance(segments, torch.Tensor) else segments
        return None if given is None else np.asarray(given)
    from foretell.conversations.formats import as_conversations

    rendered = [render(model, one, answer=None) for one in as_conversations(conversations)]
    return pad_batch(rendered, pad_id=model.pad_id, side="left").segments.numpy()


@contextlib.contextmanager
def _exclusively(network: Any) -> Iterator[None]:
    with _LOCK:
        if network in _WATCHED:
            raise InputError("this model is already being watched; leave that block first, or take turns with a lock")
        _WATCHED.add(network)
    try:
        yield
    finally:
        with _LOCK:
            _WATCHED.discard(network)


class _OneCall:
    """The call of generate that is watched; threads of one block cannot share its capture."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self.is_left = False
        """Whether the block was left, so that the call has to end."""

    def leave(self) -> None:
        """Have a call in another thread end at its next token, and wait for it: a cancelled task leaves none behind.

        The wait has an end, because that thread may itself wait for the one that leaves (an event loop).
        """
        self.is_left = True
        if not self.is_mine and self._lock.acquire(timeout=_PATIENCE):
            self._lock.release()

    @property
    def is_mine(self) -> bool:
        """Whether the caller is inside the call, as generate is that calls itself."""
        return self._thread == threading.get_ident()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the call.

        Raises:
            InputError: Another thread has it.
        """
        if not self._lock.acquire(blocking=False):
            raise InputError(
                "watch: another thread of this block is generating; a block watches one batch at a time: enter one "
                "block for each, and let them take turns with a lock"
            )
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None
            self._lock.release()


@dataclass(frozen=True)
class _Until:
    """What ends answers early."""

    call: _OneCall
    stop: bool
    """Whether an alarm does."""


def _generated(model: Model, watching: Watching, codes: np.ndarray | None, bound: dict[str, Any], until: _Until) -> Any:
    """Run one call of generate, listened to, with a criterion that scores before each step."""
    settings = bound.get("generation_config") or model.model.generation_config
    if int(bound.get("num_beams", getattr(settings, "num_beams", None)) or 1) > 1:
        raise InputError("watch: beam search moves answers between rows, so no row is one answer; use num_beams=1")
    if codes is None:
        codes = _codes_of_mask(bound)
    options = watching.monitor.listen_options
    with listen(model, codes, **options) as capture:
        watching.start(codes.shape[0])
        criterion = _Scoring(watching, capture, codes.shape[1], end_ids(model, bound), until)
        # Others are asked by this one, which so knows which answers they end.
        criterion.others.extend(bound.get("stopping_criteria") or ())
        criteria = StoppingCriteriaList([criterion])
        output = model.model.generate(**{**bound, "stopping_criteria": criteria})  # type: ignore[operator]
        criterion.finish()
    return output


def _codes_of_mask(bound: dict[str, Any]) -> np.ndarray:
    """Return segments for a monitor to which all prompt tokens are alike."""
    ids = next((bound[name] for name in ("inputs", "input_ids") if bound.get(name) is not None), None)
    if ids is None:
        raise InputError("watch: generate was given no input_ids; give segments=")
    mask = bound.get("attention_mask")
    codes = np.full(tuple(ids.shape), SEGMENTS.index("template"), dtype=np.int64)
    return codes if mask is None else np.where(mask.cpu().numpy() > 0, codes, -1)


def end_ids(model: Model, bound: dict[str, Any]) -> frozenset[int]:
    """Return the tokens that end a turn, which are no part of an answer: those of the call, the model, the tokenizer.

    Behind a stop string answers are filled up, so where there are such, the token for that ends an answer too.
    """
    settings = bound.get("generation_config") or model.model.generation_config

    def asked(name: str) -> Any:
        return bound.get(name, getattr(settings, name, None))

    ends = asked("eos_token_id")
    found = _ids(model.tokenizer.eos_token_id if ends is None else ends)
    return found | _ids(asked("pad_token_id")) if asked("stop_strings") else found


def _ids(given: Any) -> frozenset[int]:
    ids = given.tolist() if isinstance(given, torch.Tensor) else given
    return frozenset(() if ids is None else ids if isinstance(ids, list | tuple | set) else (ids,))


class _Scoring(StoppingCriteria):
    """Scores what is known before each step, and ends the answers that have an alarm where that is asked for."""

    def __init__(self, watching: Watching, capture: Capture, width: int, ends: frozenset[int], until: _Until) -> None:
        self._watching, self._capture, self._ends, self._until = watching, capture, ends, until
        self._width = width
        self._read = 0
        self.others = StoppingCriteriaList()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        if self._until.call.is_left:
            raise InputError("watch: the block was left while this call was generating")
        n_tokens = input_ids.shape[1] - self._width
        fresh = input_ids[:, self._width + self._read :].cpu().numpy()
        for column in range(fresh.shape[1]):
            is_end = np.isin(fresh[:, column], list(self._ends))
            self._watching.end(is_end, n_tokens - fresh.shape[1] + column)
        self._read = n_tokens
        # The newest token has not been fed.
        self._watching.update(self._capture, n_tokens - 1)
        done: torch.Tensor = self.others(input_ids, scores, **options)
        if self._until.stop:
            done = done | torch.from_numpy(self._watching.has_alarm).to(done.device)
        if len(self.others) or self._until.stop:
            self._watching.end(done.cpu().numpy(), n_tokens)
        return done

    def finish(self) -> None:
        """Score the last tokens, once generate has returned."""
        counts = self._capture.n_generated
        for n_tokens in np.unique(counts):
            self._watching.end(counts == n_tokens, int(n_tokens))
        self._watching.update(self._capture, int(counts.max(initial=0)))
