"""All answers of one question, one after the other, as events for the page; and what is kept of them for export.

result = answer_question(catalogue, question, pass_on=print, is_stopped=lambda: False)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foretell.directions.direction import Direction
from foretell.monitors.live.watching import Scored
from foretell.monitors.monitor import Monitor
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.serving.catalogue import Catalogue
from foretell.serving.live_rows import LiveToken, plain_numbers
from foretell.serving.one_answer import Answering, ReadAnswer
from foretell.serving.question import Question

__all__ = ["Event", "Result", "answer_question"]

Event = dict[str, Any]
"""What happened, as plain JSON; `event` says what."""


@dataclass(frozen=True)
class Result:
    """What was read for one question."""

    question: Question
    model: str
    n_layers: int
    concept: str | None
    answers: tuple[tuple[str, ReadAnswer], ...]
    """Title and numbers of each answer, in their order; fewer than asked for where it was stopped."""


def answer_question(
    catalogue: Catalogue, question: Question, *, pass_on: Callable[[Event], object], is_stopped: Callable[[], bool]
) -> Result:
    """Write or read every answer of a question.

    Args:
        catalogue: Where its model, direction and monitor are.
        question: What is asked, with ids of the catalogue.
        pass_on: Called with every event as soon as it happens.
        is_stopped: Asked at every token and between answers whether to end here.

    Raises:
        InputError: Something named is not in the catalogue, does not fit the model, or is too long.
        SpanError: The conversation cannot be split into segments.
    """
    if not catalogue.is_loaded(question.model):
        pass_on({"event": "loading", "model": question.model})
    model = catalogue.model(question.model)
    direction, monitor, notes = catalogue.fitting(question.model, question.direction, question.monitor)
    for note in notes:
        pass_on({"event": "note", "message": note})
    work = _Work(model, question, direction, monitor, pass_on, is_stopped)
    read: list[tuple[str, ReadAnswer]] = []
    for place, asked in enumerate(question.answers):
        if is_stopped():
            break
        pass_on(work.started(place))
        found = work.answer(place)
        read.append((asked.title, found))
        pass_on(
            {"event": "finished", "answer": place, "outcome": found.outcome, "text": found.text}
            | {"n_generated": len(found.tokens), "attention_layers": list(found.attention_layers)}
        )
    concept = None if direction is None else direction.concept
    return Result(question, model.name, model.n_layers, concept, tuple(read))


@dataclass(frozen=True)
class _Work:
    """One question, and everything that its answers are read with."""

    model: Model
    question: Question
    direction: Direction | None
    monitor: Monitor | None
    pass_on: Callable[[Event], object]
    is_stopped: Callable[[], bool]

    def started(self, place: int) -> Event:
        """Say what is about to be read: sizes, and the tokens of each segment of the prompt."""
        asked = self.question.answers[place]
        event: Event = {"event": "started", "answer": place, "title": asked.title, "is_given": asked.text is not None}
        event["n_layers"] = self.model.n_layers
        event["segments"] = render(self.model, self.question.conversation, answer=None).counts
        event["concept"] = None if self.direction is None else self.direction.concept
        if self.monitor is not None:
            threshold = plain_numbers(self.monitor.threshold.score)
            event["monitor"] = {"threshold": threshold, "behaviour": self.monitor.made_from.behaviour}
        return event

    def answer(self, place: int) -> ReadAnswer:
        """Write or read one answer, and pass on its tokens."""

        def pass_token(token: LiveToken, score: Scored | None) -> None:
            event: Event = {"event": "token", "answer": place, **token.as_json()}
            if score is not None:
                event["score"], event["probability"] = plain_numbers([score.score, score.probability])
                event["alarm"] = score.alarm
            self.pass_on(event)

        answering = Answering(
            self.model,
            direction=self.direction,
            monitor=self.monitor,
            steering=self.question.steering,
            pass_on=pass_token,
            is_stopped=self.is_stopped,
        )
        asked, conversation = self.question.answers[place], self.question.conversation
        if asked.text is not None:
            return answering.given(conversation, asked.text, asked.token_ids)
        draw = conversation.id if place == 0 else f"{conversation.id} {place}"
        return answering.written(conversation, self.question.sampling, draw=draw)
