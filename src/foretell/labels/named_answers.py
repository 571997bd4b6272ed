"""Which answer to a question a text names: the accepted one, another one, or none; numbers by their value.

Verifiers that need no judge, because the accepted spellings of the answer are known. `Named` says what the rules are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from foretell.labels.keywords import folded, splits_word
from foretell.labels.number_words import number_of, with_digits
from foretell.labels.text import sentences, words

__all__ = ["Named", "named_answers", "plain"]

_SENTENCES = 2
_BROKEN_OFF_WORDS = 8
_LOOKBACK = 60
_ENDS = ".!?…。！？\"'”’)]*`"
_YEAR, _DAYS = 1000, 100
_NUMBER = re.compile(r"(?<![\w.,])-?\d+(?:\.\d+)?(?!\w)")
_GAP = r"[\s\-*_~`.']+"
_WORD_DENIED = r"(?!but\b|is\b|it\b|was\b)[^\s.,;:]+\s+"
_DENIED = re.compile(
    rf"(?:\b(?:not|never|nor|without|rather than|instead of)|n't)\s+(?:{_WORD_DENIED}){{0,2}}['\"*_]*$", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\b(?:i|we)(?: (?:do|can|am|could|would|have)(?: not|n't)\b|'m (?:sorry|not|unable)| cannot\b| am (?:sorry|unable)"
    r"| have no\b)|\bas an? (?:ai|language|helpful|chatbot)\b",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(r"\b(?:unknown|unsure)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Named:
    """What the deciding sentence of an answer names, in its order.

    The deciding sentence is the first one that names any answer, of the first two sentences.
    """

    accepted: tuple[str, ...]
    others: tuple[str, ...]
    accepted_first: bool
    """Whether an accepted answer stands before every other one."""
    silence: str | None
    """Why nothing is named and nothing can be said: a refusal, or a text that breaks off; None for a whole text."""


def plain(text: str) -> str:
    """Return a text without accents, with digits for number words, and with one form of apostrophe and hyphen.

    Example:
        >>> plain("Bogotá has forty-two parks, or 1,042.0")
        'Bogota has 42 parks, or 1042'
    """
    letters = unicodedata.normalize("NFD", text.translate(_SAME))
    unmarked = "".join(character for character in letters if unicodedata.category(character) != "Mn")
    return with_digits(unicodedata.normalize("NFC", unmarked))


def named_answers(answer: str, accepted: Sequence[str], others: Sequence[str] = (), asked: str = "") -> Named:
    """Return which answers a text names.

    Args:
        answer: What the model wrote.
        accepted: Spellings of the right answer. Where all are numbers, numbers are compared by value.
        others: Spellings of other answers of the same kind; those that are accepted or stand in `asked` are left out.
            Where numbers are accepted and none are given here, every number that does not stand in `asked` is one,
            except those below 100 where a year is accepted (they may be days).
        asked: The question, whose words say nothing when they are repeated.

    Returns:
        Whole words are looked for, without accents and case; a spelling of one or two letters is a symbol, whose case
        counts, and another answer that is written with a capital must have one. Words after "not", "rather than" and
        the like are not named, nor is anything in a sentence that refuses ("I do not know"). A number at the very end
        of a text that breaks off may lack digits and is not named.
    """
    numeric = all(number_of(plain(spelling)) is not None for spelling in accepted)
    mentions = _numbers if numeric else _spelled
    for sentence in sentences(answer)[:_SENTENCES]:
        text = plain(sentence)
        if _REFUSAL.search(text):
            continue
        found = mentions(text, accepted, others, asked)
        kept = [one for one in _longest(found) if not _DENIED.search(text[max(0, one[0] - _LOOKBACK) : one[0]])]
        if numeric and kept and kept[-1][1] == len(text) and _breaks_off(answer) and answer.rstrip().endswith(sentence):
            kept.pop()
        if kept:
            right = tuple(text[start:stop] for start, stop, wanted in kept if wanted)
            wrong = tuple(text[start:stop] for start, stop, wanted in kept if not wanted)
            return Named(right, wrong, kept[0][2], None)
    return Named((), (), accepted_first=False, silence=_silence(answer))


_Mention = tuple[int, int, bool]
"""Where an answer is named, start and stop, and whether it is accepted."""


def _numbers(text: str, accepted: Sequence[str], others: Sequence[str], asked: str) -> Iterator[_Mention]:
    wanted = {number_of(plain(spelling)) for spelling in accepted}
    against = {number_of(plain(spelling)) for spelling in others}
    repeated = {float(found[0]) for found in _NUMBER.finditer(plain(asked))}
    year = all(value is not None and value >= _YEAR for value in wanted)
    for found in _NUMBER.finditer(text):
        value = float(found[0])
        if value in wanted:
            yield found.start(), found.end(), True
        elif (
            (value in against)
            if against
            else (value not in repeated and -value not in repeated and not (year and value < _DAYS))
        ):
            yield found.start(), found.end(), False


def _spelled(text: str, accepted: Sequence[str], others: Sequence[str], asked: str) -> Iterator[_Mention]:
    lower = text.casefold()
    wanted = [_spelling(one) for one in accepted]
    for spelling in wanted:
        yield from ((start, stop, True) for start, stop in _places(text, spelling))
    for written in others:
        spelling = _spelling(written)
        if spelling.first not in lower or spelling.folded in {one.folded for one in wanted}:
            continue
        places = [place for place in _places(text, spelling) if text[place[0]].isupper() or not spelling.capital]
        if places and not any(_places(plain(asked), spelling)):
            yield from ((start, stop, False) for start, stop in places)


@dataclass(frozen=True)
class _Spelling:
    folded: str
    first: str
    """Its first word, without case."""
    capital: bool
    pattern: re.Pattern[str]


@lru_cache(maxsize=8192)
def _spelling(written: str) -> _Spelling:
    text = plain(written)
    parts = re.findall(r"[^\s\-.']+", text) or [text]
    symbol = len(text) <= len("Xx")
    pattern = re.compile(_GAP.join(map(re.escape, parts)), re.NOFLAG if symbol else re.IGNORECASE)
    return _Spelling(folded(text), parts[0].casefold(), text[:1].isupper(), pattern)


def _places(text: str, spelling: _Spelling) -> Iterator[tuple[int, int]]:
    """Yield where a spelling stands as whole words."""
    for found in spelling.pattern.finditer(text):
        if not splits_word(text, found.start()) and not splits_word(text, found.end()):
            yield found.span()


def _longest(found: Iterator[_Mention]) -> list[_Mention]:
    """Return mentions in their order, of those that overlap the longest, and of equal ones the accepted one."""
    kept: list[_Mention] = []
    for one in sorted(found, key=lambda one: (one[0], -one[1], not one[2])):
        if not kept or one[0] >= kept[-1][1]:
            kept.append(one)
        elif one[1] - one[0] > kept[-1][1] - kept[-1][0]:
            kept[-1] = one
    return kept


def _breaks_off(answer: str) -> bool:
    return answer.rstrip()[-1:] not in _ENDS and len(words(answer)) >= _BROKEN_OFF_WORDS


def _silence(answer: str) -> str | None:
    text = plain(answer)
    if _REFUSAL.search(text) or _UNKNOWN.search(text):
        return "the answer refuses or says that it does not know"
    if len(sentences(answer)) <= _SENTENCES and _breaks_off(answer):
        return "the answer breaks off before it names an answer"
    return None


_SAME = str.maketrans(dict.fromkeys("’ʼ＇‘`", "'") | dict.fromkeys("‐‑–", "-"))
