"""One sample: messages, answer, segments and label."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from foretell.display import DisplayedRecord, Facts
from foretell.errors import ConversationError, InputError

__all__ = ["Conversation", "Message", "Role", "Span", "messages_from_entries", "require_answers"]

Role = Literal["system", "user", "assistant", "tool"]

_CONTENT_SEGMENTS = ("system", "prompt", "query", "template")


@dataclass(frozen=True, repr=False)
class Span(DisplayedRecord):
    """A character range of a message's content and the segment it belongs to."""

    start: int
    stop: int
    segment: str


@dataclass(frozen=True, repr=False)
class Message(DisplayedRecord):
    """One turn of a conversation.

    Characters that no span covers belong to `system` in a system message, to `query` in the last user
    message (to `prompt` where that message has spans of its own), and to `prompt` everywhere else.
    """

    role: Role
    content: str
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, repr=False)
class Conversation(DisplayedRecord):
    """One sample: the messages before the answer, the answer if there is one, and its label if known."""

    id: str
    dataset: str
    messages: tuple[Message, ...]
    answer: str | None = None
    group: str | None = None
    """Samples of one group are dependent; None: the sample is its own group."""
    stratum: str | None = None
    """Task type, which may itself predict the label."""
    verifier: Mapping[str, Any] | None = field(default=None, hash=False)
    """A check of the answer: `{"name": ..., **arguments}`, see `foretell.labels.verifiers`."""
    behavior_label: int | None = None
    label_source: str | None = None
    label_reason: str | None = None
    answer_token_ids: tuple[int, ...] | None = None
    """The answer's tokens. Where they are given, exactly these are read; a text alone may be cut into others."""
    behaviour: str | None = None
    """What label 1 means, as a short clause: "answered correctly", "gave in to a false claim"."""
    writer: str | None = None
    """Name of the model that wrote the answer, where it is known."""

    @property
    def has_answer(self) -> bool:
        """Whether there is anything to read: a text or tokens."""
        return bool(self.answer or self.answer_token_ids)

    def facts(self) -> Facts:
        """Return the messages and the answer as a table, and the rest as facts."""
        texts = {"id", "messages", "answer"}
        known = [(name, text) for name, text in super().facts().facts if name not in texts]
        rows: list[tuple[str, str]] = [(message.role, message.content) for message in self.messages]
        rows += [] if self.answer is None else [("answer", self.answer)]
        return Facts("Conversation", self.id, known, ("role", "text"), rows)

    def messages_json(self) -> str:
        """Return the messages as JSON, spans included, for a table cell."""
        return json.dumps(
            [
                {
                    "role": message.role,
                    "content": message.content,
                    **({"spans": [[s.start, s.stop, s.segment] for s in message.spans]} if message.spans else {}),
                }
                for message in self.messages
            ],
            ensure_ascii=False,
        )

    @staticmethod
    def messages_from_json(text: str) -> tuple[Message, ...]:
        """Return the messages that `messages_json` wrote.

        Raises:
            ConversationError: The text is no JSON list of messages, or a message is not as it should be.
        """
        try:
            entries = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ConversationError(f"messages are not a JSON list of role and content: {error}") from error
        return messages_from_entries(entries)


def require_answers(conversations: Sequence[Conversation]) -> None:
    """Refuse conversations of which none has an answer.

    Raises:
        InputError: Every answer is absent or empty.

    Example:
        >>> require_answers([Conversation("a", "own", (Message("user", "Hi"),), answer="Hello")])
    """
    if not any(conversation.has_answer for conversation in conversations):
        raise InputError(
            f"none of the {len(conversations)} conversations has an answer to read: give answers, or let the model "
            "write them (answers='generate', on the command line --answers generate)"
        )


def messages_from_entries(entries: Any) -> tuple[Message, ...]:
    """Return messages from a list of `{"role": ..., "content": ..., "spans": [[start, stop, segment], ...]}`.

    Raises:
        ConversationError: It is no such list; the text says which message and what of it.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, (str, bytes)):
        raise ConversationError("messages are not a JSON list of role and content")
    return tuple(_message(number, entry) for number, entry in enumerate(entries, start=1))


def _message(number: int, entry: Any) -> Message:
    if not isinstance(entry, Mapping) or not {"role", "content"} <= entry.keys():
        raise ConversationError(f"message {number} is not an object with role and content")
    role, content, spans = entry["role"], entry["content"], entry.get("spans") or ()
    if role not in get_args(Role):
        raise ConversationError(f"message {number} has the role {str(role)[:40]!r}: use {', '.join(get_args(Role))}")
    for name in ("tool_calls", "function_call"):
        if entry.get(name):
            raise ConversationError(f"message {number} has {name}, which are no text that a message can hold")
    if isinstance(content, list) and content and all(_is_text_part(part) for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise ConversationError(f"message {number} has a content that is no text")
    if not isinstance(spans, Sequence) or isinstance(spans, (str, bytes)):
        raise ConversationError(f"message {number} has spans that are no list of [start, stop, segment]")
    return Message(role, content, _spans(number, len(content), spans))


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in {None, "text"} and isinstance(part.get("text"), str)


def _spans(number: int, length: int, entries: Sequence[Any]) -> tuple[Span, ...]:
    """Return the spans of one message, checked: inside its text, in order, without overlap, of known segments."""
    spans: list[Span] = []
    for entry in entries:
        if not isinstance(entry, Sequence) or len(entry) != len(("start", "stop", "segment")):
            raise ConversationError(f"message {number} has a span that is not [start, stop, segment]")
        start, stop, segment = entry
        if not all(isinstance(end, int) and not isinstance(end, bool) for end in (start, stop)):
            raise ConversationError(f"message {number} has a span whose ends are no whole numbers")
        if segment not in _CONTENT_SEGMENTS:
            raise ConversationError(f"message {number} has a span of {str(segment)[:40]!r}: use {_CONTENT_SEGMENTS}")
        if not (spans[-1].stop if spans else 0) <= start <= stop <= length:
            raise ConversationError(f"message {number} has a span {start} to {stop} that overlaps or leaves its text")
        spans.append(Span(start, stop, segment))
    return tuple(spans)
