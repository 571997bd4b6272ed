"""Splitting text into words and sentences, for every script, in linear time.

There are no regular expressions: an adversarial answer of a million characters takes about a second.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["sentences", "word_parts", "words"]

_JOINERS = frozenset("'’ʼ-‐‑")
_DIGIT_JOINERS = frozenset(".,:")
_FULL_STOPS = frozenset("。！？")
_STOPS = frozenset(".!?…") | _FULL_STOPS
_CLOSERS = frozenset("\"'”’»)]}*_")
_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "mt", "vs", "e.g", "i.e", "cf", "approx"}
) | {*("dept", "fig", "vol", "ca", "al", "gen", "col", "sgt", "capt", "rev", "hon", "gov", "sen", "rep")}
_MAYBE_ABBREVIATIONS = frozenset({"etc", "no", "inc", "ltd", "co", "corp", "a.m", "p.m", "u.s", "u.k", "ph.d"})
"""These may end a sentence too; they do unless a lower-case letter or a digit follows."""


def words(text: str) -> list[str]:
    """Return the words of a text, in order, as they are written (after canonical composition).

    A word is a longest run of letters, digits, marks and underscores. Apostrophes and hyphens between two such
    characters belong to the word (`don't`, `well-known`), and so do a full stop, comma or colon between two digits
    (`3.14`, `10:30`). Scripts written without spaces count each unbroken run as one word.

    Example:
        >>> words("Don't pay 3.50 euros — it's a well-known trick!")
        ["Don't", 'pay', '3.50', 'euros', "it's", 'a', 'well-known', 'trick']
    """
    return "".join(_blanked(unicodedata.normalize("NFC", text))).split()


def word_parts(text: str) -> list[str]:
    """Return the words of a text without case, split at apostrophes and hyphens, for looking a word up.

    Example:
        >>> word_parts("The River's well-known bend")
        ['the', 'river', 's', 'well', 'known', 'bend']
    """
    composed = unicodedata.normalize("NFC", text).casefold()
    return "".join(character if _in_word(character) else " " for character in composed).split()


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, stripped, in order.

    A sentence ends at `.`, `!`, `?` or `…` (a run of them counts once, closing quotes and brackets included) that is
    followed by white space or the end of the text, and at the full-width marks of Chinese and Japanese wherever they
    stand. It does not end at the full stop of an abbreviation such as `Dr.` or `e.g.`, of a single letter (`J. S.
    Bach`), or of a number that opens a line (`1.`); nor at `...`, `etc.` or `U.S.` when a lower-case letter follows.
    Decimals hold no white space and so never end one. A blank line ends a sentence, and each list item begins one.
    What is left at the end without a mark is a sentence too. A piece without any word is none.

    Example:
        >>> sentences("Dr. Lee paid 3.50 euros... then left. Why? No one knows")
        ['Dr. Lee paid 3.50 euros... then left.', 'Why?', 'No one knows']
    """
    return [sentence for block in _blocks(text) for sentence in _split(block) if any(map(str.isalnum, sentence))]


def _in_word(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character == "_"
    return character.isalnum() or unicodedata.category(character)[0] == "M"


def _blanked(text: str) -> Iterator[str]:
    """Yield the text's characters with a space for each one that is in no word."""
    last = len(text) - 1
    for index, character in enumerate(text):
        if (
            _in_word(character)
            or (0 < index < last and character in _JOINERS and _in_word(text[index - 1]) and _in_word(text[index + 1]))
            or (
                0 < index < last
                and character in _DIGIT_JOINERS
                and text[index - 1].isdigit()
                and text[index + 1].isdigit()
            )
        ):
            yield character
        else:
            yield " "


def _blocks(text: str) -> Iterator[str]:
    """Yield stretches of lines between blank lines; a list item begins a stretch of its own."""
    lines: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if lines and (not stripped or _opens_item(stripped)):
            yield " ".join(lines)
            lines = []
        if stripped:
            lines.append(stripped)
    if lines:
        yield " ".join(lines)


def _opens_item(line: str) -> bool:
    marker = line.split(maxsplit=1)[0]
    return marker in {"-", "*", "•", "–", "+"} or (marker[:-1].isdigit() and marker[-1] in ".)")


def _split(block: str) -> Iterator[str]:
    start, index, length = 0, 0, len(block)
    while index < length:
        if block[index] not in _STOPS:
            index += 1
            continue
        first = index
        while index < length and block[index] in _STOPS:
            index += 1
        stop = index
        while index < length and block[index] in _CLOSERS:
            index += 1
        wide = any(character in _FULL_STOPS for character in block[first:stop])
        if wide or ((index == length or block[index].isspace()) and not _goes_on(block, start, first, stop, index)):
            yield block[start:index].strip()
            start = index
    yield block[start:].strip()


def _goes_on(block: str, start: int, first: int, stop: int, after: int) -> bool:
    """Whether the marks at `first:stop` stand inside a sentence that goes on after `after`."""
    following = block[after : after + 1 + _LOOKAHEAD].lstrip()[:1]
    marks = block[first:stop]
    if marks in {"…", "..", "..."}:
        return following.islower()
    if marks != ".":
        return False
    before = block[max(start, first - _LOOKBACK) : first].split()
    word = before[-1].lstrip("(\"'“‘[").casefold() if before else ""
    if word in _ABBREVIATIONS:
        return bool(following)
    if word in _MAYBE_ABBREVIATIONS:
        return following.islower() or following.isdigit()
    if len(word) == 1 and word.isalpha() and word not in {"i", "a"}:
        return bool(following)
    opens_line = len(before) == 1 and not block[start : max(start, first - _LOOKBACK)].strip()
    return opens_line and word.isdigit() and bool(following)


_LOOKAHEAD = 4
_LOOKBACK = 24
