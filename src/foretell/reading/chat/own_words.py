"""What a chat template writes of its own accord before the first turn: a persona, date lines, words about tools.

Such words stand where a system message stands, whether or not one is given beside them, so they are system. They end
where the text of the first turn begins. What a template puts around any turn is not among them: special tokens, tags,
role names, and what it writes in front of a later turn of the same role too.

    words = own_words(template, messages, text, places)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import takewhile

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.chat_template import ChatTemplate, marker_stem
from foretell.reading.chat.places import Place

__all__ = ["own_words"]

_ROLE = r"(?:system|developer|user|human|assistant|model|bot|tool|function)"
_TAG = r"(?:<{1,2}/?[^<>\s]+>{1,2}|\[/?[^\[\]\s]+\])"
_SPECIAL_LIKE = r"<\|[^|<>\s]+\|>"
_TAGS_BEFORE = re.compile(rf"\s*(?:{_TAG}\s*)*")
_TAGS_AFTER = re.compile(rf"(?:\s*{_TAG})*\s*\Z")
_ROLE_BEFORE = re.compile(rf"(?:[^\w\s]+[ \t]*)?{_ROLE}[ \t]*(?::|[^\w\s]*[ \t]*(?:\n|\Z))", flags=re.IGNORECASE)
"""A line of nothing but a role's name, or a role's name with a colon."""
_HEADER_AFTER = re.compile(
    rf"(?:(?:^|\n)[ \t]*(?:[#*<\[=|-]+[ \t]*\w+[ \t]*[^\w\s]*|\w+[ \t]*:)|\b{_ROLE}[ \t]*:|(?:^|\n)[ \t]*{_ROLE})\s*\Z",
    flags=re.IGNORECASE,
)
"""The same right before a message, or a heading of one word, such as `### Instruction:`."""


def own_words(
    template: ChatTemplate, messages: Sequence[Message], text: str, places: Sequence[Place]
) -> tuple[Place, ...]:
    """Return where the template's own words before the first turn stand.

    Args:
        template: What wrote the text.
        messages: What was given.
        text: What the template made of them.
        places: Where the messages stand in it.
    """
    turns = [place.start for place in places if place.message is not None and messages[place.message].role != "system"]
    end = min(turns, default=len(text))
    before_message = {place.start for place in places if place.message is not None}
    end -= _header_length(template, messages, text[:end])
    given = sorted((place.start, place.stop) for place in places if place.start < end)
    return tuple(
        Place(None, start, stop, None)
        for piece in _between(text, [*given, (end, end)])
        for start, stop in _pieces(template, text, piece)
        for start, stop in _trimmed(text, start, stop, header=stop in before_message)
    )


def _header_length(template: ChatTemplate, messages: Sequence[Message], opening: str) -> int:
    """Return how many of the last characters before the first turn stand before a later turn of its role too."""
    first = next((index for index, message in enumerate(messages) if message.role != "system"), None)
    if first is None:
        return 0
    role, stem = messages[first].role, marker_stem(opening)
    begin, middle, last = (f"{stem}{name}End" for name in ("First", "Middle", "Last"))
    answer = Message("assistant" if role != "assistant" else "user", middle)
    try:
        written = template.text([*messages[:first], Message(role, begin), answer, Message(role, last)])
    except SpanError:
        return 0
    _, found, rest = written.rpartition(middle)
    header, found_again, _ = rest.partition(last)
    if not found or not found_again:
        return 0
    ends = zip(reversed(opening), reversed(header), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))


def _between(text: str, given: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    reached = 0
    for start, stop in given:
        if reached < start:
            yield reached, start
        reached = max(reached, stop)


def _pieces(template: ChatTemplate, text: str, piece: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield what stands between special tokens."""
    tokenizer = template.tokenizer
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    known = {name for name in (*special, *tokenizer.all_special_tokens) if name.strip()}
    names = sorted(known, key=lambda name: (-len(name), name))
    reached, end = piece
    for match in _markup(tuple(names)).finditer(text, *piece):
        yield reached, match.start()
        reached = match.end()
    yield reached, end


@lru_cache(maxsize=8)
def _markup(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join([*map(re.escape, names), _SPECIAL_LIKE]))


def _trimmed(text: str, start: int, stop: int, *, header: bool) -> Iterator[tuple[int, int]]:
    """Yield a stretch without tags, role names and blanks at its ends, where words are left."""
    words = text[start:stop]
    front = _end(_TAGS_BEFORE, words, 0)
    front = _end(_TAGS_BEFORE, words, _end(_ROLE_BEFORE, words, front))
    words = words[front:]
    if header and (match := _HEADER_AFTER.search(words)):
        words = words[: match.start()]
    if match := _TAGS_AFTER.search(words):
        words = words[: match.start()]
    if re.search(r"\w", words):
        yield start + front, start + front + len(words)


def _end(pattern: re.Pattern[str], words: str, position: int) -> int:
    match = pattern.match(words, position)
    return match.end() if match else position
