"""A conversation as the text that a model is given, with the place of every message in it.

text, places = rendered_prompt(tokenizer, conversation.messages)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.chat_template import ChatTemplate, marker_stem
from foretell.reading.chat.own_words import own_words
from foretell.reading.chat.places import Place, gaps, located

__all__ = ["rendered_prompt"]

PLAIN_JOIN = "\n\n"
"""What stands after every message for models without a chat template."""
_LIST_SHOWN = re.compile(r"""['"]type['"]: ?['"]text['"]""")
"""What a template that wants a text writes of a list of parts."""


def rendered_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[str, tuple[Place, ...]]:
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
            raise _refusal(template, messages, problem) from problem


def _plain(messages: Sequence[Message]) -> tuple[str, tuple[Place, ...]]:
    places, position = [], 0
    for index, message in enumerate(messages):
        places.append(Place(index, position, position + len(message.content), 0))
        position += len(message.content) + len(PLAIN_JOIN)
    return "".join(message.content + PLAIN_JOIN for message in messages), tuple(places)


def _written(template: ChatTemplate, messages: Sequence[Message]) -> tuple[str, tuple[Place, ...]]:
    text = template.text(messages)
    places = located(template, messages, text)
    around = "\0".join(text[start:stop] for start, stop in gaps(places, len(text)))
    if template.parts and _LIST_SHOWN.search(around):
        raise SpanError("the chat template writes lists of parts as they are")
    return text, (*own_words(template, messages, text, places), *places)


def _refusal(template: ChatTemplate, messages: Sequence[Message], problem: SpanError) -> SpanError:
    """Return the error that says why the places of messages cannot be found in what the template made of them.

    The template is asked again with one content changed at a time, so that the reason is what it does and not a guess.
    """
    try:
        text = template.text(messages)
    except SpanError as refused:
        return refused
    word = f"{marker_stem(text)}Added"
    for index, message in enumerate(messages):
        which = f"message {index} ({message.role})"
        changed = [
            _changed(template, messages, index, content)
            for content in (f"{message.content} {word}", f"{word} {message.content}")
        ]
        written = [one for one in changed if one is not None]
        if not message.content.strip() or not written:
            continue
        if all(one == text for one in written):
            if _wanted_as_parts(template, messages, index, word):
                return SpanError(
                    f"the chat template wants the content of {which} as a list of parts and that of others as text, "
                    "which is not supported; set tokenizer.chat_template to one that takes texts or lists throughout"
                )
            return SpanError(
                f"the chat template leaves out {which}; give its text in a message of another role"
                + ("" if message.role == "system" else ", or leave out the message")
            )
        if not any(word.casefold() in one.casefold() for one in written):
            return SpanError(
                f"the chat template rewrites the content of {which} beyond recognition; give contents as the template "
                "writes them"
            )
    return problem


def _changed(template: ChatTemplate, messages: Sequence[Message], index: int, content: str) -> str | None:
    """Return what the template writes with another content of one message, or None where it refuses that."""
    other = [replace(one, content=content, spans=()) if at == index else one for at, one in enumerate(messages)]
    try:
        return template.text(other)
    except SpanError:
        return None


def _wanted_as_parts(template: ChatTemplate, messages: Sequence[Message], index: int, word: str) -> bool:
    """Tell whether a word alone is written as a part and not as a text, whatever the content says."""
    as_text, as_part = (
        _changed(replace(template, parts=parts), messages, index, word) or "" for parts in (False, True)
    )
    return word in as_part and word not in as_text
