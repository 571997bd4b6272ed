"""One sample: what was said to a model, what it answered, and which part of it is which segment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from foretell.errors import ConversationError

__all__ = ["Conversation", "Message", "Role", "Span"]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Span:
    """A character range of a message's content and the segment it belongs to."""

    start: int
    stop: int
    segment: str


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Characters that no span covers belong to `system` in a system message, to `query` in the last user
    message (to `prompt` where that message has spans of its own), and to `prompt` everywhere else.
    """

    role: Role
    content: str
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """One sample: the messages before the answer, the answer if there is one, and its label if known."""

    id: str
    dataset: str
    messages: tuple[Message, ...]
    answer: str | None = None
    group: str | None = None
    """Samples of one group depend on each other; None means the sample stands alone."""
    stratum: str | None = None
    """Kind of task, which may itself predict the label."""
    verifier: Mapping[str, Any] | None = field(default=None, hash=False)
    """A check of the answer: `{"name": ..., **arguments}`, see `foretell.verifiers`."""
    behavior_label: int | None = None
    label_source: str | None = None
    label_reason: str | None = None

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
            ConversationError: The text is no JSON list of messages.
        """
        try:
            return tuple(
                Message(entry["role"], entry["content"], tuple(Span(*span) for span in entry.get("spans", ())))
                for entry in json.loads(text)
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ConversationError(f"messages are not a JSON list of role and content: {error}") from error
