"""Why the places of messages cannot be found in what a chat template made of them.

The template is asked again with one content changed at a time, so that the reason is what it does and not a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.chat_template import ChatTemplate, marker_stem

__all__ = ["refusal"]


def refusal(template: ChatTemplate, messages: Sequence[Message], problem: SpanError) -> SpanError:
    """Return the error that says what the template does with these messages.

    Args:
        template: What was asked to write them.
        messages: What it was given.
        problem: What went wrong when their places were looked for.
    """
    try:
        text = template.text(messages)
    except SpanError as refused:
        return refused
    word = f"{marker_stem(text)}Added"
    for index, message in enumerate(messages):
        which = f"message {index} ({message.role})"
        changed = [_changed(template, messages, index, content) for content in _with(message.content, word)]
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


def _with(content: str, word: str) -> tuple[str, str]:
    return f"{content} {word}", f"{word} {content}"


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
