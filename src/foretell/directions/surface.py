"""The activity surface: one question, any number of given answers, read in one pass along one direction.

`foretell.showing` draws it.

    surface = foretell.surface(model, direction, "Who is Elon Musk?", [false_answer, true_answer])
    surface.answers[0].activity  # (layer, token)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.conversations.conversation import Conversation, Message
from foretell.directions.course import Scale, banded, course, random_activity
from foretell.directions.direction import Direction
from foretell.errors import InputError
from foretell.reading.capture.listen import listen
from foretell.reading.chat.spans import Rendered, pad_batch, render, token_texts
from foretell.reading.hooks.residual_stream import residual_hooks
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import Sampling, generate
from foretell.schema.tables import SEGMENTS
from foretell.storage.surfaces import AnswerActivity, Surface

__all__ = ["generated_answers", "surface"]

_GENERATED = SEGMENTS.index("generated")


def surface(
    model: Model,
    direction: Direction,
    question: str,
    answers: Sequence[str],
    *,
    titles: Sequence[str] | None = None,
    system: str | None = None,
    scale: Scale = "z",
    layers: Sequence[int] | None = None,
    n_random: int = 100,
    to: Path | str | None = None,
) -> Surface:
    """Compute the activity of a direction per layer and token of each given answer.

    Scores are standard deviations above the direction's calibration tokens; higher is more of its concept. One example
    proves nothing: `foretell.directions.fit.heldout_scores` gives the evidence over many answers.

    Args:
        model: The model the direction was fitted on.
        direction: What to project on.
        question: What the user asks.
        answers: Answers to compare, each read as if the model had generated it.
        titles: Short name of each answer; None numbers them.
        system: System message; None leaves the model's own default.
        scale: "z" in standard deviations, "raw" as projected, or "cosine" of hidden state and direction.
        layers: Layers over which the activity along the answers is averaged; None is all that have a direction.
        n_random: Random directions of the null band, at most those that were calibrated with the direction; 0: none.
        to: Folder that the surface is written to (`Surface.write`); None writes nothing.

    Returns:
        One activity array `(layer, token)` per answer with the band of random directions on the same tokens, the
        tokens' texts, mean log-probabilities, and the course of the activity along each answer.

    Raises:
        InputError: The direction belongs to another model, there are no answers, one has no tokens, titles do not
            match them, or there is no such scale or layer.
        NotReadableError: The model cannot be read exactly.
    """
    if isinstance(answers, str) or not answers:
        raise InputError("answers must be a list of one or more texts")
    titles = [f"answer {index}" for index in range(1, len(answers) + 1)] if titles is None else titles
    if len(titles) != len(answers):
        raise InputError(f"there are {len(answers)} answers and {len(titles)} titles; give one title per answer")
    if scale not in get_args(Scale):
        raise InputError(f'scale must be one of {", ".join(get_args(Scale))}, not "{scale}"')
    chosen = _layers(direction, layers)
    direction.check_fits(model)
    asked = _conversation(question, system)
    rendered = [render(model, asked, answer=answer) for answer in answers]
    for title, one in zip(titles, rendered, strict=True):
        if _GENERATED not in one.segments:
            raise InputError(f'"{title}" has no tokens, so there is nothing to read')
    answered, states = _read(model, direction, rendered, list(zip(titles, answers, strict=True)))
    drawn = _drawn(direction, states, scale=scale, n_random=n_random)
    answered = tuple(
        banded(replace(answer, activity=_scaled(direction, answer.activity, state, scale)), draws)
        for answer, state, draws in zip(answered, states, drawn, strict=True)
    )
    read = Surface(
        question=question,
        concept=direction.concept,
        scale=scale,
        model=model.name,
        layers=tuple(range(model.n_layers)),
        answers=answered,
        course=course(answered, drawn, chosen) if chosen else None,
    )
    if to is not None:
        read.write(to)
    return read


def generated_answers(
    model: Model,
    question: str,
    n_answers: int,
    *,
    system: str | None = None,
    max_new_tokens: int = 48,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """Generate several answers to one question; empty answers are left out.

    Args:
        model: A loaded model.
        question: What the user asks.
        n_answers: Answers to sample.
        system: System message; None leaves the model's own default.
        max_new_tokens: Longest answer.
        temperature: 0 always takes the likeliest token.
        seed: Random seed.

    Raises:
        InputError: Fewer than one answer, or a setting is out of its range.
    """
    if n_answers < 1:
        raise InputError(f"there must be at least one answer to generate, not {n_answers}")
    conversations = [render(model, _conversation(question, system), answer=None)] * n_answers
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    answered = generate(model, conversations, sampling=sampling)
    texts = [model.tokenizer.decode(one.answer_ids, skip_special_tokens=True) for one in answered]
    return [str(text) for text in texts if str(text).strip()]


def _conversation(question: str, system: str | None) -> Conversation:
    opening = () if system is None else (Message("system", system),)
    return Conversation("asked", "surface", (*opening, Message("user", question)))


def _layers(direction: Direction, layers: Sequence[int] | None) -> tuple[int, ...]:
    defined = [layer for layer, reason in enumerate(direction.reasons) if reason is None]
    if layers is None:
        return tuple(defined)
    for layer in layers:
        if layer not in defined:
            why = direction.reasons[layer] if 0 <= layer < direction.n_layers else "the model has no such layer"
            raise InputError(f"layer {layer} has no activity: {why}")
    return tuple(layers)


def _drawn(
    direction: Direction, states: Sequence[Float[np.ndarray, "layer _ width"]], *, scale: Scale, n_random: int
) -> list[Float[np.ndarray, "draw layer _"]]:
    """Return the activity of random directions on each answer's tokens; none if the direction has none calibrated."""
    if direction.random is None:
        return [np.empty((0, *state.shape[:2])) for state in states]
    n_draws = min(n_random, direction.random.n_draws)
    return [random_activity(direction.random, state, scale=scale, n_draws=n_draws) for state in states]


