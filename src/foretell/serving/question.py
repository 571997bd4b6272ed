"""A request to answer, checked field by field: nothing in it is used before it is known to be what it should be.

question = parse_question(body)
question.messages, question.answers, question.sampling
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from foretell.conversations.conversation import Conversation, Message, messages_from_entries
from foretell.errors import ConversationError
from foretell.jobs.reading_settings import Sampling
from foretell.serving.request_bounds import MAX_ANSWERS, MAX_DOSE, MAX_NAME, MAX_NEW_TOKENS, MAX_TITLE, RefusedError

__all__ = ["AskedAnswer", "Question", "Steering", "parse_question"]

_FIELDS = ("model", "id", "messages", "answers", "direction", "monitor", "sampling", "steering")
_SAMPLING = ("max_new_tokens", "temperature", "top_p", "seed")
_MOST_INTEGER = 2**53 - 1
"""Beyond it a browser's numbers are no longer exact."""


@dataclass(frozen=True)
class AskedAnswer:
    """One answer: a text that is read as if the model had written it, or None for the model to write."""

    title: str
    text: str | None
    token_ids: tuple[int, ...] | None = None
    """The tokens of a stored answer, where they are known."""


@dataclass(frozen=True)
class Steering:
    """A direction that is added while the answers are written or read."""

    dose: float
    """In standard deviations of the direction, divided evenly among the layers."""
    first: int
    last: int


@dataclass(frozen=True)
class Question:
    """What is asked of a model: ids are those of the catalogue, unchecked."""

    model: str
    conversation: Conversation
    answers: tuple[AskedAnswer, ...]
    direction: str | None
    monitor: str | None
    sampling: Sampling
    steering: Steering | None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation up to the answer."""
        return self.conversation.messages


def parse_question(body: bytes) -> Question:
    """Return the question of a request's body.

    Raises:
        RefusedError: It is no JSON (status 400), or one of its fields is missing, unknown, or out of range (422).
    """
    fields = _Fields(_json(body), "", _FIELDS)
    messages = _messages(fields.required("messages"))
    answers = fields.required("answers")
    if not isinstance(answers, list) or not 1 <= len(answers) <= MAX_ANSWERS:
        _refuse(f"answers: a list of 1 to {MAX_ANSWERS} is needed")
    asked = tuple(_answer(one, number) for number, one in enumerate(answers, start=1))
    steering = fields.get("steering")
    direction = fields.text("direction", most=64)
    if steering is not None and direction is None:
        _refuse("steering: name the direction that is added")
    return Question(
        model=fields.text("model", most=MAX_NAME) or _refuse("model: is missing"),
        conversation=Conversation(fields.text("id", most=200) or "asked", "live", messages),
        answers=asked,
        direction=direction,
        monitor=fields.text("monitor", most=64),
        sampling=_sampling(fields.get("sampling")),
        steering=None if steering is None else _steering(steering),
    )


def _json(body: bytes) -> Any:
    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the request is no JSON: {type(error).__name__}") from error


def _refuse(message: str) -> NoReturn:
    raise RefusedError(422, message)


class _Fields:
    """The fields of one JSON object, by type."""

    def __init__(self, value: Any, where: str, names: Collection[str]) -> None:
        self._where = where
        if not isinstance(value, dict):
            _refuse(f"{where or 'the request'}: a JSON object is needed")
        unknown = sorted(str(name)[:40] for name in value.keys() - set(names))
        if unknown:
            _refuse(f"{where}{unknown[0]!r} is no field of this request: use {', '.join(names)}")
        self._value: dict[str, Any] = value

    def get(self, name: str) -> Any:
        return self._value.get(name)

    def required(self, name: str) -> Any:
        if self._value.get(name) is None:
            _refuse(f"{self._where}{name}: is missing")
        return self._value[name]

    def text(self, name: str, *, most: int | None = None) -> str | None:
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            _refuse(f"{self._where}{name}: a text is needed")
        if most is not None and len(value) > most:
            _refuse(f"{self._where}{name}: has more than {most} characters")
        _check_sound(value, f"{self._where}{name}")
        return value

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        value = default if self.get(name) is None else self.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not least <= value <= most:
            _refuse(f"{self._where}{name}: a number from {least:g} to {most:g} is needed")
        return float(value)

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        value = default if self.get(name) is None else self.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            _refuse(f"{self._where}{name}: a whole number from {least} to {most} is needed")
        return value


def _check_sound(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(f"{where}: holds half a character, which no tokenizer can read")


def _messages(entries: Any) -> tuple[Message, ...]:
    try:
        messages = messages_from_entries(entries)
    except (ConversationError, TypeError) as error:
        raise RefusedError(422, f"messages: {error}") from error
    for number, message in enumerate(messages, start=1):
        _check_sound(message.content, f"message {number}")
    if not messages or messages[-1].role == "system" or not messages[-1].content.strip():
        _refuse("messages: there is nothing to answer; write a question")
    return messages


def _answer(value: Any, number: int) -> AskedAnswer:
    fields = _Fields(value, f"answer {number}: ", ("title", "text", "token_ids"))
    text, ids = fields.text("text"), fields.get("token_ids")
    if text is not None and not text:
        _refuse(f"answer {number}: is empty; leave text out to let the model write")
    if ids is not None and text is None:
        _refuse(f"answer {number}: token_ids need the text that they stand for")
    title = fields.text("title", most=MAX_TITLE)
    title = title or (f"written {number}" if text is None else f"answer {number}")
    return AskedAnswer(title, text, None if ids is None else _token_ids(ids, number))


def _token_ids(ids: Sequence[Any], number: int) -> tuple[int, ...]:
    is_list = isinstance(ids, list) and len(ids) > 0
    if not is_list or not all(type(one) is int and 0 <= one < 2**31 for one in ids):
        _refuse(f"answer {number}: token_ids are no list of token ids")
    return tuple(ids)


def _sampling(value: Any) -> Sampling:
    fields = _Fields({} if value is None else value, "sampling: ", _SAMPLING)
    return Sampling(
        max_new_tokens=fields.whole("max_new_tokens", 64, least=1, most=MAX_NEW_TOKENS),
        temperature=fields.number("temperature", 0.0, least=0.0, most=100.0),
        top_p=fields.number("top_p", 1.0, least=1e-6, most=1.0),
        seed=fields.whole("seed", 0, least=0, most=_MOST_INTEGER),
    )


def _steering(value: Any) -> Steering:
    fields = _Fields(value, "steering: ", ("dose", "layers"))
    layers = fields.required("layers")
    if not isinstance(layers, list) or len(layers) != 2 or not all(type(one) is int for one in layers):
        _refuse("steering: layers are [first, last]")
    first, last = layers
    if not 0 <= first <= last <= _MOST_INTEGER:
        _refuse("steering: layers are [first, last], from 0 on")
    return Steering(fields.number("dose", 0.0, least=-MAX_DOSE, most=MAX_DOSE), first, last)
