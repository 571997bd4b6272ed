"""The activity surface: one question, any number of given answers, read along one direction.

`foretell.showing` draws it.

    surface = foretell.surface(model, direction, "Who is Elon Musk?", [false_answer, true_answer])
    surface.answers[0].activity  # (layer, token)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from foretell.conversations.conversation import Conversation, Message
from foretell.directions.activations.answer_batches import answer_batches, shared_prefix
from foretell.directions.activations.forward_pass import not_finite_answers, read_batch
from foretell.directions.checked_numbers import distinct_layers, whole_number
from foretell.directions.course import Scale, banded, course, course_ends, in_unit
from foretell.directions.direction import Direction
from foretell.directions.random_directions import RandomScale
from foretell.errors import InputError
from foretell.reading.chat.spans import Rendered, render, token_texts
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import Sampling, generate
from foretell.schema.tables import SEGMENTS
from foretell.storage.surfaces import AnswerActivity, Surface
from foretell.storage.targets import check_folder

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
    batch_tokens: int = 4096,
    to: Path | str | None = None,
    overwrite: bool = False,
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
        layers: Layers over which the activity along the answers is averaged, each once; None is all that have a
            direction.
        n_random: Random directions of the null band, at most those that were calibrated with the direction; 0: none.
        batch_tokens: Padded tokens in one batch; a single longer answer makes a batch of its own.
        to: Folder that the surface is written to (`Surface.write`); None writes nothing.
        overwrite: Allow a folder that holds something already.

    Returns:
        One activity array `(layer, token)` per answer with the band of random directions on the same tokens, the
        tokens' texts, mean log-probabilities, and the course of the activity along each answer.

    Raises:
        InputError: The direction belongs to another model, there are no answers, one has no tokens or numbers that are
            not finite, titles do not match them, or there is no such scale or layer.
        NotReadableError: The model cannot be read exactly.
    """
    if to is not None:
        check_folder(to, overwrite=overwrite)
    if isinstance(answers, str) or not answers:
        raise InputError("answers must be a list of one or more texts")
    titles = [f"answer {index}" for index in range(1, len(answers) + 1)] if titles is None else titles
    if len(titles) != len(answers):
        raise InputError(f"there are {len(answers)} answers and {len(titles)} titles; give one title per answer")
    if scale not in get_args(Scale):
        raise InputError(f'scale must be one of {", ".join(get_args(Scale))}, not "{scale}"')
    chosen = _layers(direction, layers)
    n_random = whole_number(n_random, "n_random", least=0)
    batch_tokens = whole_number(batch_tokens, "batch_tokens", least=1)
    direction.check_fits(model)
    asked = _conversation(question, system)
    rendered = [render(model, asked, answer=answer) for answer in answers]
    for title, one in zip(titles, rendered, strict=True):
        if _GENERATED not in one.segments:
            raise InputError(f'"{title}" has no tokens, so there is nothing to read')
    random = None if direction.random is None else direction.random.first(n_random)
    read: dict[int, AnswerActivity] = {}
    ends: dict[int, np.ndarray] = {}
    # Random directions of one answer after the other are reduced to a band: those of all answers need much memory.
    for index, found in _projected(model, direction, random, rendered, titles, batch_tokens=batch_tokens):
        activity, drawn = found.activity(direction, random, scale=scale)
        tokens = token_texts(model.tokenizer, rendered[index].token_ids)
        generated = tuple(tokens[place] for place in np.flatnonzero(rendered[index].segments == _GENERATED))
        answered = AnswerActivity(titles[index], answers[index], generated, activity, found.mean_logprob)
        read[index], ends[index] = banded(answered, drawn), course_ends(drawn, chosen)
    in_order = tuple(read[index] for index in range(len(answers)))
    n_drawn = 0 if random is None else random.n_draws
    made = Surface(
        question=question,
        concept=direction.concept,
        scale=scale,
        model=model.name,
        layers=tuple(range(model.n_layers)),
        answers=in_order,
        course=course(in_order, [ends[index] for index in range(len(answers))], chosen, n_random=n_drawn)
        if chosen
        else None,
    )
    if to is not None:
        made.write(to, overwrite=overwrite)
    return made


