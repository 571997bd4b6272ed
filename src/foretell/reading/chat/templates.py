"""Where each message of a conversation stands in the text that a chat template makes of it.

The template itself is asked: rendered once more with a marker in place of every message, it shows the literal text
around them. Anchored on that, the real text is taken apart from its first to its last character, so words that
repeat a role marker or another message cannot be mistaken for either.

    rendering = rendered_prompt(tokenizer, conversation.messages)
    rendering.text, rendering.places
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Message
from foretell.errors import SpanError

__all__ = ["Place", "Rendering", "rendered_prompt"]

PLAIN_JOIN = "\n\n"
"""What stands after every message for models without a chat template."""


@dataclass(frozen=True)
class Place:
    """A stretch of the rendered text that holds (part of) a message's content."""

    message: int | None
    """Index of the message; None for a system text that the template adds of its own accord."""
    start: int
    stop: int
    shift: int | None
    """Where in the message's content the stretch begins; None if the template rewrote the content."""


@dataclass(frozen=True)
class Rendering:
    """A prompt as text, and where its messages stand in it."""

    text: str
    places: tuple[Place, ...]
    from_template: bool
    """False for a model without a chat template: messages joined by blank lines."""


def rendered_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Rendering:
    """Return the text that `messages` become, up to where the answer begins, and the place of each one in it.

    Without a chat template every message is followed by a blank line, whatever its role.

    Raises:
        SpanError: The template refuses the messages, leaves one out, or rewrites more than one of them.
    """
    if not tokenizer.chat_template:
        return _plain(messages)
    text = _render(tokenizer, messages)
    try:
        places = _located(tokenizer, messages, text, [bool(message.content) for message in messages])
    except SpanError:
        # A template may leave out a turn of blanks, and then its marker would not have been left out.
        visible = [bool(message.content.strip()) for message in messages]
        if all(shown or not message.content for shown, message in zip(visible, messages, strict=True)):
            raise
        places = _located(tokenizer, messages, text, visible)
    if not any(message.role == "system" for message in messages):
        places = (*_default_system(tokenizer, messages, text), *places)
    return Rendering(text, places, from_template=True)


def _plain(messages: Sequence[Message]) -> Rendering:
    places, position = [], 0
    for index, message in enumerate(messages):
        places.append(Place(index, position, position + len(message.content), 0))
        position += len(message.content) + len(PLAIN_JOIN)
    return Rendering("".join(message.content + PLAIN_JOIN for message in messages), tuple(places), from_template=False)


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except (TemplateError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise SpanError(f"the chat template refuses these messages: {error}") from error


def _located(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], text: str, sought: Sequence[bool]
) -> tuple[Place, ...]:
    """Return the places of the `sought` messages in `text`."""
    marked, markers = _marked(messages, text, sought)
    literals, order = _taken_apart(_render(tokenizer, marked), markers)
    for index in markers.values():
        if index not in order:
            raise SpanError(
                f"the chat template leaves out message {index} ({messages[index].role}); "
                "give its text in a message of another role"
            )
    return _anchored(text, literals, order, messages)


def _marked(messages: Sequence[Message], text: str, sought: Sequence[bool]) -> tuple[list[Message], dict[str, int]]:
    """Return the messages with a marker for the content of those sought, and the message of each marker."""
    stem = "Qz"
    while stem in text:
        stem += "xk"
    markers = {f"{stem}{index}End": index for index in range(len(messages)) if sought[index]}
    by_index = {index: marker for marker, index in markers.items()}
    marked = [Message(message.role, by_index.get(index, message.content)) for index, message in enumerate(messages)]
    return marked, markers


def _taken_apart(text: str, markers: dict[str, int]) -> tuple[list[str], list[int]]:
    """Return the literal texts around the markers and the message of each marker found, in order."""
    if not markers:
        return [text], []
    parts = re.split("(" + "|".join(map(re.escape, markers)) + ")", text)
    return parts[::2], [markers[marker] for marker in parts[1::2]]


def _forms(content: str) -> Iterator[tuple[str, int]]:
    """Yield what a template may make of a content without rewriting it, and how much it cut in front."""
    front = len(content) - len(content.lstrip())
    seen: set[str] = set()
    for form, shift in ((content, 0), (content.strip(), front), (content.rstrip(), 0), (content.lstrip(), front)):
        if form not in seen:
            seen.add(form)
            yield form, shift


def _anchored(text: str, literals: list[str], order: list[int], messages: Sequence[Message]) -> tuple[Place, ...]:
    """Match the literals against the text from both ends, and what is between them with the contents."""
    if not text.startswith(literals[0]) or not text.endswith(literals[-1]):
        raise SpanError("the chat template writes other words around these messages than around others")
    forward, reached = _matched(text, literals, order, messages)
    if len(forward) == len(order) and reached == len(text):
        return tuple(forward)
    # One content was rewritten: what is left between both ends is its place.
    mirrored = [Message(message.role, message.content[::-1]) for message in messages]
    backward, left = _matched(text[::-1], [one[::-1] for one in literals[::-1]], order[::-1], mirrored)
    if len(forward) + len(backward) < len(order) - 1:
        first, last = order[len(forward)], order[-1 - len(backward)]
        raise SpanError(
            f"the chat template rewrites the content of more than one message, the first is message {first} "
            f"({messages[first].role}) and the last is message {last} ({messages[last].role}); "
            "give contents as the template writes them"
        )
    backward = backward[: len(order) - 1 - len(forward)]
    n_after = len(backward)
    index = order[len(forward)]
    start = reached if len(forward) < len(order) else len(text)
    stop = len(text) - (left if n_after == len(backward) else 0)
    if start > stop:
        raise SpanError("the chat template rewrites the content of a message beyond recognition")
    after = [
        Place(place.message, len(text) - place.stop, len(text) - place.start, _unmirrored(place, messages))
        for place in reversed(backward)
    ]
    return (*forward, Place(index, start, stop, None), *after)


def _unmirrored(place: Place, messages: Sequence[Message]) -> int | None:
    if place.shift is None or place.message is None:
        return None
    return len(messages[place.message].content) - place.shift - (place.stop - place.start)


def _matched(text: str, literals: list[str], order: list[int], messages: Sequence[Message]) -> tuple[list[Place], int]:
    """Return the longest run of places that fits from the start, and where the next content would begin."""
    best: tuple[list[Place], int] = ([], len(literals[0]))
    pending: list[tuple[list[Place], int]] = [best]
    while pending:
        places, position = pending.pop()
        if len(places) > len(best[0]) or (len(places) == len(order) and position == len(text)):
            best = (places, position)
        if len(places) == len(order):
            if position == len(text):
                return best
            continue
        index, following = order[len(places)], literals[len(places) + 1]
        for form, shift in reversed(list(_forms(messages[index].content))):
            end = position + len(form)
            if text.startswith(form, position) and text.startswith(following, end):
                pending.append(([*places, Place(index, position, end, shift)], end + len(following)))
    return best


def _default_system(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], text: str) -> tuple[Place, ...]:
    """Return the place of the system text that the template puts where none was given, if it does so."""
    marker = "QzSystem"
    while marker in text:
        marker += "xk"
    try:
        with_system = _render(tokenizer, [Message("system", marker), *messages])
    except SpanError:
        return ()
    if with_system.count(marker) != 1:
        return ()
    before, after = with_system.split(marker)
    stop = len(text) - len(after)
    if len(before) >= stop or not text.startswith(before) or not text.endswith(after):
        return ()
    return (Place(None, len(before), stop, None),)
