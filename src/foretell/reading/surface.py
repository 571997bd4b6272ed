"""The activity surface: one question, any number of given answers, read in one pass along one direction.

It draws nothing; `foretell.showing` does.

    surface = foretell.surface(model, direction, "Who is Elon Musk?", [false_answer, true_answer])
    surface.answers[0].activity  # (layer, token)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from foretell.conversations import Conversation, Message
from foretell.errors import InputError
from foretell.reading.directions import Direction
from foretell.reading.listening import listen
from foretell.reading.models import Model
from foretell.reading.spans import Rendered, pad_batch, render, token_texts
from foretell.schema import SEGMENTS
from foretell.surfaces import AnswerActivity, Surface

__all__ = ["surface"]

_GENERATED = SEGMENTS.index("generated")


def surface(
    model: Model,
    direction: Direction,
    question: str,
    answers: Sequence[str],
    *,
    titles: Sequence[str] | None = None,
    system: str | None = None,
    to: Path | str | None = None,
) -> Surface:
    """Read how far the hidden states lean along a direction, per layer and token, while each answer is written.

    Scores are standard deviations above the direction's calibration tokens; higher is more of its concept. One example
    proves nothing: `foretell.reading.fitting.heldout_scores` says how well the direction tells answers apart at all.

    Args:
        model: The model the direction was fitted on.
        direction: What to project on.
        question: What the user asks.
        answers: Answers to lay side by side, each read as if the model had written it.
        titles: Short name of each answer; None numbers them.
        system: System message; None leaves the model's own default.
        to: Folder that the surface is written to (`Surface.write`); None writes nothing.

    Returns:
        One activity array `(layer, token)` per answer, the tokens' texts, and mean log-probabilities.

    Raises:
        InputError: The direction belongs to another model, there are no answers, one has no tokens, or titles do not
            match them.
        NotReadableError: The model cannot be read exactly.
    """
    if isinstance(answers, str) or not answers:
        raise InputError("answers must be a list of one or more texts")
    titles = [f"answer {index}" for index in range(1, len(answers) + 1)] if titles is None else titles
    if len(titles) != len(answers):
        raise InputError(f"there are {len(answers)} answers and {len(titles)} titles; give one title per answer")
    direction.check_fits(model)
    opening = () if system is None else (Message("system", system),)
    messages = (*opening, Message("user", question))
    rendered = [
        render(model, Conversation(f"answer-{index}", "surface", messages), answer=answer)
        for index, answer in enumerate(answers)
    ]
    for title, one in zip(titles, rendered, strict=True):
        if _GENERATED not in one.segments:
            raise InputError(f'"{title}" has no tokens, so there is nothing to read')
    read = Surface(
        question=question,
        concept=direction.concept,
        scale="z",
        model=model.name,
        layers=tuple(range(model.n_layers)),
        answers=_read(model, direction, rendered, list(zip(titles, answers, strict=True))),
    )
    if to is not None:
        read.write(to)
    return read


def _read(
    model: Model, direction: Direction, rendered: Sequence[Rendered], named: Sequence[tuple[str, str]]
) -> tuple[AnswerActivity, ...]:
    batch = pad_batch(rendered, pad_id=model.pad_id, side="right").to(model.device)
    with torch.inference_mode(), listen(model, batch.segments, directions=[direction]) as heard:
        model.model(input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False)
    activities = []
    for sample, ((title, answer), one) in enumerate(zip(named, rendered, strict=True)):
        generated = np.flatnonzero(one.segments == _GENERATED)
        texts = token_texts(model.tokenizer, one.token_ids)
        activities.append(
            AnswerActivity(
                title=title,
                answer=answer,
                tokens=tuple(texts[token] for token in generated),
                activity=heard.activity[sample][:, generated, 0],
                mean_logprob=float(heard.logprob[sample, generated].mean(dtype=np.float64)),
            )
        )
    return tuple(activities)