def generated_answers(
    model: Model,
    question: str,
    n_answers: int,
    *,
    system: str | None = None,
    max_new_tokens: int = 48,
    temperature: float = 1.0,
    batch_tokens: int = 4096,
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
        batch_tokens: Tokens of the answers that are generated at a time, question included; at least one answer is.
        seed: Random seed.

    Raises:
        InputError: Fewer than one answer, or a setting is out of its range.
    """
    n_answers, seed = whole_number(n_answers, "n_answers", least=0), whole_number(seed, "seed", least=0)
    if not n_answers:
        raise InputError("there must be at least one answer to generate")
    batch_tokens = whole_number(batch_tokens, "batch_tokens", least=1)
    asked = render(model, _conversation(question, system), answer=None)
    at_a_time = max(1, batch_tokens // (len(asked.token_ids) + max_new_tokens))
    texts: list[str] = []
    for start in range(0, n_answers, at_a_time):
        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed + start // at_a_time)
        answered = generate(model, [asked] * min(at_a_time, n_answers - start), sampling=sampling)
        texts += [str(model.tokenizer.decode(one.answer_ids, skip_special_tokens=True)) for one in answered]
    return [text for text in texts if text.strip()]


def _conversation(question: str, system: str | None) -> Conversation:
    opening = () if system is None else (Message("system", system),)
    return Conversation("asked", "surface", (*opening, Message("user", question)))


def _layers(direction: Direction, layers: object) -> tuple[int, ...]:
    defined = [layer for layer, reason in enumerate(direction.reasons) if reason is None]
    if layers is None:
        return tuple(defined)
    chosen = distinct_layers(layers)
    for layer in chosen:
        if layer not in defined:
            why = direction.reasons[layer] if 0 <= layer < direction.n_layers else "the model has no such layer"
            raise InputError(f"layer {layer} has no activity: {why}")
    return chosen


@dataclass(frozen=True)
class _Projections:
    """Projections of the tokens of some answers on a direction and on random ones: no hidden state is kept."""

    own: Float[np.ndarray, "layer token"]
    random: Float[np.ndarray, "draw layer token"]
    length: Float[np.ndarray, "layer token"]
    """Of the hidden states."""
    mean_logprob: float = float("nan")
    """Of one answer."""

    @classmethod
    def empty(cls, n_draws: int, n_layers: int, n_tokens: int) -> _Projections:
        return cls(
            np.empty((n_layers, n_tokens)), np.empty((n_draws, n_layers, n_tokens)), np.empty((n_layers, n_tokens))
        )

    def answer(self, tokens: slice, mean_logprob: float) -> _Projections:
        """Return those of one answer."""
        return _Projections(self.own[:, tokens], self.random[..., tokens], self.length[:, tokens], mean_logprob)

    def activity(
        self, direction: Direction, random: RandomScale | None, *, scale: Scale
    ) -> tuple[Float[np.ndarray, "layer token"], Float[np.ndarray, "draw layer token"]]:
        """Return the activity of the direction, float32, and of random directions."""
        own = in_unit(self.own, direction.mean, direction.standard_deviation, self.length, scale=scale)
        if random is None:
            return own.astype(np.float32), self.random
        drawn = in_unit(self.random, random.mean, random.standard_deviation, self.length, scale=scale)
        return own.astype(np.float32), drawn


def _projected(
    model: Model,
    direction: Direction,
    random: RandomScale | None,
    rendered: Sequence[Rendered],
    titles: Sequence[str],
    *,
    batch_tokens: int,
) -> Iterator[tuple[int, _Projections]]:
    """Read the answers in batches and yield the projections of each, the longest first.

    Raises:
        InputError: Numbers of an answer are not finite.
    """
    drawn = np.empty((0, model.width)) if random is None else random.vectors(model.width)
    groups = [(one,) for one in rendered]
    prefix = shared_prefix(model, groups)
    n_prefix = 0 if prefix is None else prefix.get_seq_length()
    for batch in answer_batches(model, groups, n_prefix=n_prefix, batch_tokens=batch_tokens):
        found = _Projections.empty(len(drawn), model.n_layers, int(batch.lengths.sum()))

        def record(layer: int, rows: Tensor, found: _Projections = found) -> None:
            hidden = rows.cpu().numpy().astype(np.float64)
            found.own[layer] = hidden @ direction.vectors[layer].astype(np.float64)
            found.random[:, layer] = drawn @ hidden.T
            found.length[layer] = np.linalg.norm(hidden, axis=1)

        logprob, sound = read_batch(model, batch, prefix, record)
        if not sound.all():
            named = [f'"{titles[batch.pair[sample]]}"' for sample in np.flatnonzero(~sound)]
            raise InputError(not_finite_answers(named, model.dtype))
        means = batch.means(logprob)
        for sample, index in enumerate(batch.pair.tolist()):
            tokens = slice(int(batch.ends[sample] - batch.lengths[sample]), int(batch.ends[sample]))
            yield index, found.answer(tokens, float(means[sample]))
