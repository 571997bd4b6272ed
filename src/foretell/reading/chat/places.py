"""Where each message stands in the text that a chat template makes of it.

The template itself is asked: rendered once more with a marker in place of every message, it shows the literal text
around them. Anchored on that, the real text is taken apart from its first to its last character, so words that
repeat a role marker or another message cannot be mistaken for either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.chat_template import ChatTemplate, marker_stem

__all__ = ["Place", "gaps", "located"]

_CHANGES: tuple[Callable[[str], str], ...] = (str, str.upper, str.lower)
"""What a template may make of all letters of a content."""
_OTHER_WORDS = "the chat template writes other words around these messages than around others"


@dataclass(frozen=True)
class Place:
    """A stretch of the rendered text that holds (part of) a message's content."""

    message: int | None
    """Index of the message; None for a text that the template writes of its own accord before the first turn."""
    start: int
    stop: int
    shift: int | None
    """Where in the message's content the stretch begins; None if the template rewrote the content."""


@dataclass(frozen=True)
class _Slot:
    """Where a message's content goes, as the template writes it."""

    message: int
    content: str
    exact: bool
    """Whether it has the characters of the message one by one."""


def located(template: ChatTemplate, messages: Sequence[Message], text: str) -> tuple[Place, ...]:
    """Return the places of all messages that are not empty.

    Raises:
        SpanError: One is missing or has another text around it, or more than one is rewritten.
    """
    filled = [bool(message.content) for message in messages]
    visible = [bool(message.content.strip()) for message in messages]
    try:
        return _located(template, messages, text, filled)
    except SpanError:
        # A template may leave out a turn of blanks, and then its marker would not have been left out.
        if visible == filled:
            raise
        return _located(template, messages, text, visible)


def gaps(places: Sequence[Place], stop: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches before `stop` that are in no place."""
    reached = 0
    for place in sorted(places, key=lambda one: one.start):
        if reached < min(place.start, stop):
            yield reached, min(place.start, stop)
        reached = max(reached, place.stop)
    if reached < stop:
        yield reached, stop


def _located(
    template: ChatTemplate, messages: Sequence[Message], text: str, sought: Sequence[bool]
) -> tuple[Place, ...]:
    """Return the places of the `sought` messages in `text`."""
    stem = marker_stem(text)
    markers = {f"{stem}{index}End": index for index in range(len(messages)) if sought[index]}
    by_index = {index: marker for marker, index in markers.items()}
    marked = [Message(message.role, by_index.get(index, message.content)) for index, message in enumerate(messages)]
    try:
        written = template.text(marked)
    except SpanError as error:
        raise SpanError(f"{error} (with other words in them, to see where they stand)") from error
    literals, slots = _taken_apart(written, markers, messages)
    found = {slot.message for slot in slots}
    for index in markers.values():
        if index not in found:
            raise SpanError(f"the chat template does not write message {index} ({messages[index].role}) as it is")
    return _anchored(text, literals, slots, messages)


def _taken_apart(text: str, markers: dict[str, int], messages: Sequence[Message]) -> tuple[list[str], list[_Slot]]:
    """Return the literal texts around the markers and what each marker found stands for, in order."""
    if not markers:
        return [text], []
    parts = re.split("(" + "|".join(map(re.escape, markers)) + ")", text, flags=re.IGNORECASE)
    literals, slots = [parts[0]], []
    index_of = {marker.casefold(): (index, marker) for marker, index in markers.items()}
    for found, literal in zip(parts[1::2], parts[2::2], strict=True):
        index, marker = index_of[found.casefold()]
        content = messages[index].content
        change = next((one for one in _CHANGES if one(marker) == found), str)
        slots.append(_Slot(index, change(content), exact=len(change(content)) == len(content)))
        literals.append(literal)
    return literals, slots


def _forms(content: str) -> Iterator[tuple[str, int]]:
    """Yield what is left of a content whose ends a template may trim, and how much it cut in front."""
    seen: set[str] = set()
    for blanks in (None, "\n", " "):
        whole = len(content) - len(content.lstrip(blanks))
        forms = ((content, 0), (content.strip(blanks), whole), (content.rstrip(blanks), 0))
        for form, shift in (*forms, (content.lstrip(blanks), whole)):
            if form not in seen:
                seen.add(form)
                yield form, shift


def _anchored(text: str, literals: list[str], slots: Sequence[_Slot], messages: Sequence[Message]) -> tuple[Place, ...]:
    """Match the literals against the text from both ends, and what is between them with the contents."""
    if not text.startswith(literals[0]) or not text.endswith(literals[-1]):
        raise SpanError(_OTHER_WORDS)
    forward, reached = _matched(text, literals, slots)
    if len(forward) == len(slots) and reached == len(text):
        return tuple(forward)
    # One content was rewritten: what is left between both ends is its place.
    mirrored = [_Slot(slot.message, slot.content[::-1], slot.exact) for slot in reversed(slots)]
    backward, left = _matched(text[::-1], [one[::-1] for one in literals[::-1]], mirrored)
    n_rewritten, start, stop = len(slots) - len(forward) - len(backward), reached, len(text) - left
    if n_rewritten > 1:
        first, last = slots[len(forward)].message, slots[-1 - len(backward)].message
        raise SpanError(
            f"the chat template rewrites the content of more than one message, the first is message {first} "
            f"({messages[first].role}) and the last is message {last} ({messages[last].role}); "
            "give contents as the template writes them"
        )
    if n_rewritten < 1 or start > stop:
        raise SpanError(_OTHER_WORDS)
    after = [
        Place(place.message, len(text) - place.stop, len(text) - place.start, _unmirrored(place, messages))
        for place in reversed(backward)
    ]
    return (*forward, Place(slots[len(forward)].message, start, stop, None), *after)


def _unmirrored(place: Place, messages: Sequence[Message]) -> int | None:
    if place.shift is None or place.message is None:
        return None
    return len(messages[place.message].content) - place.shift - (place.stop - place.start)


def _matched(text: str, literals: list[str], slots: Sequence[_Slot]) -> tuple[list[Place], int]:
    """Return the longest run of places that fits from the start, and where the next content would begin."""
    best: tuple[list[Place], int] = ([], len(literals[0]))
    pending: list[tuple[list[Place], int]] = [best]
    tried: set[tuple[int, int]] = set()
    while pending:
        places, position = pending.pop()
        if (len(places), position) in tried:
            continue
        tried.add((len(places), position))
        if len(places) > len(best[0]) or (len(places) == len(slots) and position == len(text)):
            best = (places, position)
        if len(places) == len(slots):
            if position == len(text):
                return best
            continue
        slot, following = slots[len(places)], literals[len(places) + 1]
        for form, shift in reversed(list(_forms(slot.content))):
            end = position + len(form)
            if text.startswith(form, position) and text.startswith(following, end):
                place = Place(slot.message, position, end, shift if slot.exact else None)
                pending.append(([*places, place], end + len(following)))
    return best
