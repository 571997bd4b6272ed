"""Follow one call of `generate`: where each answer ends, however it ends, and the last token, which it never feeds.

`generate` itself decides when a sample is finished (end tokens, stop strings, stopping criteria, a time limit), in the
list of criteria that it makes for each call; what that list returns is looked at here.

    with followed_generation(session):
        model.generate(...)
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import StoppingCriteriaList

from foretell.errors import InputError
from foretell.reading.capture.recording import Recording
from foretell.reading.capture.refused_calls import Generation
from foretell.reading.capture.session import Session

__all__ = ["followed_generation"]


class _Ends(StoppingCriteriaList):
    """The criteria of one call, which remember when each sample met one of them."""

    def __init__(self, criteria: StoppingCriteriaList) -> None:
        super().__init__(criteria)
        self.lengths: list[int] = []
        self.is_done: list[Tensor] = []

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Any:
        done = super().__call__(input_ids, scores, **options)
        self.lengths.append(int(input_ids.shape[1]))
        self.is_done.append(done)
        return done

    def n_tokens(self, n_longest: int) -> Int[np.ndarray, " sample"]:
        """Return the tokens of each sample up to its end; `n_longest` where it never ended."""
        if not self.is_done:
            return np.array([n_longest])
        done = torch.stack(self.is_done, dim=1).cpu().numpy()
        lengths = np.minimum(np.array(self.lengths), n_longest)
        return np.asarray(np.where(done.any(1), lengths[done.argmax(1)], n_longest))


@contextlib.contextmanager
def followed_generation(session: Session, recording: Recording) -> Iterator[None]:
    """Let `model.generate` be followed inside the block, in the session's own thread or coroutine.

    Raises:
        InputError: In `generate`: the prompts are not those of the segments, rows are only added up, or the model
            generates inside its own `generate` (an early exit does that).
    """
    model = session.model
    if not hasattr(model, "generate"):
        yield
        return
    generate: Callable[..., Any] = model.generate  # type: ignore[assignment]

    @functools.wraps(generate)
    def following(*arguments: Any, **options: Any) -> Any:
        if not session.scope.is_active:
            return generate(*arguments, **options)
        bound = dict(inspect.signature(generate).bind_partial(*arguments, **options).arguments)
        bound.update(bound.pop("kwargs", {}))
        n_given = _begin(session, recording, bound)
        ends: list[_Ends] = []
        try:
            with _observed(session, ends):
                output = generate(*arguments, **options)
            sequences = output if isinstance(output, Tensor) else output.sequences
            _finish(session, recording, sequences, n_given, ends)
        finally:
            session.generation = None
        return output

    with _replaced(model, "generate", following):
        yield


def _begin(session: Session, recording: Recording, bound: dict[str, Any]) -> int:
    """Start a call, and return how many of its tokens `generate` will return beside the new ones."""
    if not recording.keeps_rows:
        raise InputError("generate: its rows must be kept; listen with rows=True")
    if session.generation is not None:
        raise InputError(
            "generate: the model generates inside its own call of generate (an early exit does that), which cannot be "
            "followed; generate first, and read the finished texts"
        )
    ids = next((bound[name] for name in ("inputs", "input_ids") if isinstance(bound.get(name), Tensor)), None)
    embeddings = bound.get("inputs_embeds")
    prompt = ids if embeddings is None else embeddings
    n_segments = recording.segments.shape[1]
    if prompt is not None and prompt.shape[1] != n_segments:
        raise InputError(f"segments are for {n_segments} tokens, and the prompts have {prompt.shape[1]}")
    session.generation = Generation(_n_beams(session, bound))
    return 0 if ids is None and embeddings is not None else n_segments if ids is None else int(ids.shape[1])


def _n_beams(session: Session, bound: dict[str, Any]) -> int:
    settings = bound.get("generation_config") or session.model.generation_config
    stated = bound.get("num_beams", getattr(settings, "num_beams", None))
    return int(stated or 1)


@contextlib.contextmanager
def _observed(session: Session, ends: list[_Ends]) -> Iterator[None]:
    """Look at the stopping criteria that `generate` makes, and at the arguments that it keeps for the next step."""
    model = session.model
    make_criteria: Callable[..., StoppingCriteriaList] = model._get_stopping_criteria  # type: ignore[assignment]
    next_arguments: Callable[..., dict[str, Any]] = model._update_model_kwargs_for_generation  # type: ignore[assignment]

    def criteria(*arguments: Any, **options: Any) -> StoppingCriteriaList:
        made = make_criteria(*arguments, **options)
        if not session.scope.is_active:
            return made
        ends.append(_Ends(made))
        return ends[-1]

    def updated(*arguments: Any, **options: Any) -> dict[str, Any]:
        made = next_arguments(*arguments, **options)
        if session.scope.is_active and session.generation is not None:
            session.generation.attention_mask = made.get("attention_mask")
            session.generation.knows_mask = True
        return made

    with (
        _replaced(model, "_get_stopping_criteria", criteria),
        _replaced(model, "_update_model_kwargs_for_generation", updated),
    ):
        yield


@contextlib.contextmanager
def _replaced(model: torch.nn.Module, name: str, value: Callable[..., Any]) -> Iterator[None]:
    """Let a method of one model be another inside the block."""
    own = vars(model).get(name)
    vars(model)[name] = value
    try:
        yield
    finally:
        if own is None:
            vars(model).pop(name, None)
        else:
            vars(model)[name] = own


def _finish(session: Session, recording: Recording, sequences: Tensor, n_given: int, ends: list[_Ends]) -> None:
    """Feed the last token, and let only the tokens up to each answer's end count."""
    n_new = sequences.shape[1] - n_given
    n_prompt = recording.segments.shape[1]
    if n_prompt != n_given:
        # Prompts that were fed as embeddings have no token ids.
        new = sequences[:, n_given:]
        sequences = torch.cat([new.new_full((len(new), n_prompt), -1), new], dim=1)
    session.finish(sequences)
    counts = ends[-1].n_tokens(n_given + n_new) - n_given if ends else np.full(len(sequences), n_new)
    session.capture.keep(np.broadcast_to(counts, (len(sequences),)))
