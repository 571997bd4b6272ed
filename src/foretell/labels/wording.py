"""Verifiers of words, letters, numbers, scripts, beginning and end."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from foretell.errors import InputError
from foretell.labels.lengths import counted
from foretell.labels.registry import Verdict, register
from foretell.labels.text import word_parts, words

__all__ = [
    "all_lower",
    "all_upper",
    "avoids_letter",
    "contains_numbers",
    "ends_with",
    "excludes",
    "includes",
    "no_digits",
    "starts_with",
    "word_frequency",
    "written_in",
]

_QUOTES = "\"'“”‘’«»*_` \t\r\n"
_SCRIPT_SHARE = 0.9


def _occurrences(answer: str, phrase: str) -> int:
    """Return how often a word or phrase occurs as whole words, case ignored, without overlap."""
    wanted = word_parts(phrase)
    if not wanted:
        raise InputError(f"{phrase!r} holds no word to look for")
    separator = "\0"
    text = separator + (separator * 2).join(word_parts(answer)) + separator
    return text.count(separator + (separator * 2).join(wanted) + separator)


@register
def includes(answer: str, *, words: Sequence[str]) -> Verdict:
    """Followed when every one of the words (or phrases) occurs as a whole word, case ignored.

    Example:
        >>> includes("The river's bend", words=["river"]).followed
        True
    """
    absent = [word for word in words if not _occurrences(answer, word)]
    return Verdict(not absent, f"missing: {', '.join(absent)}" if absent else "every wanted word is there")


@register
def excludes(answer: str, *, words: Sequence[str]) -> Verdict:
    """Followed when none of the words (or phrases) occurs as a whole word, case ignored.

    Example:
        >>> excludes("The riverbank", words=["river"]).followed
        True
    """
    present = [word for word in words if _occurrences(answer, word)]
    return Verdict(not present, f"forbidden: {', '.join(present)}" if present else "no forbidden word")


@register
def word_frequency(answer: str, *, word: str, count: int) -> Verdict:
    """Followed when a word (or phrase) occurs at least `count` times as a whole word, case ignored.

    Example:
        >>> word_frequency("Rain, rain, go away", word="rain", count=2).followed
        True
    """
    number = _occurrences(answer, word)
    return Verdict(number >= count, f"{counted(number, 'time')}, at least {count} wanted")


@register
def avoids_letter(answer: str, *, letter: str) -> Verdict:
    """Followed when a letter does not occur, case ignored; accented forms are other letters.

    Example:
        >>> avoids_letter("A calm day", letter="e").followed
        True
    """
    composed = unicodedata.normalize("NFC", answer).casefold()
    number = composed.count(unicodedata.normalize("NFC", letter).casefold())
    return Verdict(number == 0, f"the letter occurs {counted(number, 'time')}")


def _cases(answer: str) -> tuple[int, int]:
    upper = (
        sum(map(str.isupper, answer))
        + sum(map(str.istitle, answer))
        - sum(character.isupper() and character.istitle() for character in answer)
    )
    return sum(map(str.islower, answer)), upper


@register
def all_lower(answer: str) -> Verdict:
    """Followed when the answer has lower-case letters and no capital one.

    Example:
        >>> all_lower("no capitals, 3 times").followed
        True
    """
    lower, upper = _cases(answer)
    return Verdict(lower > 0 and not upper, f"{counted(lower, 'lower-case letter')}, {counted(upper, 'capital')}")


@register
def all_upper(answer: str) -> Verdict:
    """Followed when the answer has capital letters and no lower-case one.

    Example:
        >>> all_upper("STOP NOW!").followed
        True
    """
    lower, upper = _cases(answer)
    return Verdict(upper > 0 and not lower, f"{counted(lower, 'lower-case letter')}, {counted(upper, 'capital')}")


@register
def starts_with(answer: str, *, text: str) -> Verdict:
    """Followed when the answer begins with a text as whole words; case, quotes and emphasis marks around it ignored.

    Example:
        >>> starts_with('"Yes, of course."', text="yes").followed
        True
    """
    beginning = _plain(answer).lstrip(_QUOTES)
    wanted = _plain(text).strip(_QUOTES) or text.casefold()
    goes_on = beginning[len(wanted) : len(wanted) + 1]
    whole = not (goes_on.isalnum() and wanted[-1:].isalnum())
    return Verdict(beginning.startswith(wanted) and whole, f"begins {answer.strip()[:40]!r}")


@register
def ends_with(answer: str, *, text: str) -> Verdict:
    """Followed when the answer ends with a text as whole words; case and the last punctuation are ignored.

    Punctuation is compared only where `text` itself ends with it: `ends_with("Why?", text="?")`.

    Example:
        >>> ends_with("We left. The end.", text="the end").followed
        True
    """
    wanted = _plain(text).strip(_QUOTES) or text.casefold()
    trimmed = _plain(answer).rstrip(_QUOTES)
    if wanted[-1:].isalnum():
        trimmed = trimmed.rstrip(_QUOTES + ".!?…。！？")
    before = trimmed[: -len(wanted)][-1:]
    whole = not (before.isalnum() and wanted[:1].isalnum())
    return Verdict(trimmed.endswith(wanted) and whole, f"ends {answer.strip()[-40:]!r}")


def _plain(text: str) -> str:
    """Return the text composed, without case, with plain apostrophes and single spaces."""
    composed = unicodedata.normalize("NFC", text).casefold().replace("’", "'")
    return " ".join(composed.split())


@register
def contains_numbers(answer: str, *, count: int) -> Verdict:
    """Followed when at least `count` words are numbers in digits, such as `7`, `3.14` or `10:30`; "7th" counts too.

    Example:
        >>> contains_numbers("In 1969, 3 men flew", count=2).followed
        True
    """
    number = sum(word[0].isdigit() for word in words(answer))
    return Verdict(number >= count, f"{counted(number, 'number')} in digits, at least {count} wanted")


@register
def no_digits(answer: str) -> Verdict:
    """Followed when the answer holds no digit of any script.

    Example:
        >>> no_digits("three men").followed
        True
    """
    number = sum(map(str.isdigit, answer))
    return Verdict(number == 0, counted(number, "digit"))


@register
def written_in(answer: str, *, script: str) -> Verdict:
    """Followed when at least nine in ten letters belong to a script, such as Greek, Cyrillic, Latin or Arabic.

    A letter's script is the first word of its Unicode name; CJK stands for Chinese characters.

    Example:
        >>> written_in("Καλημέρα σας", script="Greek").followed
        True
    """
    wanted = script.upper()
    letters = [character for character in answer if character.isalpha()]
    number = sum(unicodedata.name(letter, "").startswith(wanted) for letter in letters)
    followed = bool(letters) and number >= _SCRIPT_SHARE * len(letters)
    return Verdict(followed, f"{number} of {counted(len(letters), 'letter')} {'is' if number == 1 else 'are'} {script}")
