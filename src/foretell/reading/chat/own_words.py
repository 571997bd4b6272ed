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
    given = sorted((place.start, place.stop) for place in places if place.start < end)
    before_message = {place.start for place in places if place.message is not None}
    header = _header(template, messages, text[:end])
    return tuple(
        Place(None, start, stop, None)
        for piece in _between(text, [*given, (end, end)])
        for start, stop in _pieces(template, text, piece)
        for start, stop in _trimmed(text, start, stop, header if stop in before_message else None, header)
    )


def _header(template: ChatTemplate, messages: Sequence[Message], opening: str) -> str:
    """Return what the template writes between an answer and a later turn of the first turn's role; "" if unknown."""
    first = next((index for index, message in enumerate(messages) if message.role != "system"), None)
    if first is None:
        return ""
    role, stem = messages[first].role, marker_stem(opening)
    begin, middle, last = (f"{stem}{name}End" for name in ("First", "Middle", "Last"))
    answer = Message("assistant" if role != "assistant" else "user", middle)
    try:
        written = template.text([*messages[:first], Message(role, begin), answer, Message(role, last)])
    except SpanError:
        return ""
    _, found, rest = written.rpartition(middle)
    header, found_again, _ = rest.partition(last)
    return _unnumbered(header) if found and found_again else ""


def _unnumbered(text: str) -> str:
    """Return a text with every digit alike, because some templates number the turns."""
    return re.sub(r"\d", "0", text)


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


def _trimmed(text: str, start: int, stop: int, before: str | None, header: str) -> Iterator[tuple[int, int]]:
    """Yield a stretch without tags, role names, headers and blanks at its ends, where words are left.

    Args:
        text: What the template wrote.
        start: Where the stretch begins.
        stop: Where it ends.
        before: What stands in front of a later turn, if the stretch ends where a message begins; else None.
        header: The same, wherever it ends.
    """
    words = text[start:stop]
    if before is not None:
        ended = _common_end(words, before)
        words = words[: len(words) - ended] if re.search(r"\w", words[len(words) - ended :]) else _unheaded(words)
    front = _end(_TAGS_BEFORE, words, _common_start(words, header))
    front = _end(_TAGS_BEFORE, words, _end(_ROLE_BEFORE, words, front))
    words = words[front:]
    if match := _TAGS_AFTER.search(words):
        words = words[: match.start()]
    if re.search(r"\w", words):
        yield start + front, start + front + len(words)


def _unheaded(words: str) -> str:
    match = _HEADER_AFTER.search(words)
    return words[: match.start()] if match else words


def _common_end(words: str, header: str) -> int:
    """Return how many of the last characters are those of the header, cutting no word in two."""
    pairs = zip(reversed(_unnumbered(words)), reversed(header), strict=False)
    n_common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    while n_common and _within_word(words, len(words) - n_common):
        n_common -= 1
    return n_common


def _common_start(words: str, header: str) -> int:
    """Return how many of the first characters are the last ones of the header, cutting no word in two."""
    begun = _unnumbered(words)
    for length in range(min(len(words), len(header)), 0, -1):
        whole = not _within_word(words, length) and not _within_word(header, len(header) - length)
        if whole and begun.startswith(header[-length:]):
            return length
    return 0


def _within_word(text: str, position: int) -> bool:
    return 0 < position < len(text) and bool(re.match(r"\w\w", text[position - 1 : position + 1]))


def _end(pattern: re.Pattern[str], words: str, position: int) -> int:
    match = pattern.match(words, position)
    return match.end() if match else position