def _scaled(
    direction: Direction,
    activity: Float[np.ndarray, "layer token"],
    states: Float[np.ndarray, "layer token width"],
    scale: Scale,
) -> Float[np.ndarray, "layer token"]:
    if scale == "z":
        return activity
    projection = activity * direction.standard_deviation[:, None] + direction.mean[:, None]
    return projection if scale == "raw" else np.asarray(projection / np.linalg.norm(states, axis=-1))


def _read(
    model: Model, direction: Direction, rendered: Sequence[Rendered], named: Sequence[tuple[str, str]]
) -> tuple[tuple[AnswerActivity, ...], list[Float[np.ndarray, "layer token width"]]]:
    """Return each answer's activity, and the hidden states of its tokens."""
    batch = pad_batch(rendered, pad_id=model.pad_id, side="right").to(model.device)
    places = [np.flatnonzero(one.segments == _GENERATED) for one in rendered]
    states = [np.empty((model.n_layers, len(place), model.width), dtype=np.float32) for place in places]

    def keep(layer: int, hidden: Tensor) -> None:
        for sample, place in enumerate(places):
            states[sample][layer] = hidden[sample, torch.as_tensor(place, device=hidden.device)].float().cpu().numpy()

    with (
        torch.inference_mode(),
        listen(model, batch.segments, directions=[direction]) as capture,
        residual_hooks(model.model, keep),
    ):
        model.model(input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False)
    activities = []
    for sample, ((title, answer), one, place) in enumerate(zip(named, rendered, places, strict=True)):
        texts = token_texts(model.tokenizer, one.token_ids)
        activities.append(
            AnswerActivity(
                title=title,
                answer=answer,
                tokens=tuple(texts[token] for token in place),
                activity=capture.activity[sample][:, place, 0],
                mean_logprob=float(capture.logprob[sample, place].mean(dtype=np.float64)),
            )
        )
    return tuple(activities), states
