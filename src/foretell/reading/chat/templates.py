"""A conversation as the text that a model is given, with the place of every message in it.

rendering = rendered_prompt(tokenizer, conversation.messages)
rendering.text, rendering.places
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.chat_template import ChatTemplate
from foretell.reading.chat.own_words import own_words
from foretell.reading.chat.places import Place, located
from foretell.reading.chat.refusals import refusal

__all__ = ["Place", "Rendering", "rendered_prompt"]

PLAIN_JOIN = "\n\n"
"""What stands after every message for models without a chat template."""
_LIST_SHOWN = re.compile(r"""['"]type['"]: ?['"]text['"]""")
"""What a template that wants a text writes of a list of parts."""


@dataclass(frozen=True)
class Rendering:
    """A prompt as text, and where its messages stand in it."""

    text: str
    places: tuple[Place, ...]
    from_template: bool
    """False for a model without a chat template: messages joined by blank lines."""


def rendered_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Rendering:
    """Return the text that `messages` become, up to where the answer begins, and the place of each one in it.

    Contents are handed to the template as texts, or as lists of parts where it writes them only so. Without a chat
    template every message is followed by a blank line, whatever its role.

    Raises:
        SpanError: The template refuses the messages, leaves one out, or rewrites more than one of them.
    """
    if not tokenizer.chat_template:
        return _plain(messages)
    template = ChatTemplate(tokenizer)
    try:
        return _written(template, messages)
    except SpanError as problem:
        try:
            return _written(ChatTemplate(tokenizer, parts=True), messages)
        except SpanError:
            raise refusal(template, messages, problem) from problem


def _plain(messages: Sequence[Message]) -> Rendering:
    places, position = [], 0
    for index, message in enumerate(messages):
        places.append(Place(index, position, position + len(message.content), 0))
        position += len(message.content) + len(PLAIN_JOIN)
    return Rendering("".join(message.content + PLAIN_JOIN for message in messages), tuple(places), from_template=False)


def _written(template: ChatTemplate, messages: Sequence[Message]) -> Rendering:
    text = template.text(messages)
    places = located(template, messages, text)
    if template.parts and _LIST_SHOWN.search(_around(text, places)):
        raise SpanError("the chat template writes lists of parts as they are")
    return Rendering(text, (*own_words(template, messages, text, places), *places), from_template=True)


def _around(text: str, places: Sequence[Place]) -> str:
    """Return the text without the messages in it."""
    reached, around = 0, []
    for place in sorted(places, key=lambda one: one.start):
        around.append(text[reached : place.start])
        reached = max(reached, place.stop)
    return "\0".join([*around, text[reached:]])
