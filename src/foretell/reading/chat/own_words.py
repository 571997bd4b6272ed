"""What a chat template writes of its own accord before the first turn: a persona, date lines, words about tools.

Such words stand where a system message stands, whether or not one is given beside them, so they are system. They end
where the text of the first turn begins. What a template puts around any turn is not among them: special tokens, tags,
role names, and what it writes in front of a later turn of the same role too.

    words = own_words(template, messages, text, places)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.chat_template import ChatTemplate, marker_stem
from foretell.reading.chat.places import Place, gaps

__all__ = ["own_words"]

_ROLE = r"(?:system|developer|user|human|assistant|model|bot|tool|function)"
_TAG = r"(?:<{1,2}/?[^<>\s]+>{1,2}|\[/?[^\[\]\s]+\])"
_SPECIAL_LIKE = r"<\|[^|<>\s]+\|>"
_TAGS_AFTER = re.compile(rf"(?:\s*{_TAG})*\s*\Z")
_ROLE_BEFORE = rf"(?:[^\w\s]+[ \t]*)?{_ROLE}[ \t]*(?::|[^\w\s]*[ \t]*(?:\n|\Z))"
"""A line of nothing but a role's name, or a role's name with a colon."""
_HEADER_BEFORE = re.compile(rf"\s*(?:{_TAG}\s*)*(?:{_ROLE_BEFORE})?\s*(?:{_TAG}\s*)*", flags=re.IGNORECASE)
_HEADER_AFTER = re.compile(
    rf"(?:(?:^|\n)[ \t]*(?:[#*<\[=|-]+[ \t]*\w+[ \t]*[^\w\s]*|\w+[ \t]*:)|\b{_ROLE}[ \t]*:|(?:^|\n)[ \t]*{_ROLE})\s*\Z",
    flags=re.IGNORECASE,
)
"""The same right before a message, or a heading of one word, such as `### Instruction:`."""


def own_words(
    template: ChatTemplate, messages: Sequence[Message], text: str, places: Sequence[Place]
) -> tuple[Place, ...]:
    """Return where the template's own words before the first turn stand, by the places of the messages."""
    turns = [place.start for place in places if place.message is not None and messages[place.message].role != "system"]
    end = min(turns, default=len(text))
    message_starts = {place.start for place in places if place.message is not None}
    header = _header(template, messages, text[:end])
    return tuple(
        Place(None, start, stop, None)
        for piece in gaps(places, end)
        for start, stop in _pieces(template, text, piece)
        for start, stop in _trimmed(text, start, stop, header, before_message=stop in message_starts)
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


def _pieces(template: ChatTemplate, text: str, piece: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield what stands between special tokens."""
    tokenizer = template.tokenizer
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    known = {name for name in (*special, *tokenizer.all_special_tokens) if name.strip()}
    names = sorted(known, key=lambda name: (-len(name), name))
    markup = re.compile("|".join([*map(re.escape, names), _SPECIAL_LIKE]))
    reached, end = piece
    for match in markup.finditer(text, *piece):
        yield reached, match.start()
        reached = match.end()
    yield reached, end


def _trimmed(text: str, start: int, stop: int, header: str, *, before_message: bool) -> Iterator[tuple[int, int]]:
    """Yield a stretch without tags, role names, headers and blanks at its ends, where words are left.

    `header` is what stands in front of a later turn; one at the end is cut off only where a message begins there.
    """
    words = text[start:stop]
    if before_message:
        rest = words[: len(words) - _common_end(words, header)]
        words = rest if re.search(r"\w", words[len(rest) :]) else _HEADER_AFTER.sub("", words)
    stop = start + len(words)
    words = _HEADER_BEFORE.sub("", words[_common_start(words, header) :], count=1)
    start = stop - len(words)
    words = _TAGS_AFTER.sub("", words)
    if re.search(r"\w", words):
        yield start, start + len(words)


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
