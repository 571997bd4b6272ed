"""Verifiers of words, letters, numbers, scripts, beginning and end."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Annotated

from foretell.errors import InputError
from foretell.labels.keywords import folded, known_keyword, occurrences, splits_word
from foretell.labels.lengths import counted
from foretell.labels.registry import Verdict, register
from foretell.labels.scripts import in_script, known_script
from foretell.labels.text import word_starts

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

_QUOTES = "\"'“”‘’«»„「」『』*_` \t\r\n"
_ENDINGS = ".!?…。！？｡؟۔।॥።"
_SCRIPT_SHARE = 0.9


def _some_keywords(phrases: Sequence[str]) -> Sequence[str]:
    if not phrases:
        raise InputError("must be a list of one or more words")
    return [known_keyword(phrase) for phrase in phrases]


Keyword = Annotated[str, known_keyword]
Keywords = Annotated[Sequence[str], _some_keywords]


@register
def includes(answer: str, *, words: Keywords) -> Verdict:
    """Followed when every one of the words (or phrases) occurs as a whole word, case ignored.

    `foretell.labels.keywords.occurrences` says what a whole word is. IFEval (`keywords:existence`) also finds a keyword
    within a longer word, such as "war" in "award"; this rule does not.

    Example:
        >>> includes("The river's bend", words=["river"]).followed
        True
    """
    absent = [word for word in _some_keywords(words) if not occurrences(answer, word)]
    return Verdict(not absent, f"missing: {', '.join(absent)}" if absent else "every wanted word is there")


@register
def excludes(answer: str, *, words: Keywords) -> Verdict:
    """Followed when none of the words (or phrases) occurs as a whole word, case ignored.

    `foretell.labels.keywords.occurrences` says what a whole word is. IFEval (`keywords:forbidden_words`) has the same
    rule for English words; it takes no notice of `_river_`, and finds "C" in "C++".

    Example:
        >>> excludes("The riverbank", words=["river"]).followed
        True
    """
    present = [word for word in _some_keywords(words) if occurrences(answer, word)]
    return Verdict(not present, f"forbidden: {', '.join(present)}" if present else "no forbidden word")


@register
def word_frequency(answer: str, *, word: Keyword, count: int) -> Verdict:
    """Followed when a word (or phrase) occurs at least `count` times as a whole word, case ignored.

    `foretell.labels.keywords.occurrences` says what a whole word is. IFEval (`keywords:frequency`) also counts a
    keyword within longer words, such as "story" in "history"; this rule does not.

    Example:
        >>> word_frequency("Rain, rain, go away", word="rain", count=2).followed
        True
    """
    number = occurrences(answer, word)
    return Verdict(number >= count, f"{counted(number, 'time')}, at least {count} wanted")


def _clusters(text: str) -> list[str]:
    """Return the characters of a text without case, each with the marks that combine with it."""
    found: list[str] = []
    for character in unicodedata.normalize("NFC", text.lower()):
        if found and unicodedata.category(character)[0] == "M":
            found[-1] += character
        else:
            found.append(character)
    return found


def _one_letter(letter: str) -> str:
    clusters = _clusters(letter)
    if len(clusters) != 1:
        raise InputError(f"must be one letter, not {letter[:40]!r}")
    return clusters[0]


@register
def avoids_letter(answer: str, *, letter: Annotated[str, _one_letter]) -> Verdict:
    """Followed when a letter does not occur, case ignored; accented forms are other letters.

    IFEval (`keywords:letter_frequency`) counts the same way, also marks such as `#`.

    Example:
        >>> avoids_letter("A calm day", letter="e").followed
        True
    """
    number = _clusters(answer).count(_one_letter(letter))
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

    IFEval (`change_case:english_lowercase`) also demands that the answer is recognised as English; this rule does not.

    Example:
        >>> all_lower("no capitals, 3 times").followed
        True
    """
    lower, upper = _cases(answer)
    return Verdict(lower > 0 and not upper, f"{counted(lower, 'lower-case letter')}, {counted(upper, 'capital')}")


@register
def all_upper(answer: str) -> Verdict:
    """Followed when the answer has capital letters and no lower-case one.

    IFEval (`change_case:english_capital`) also demands that the answer is recognised as English; this rule does not.

    Example:
        >>> all_upper("STOP NOW!").followed
        True
    """
    lower, upper = _cases(answer)
    return Verdict(upper > 0 and not lower, f"{counted(lower, 'lower-case letter')}, {counted(upper, 'capital')}")


@register
def starts_with(answer: str, *, text: str) -> Verdict:
    """Followed when the answer begins with a text as whole words; case, quotes and emphasis marks around it ignored.

    A script without spaces between words shows no end of a word: "是" begins "是的".

    Example:
        >>> starts_with('"Yes, of course."', text="yes").followed
        True
    """
    beginning = _plain(answer).lstrip(_QUOTES)
    wanted = _plain(text).strip(_QUOTES) or text.casefold()
    followed = beginning.startswith(wanted) and not splits_word(beginning, len(wanted))
    return Verdict(followed, f"begins {answer.strip()[:40]!r}")


@register
def ends_with(answer: str, *, text: str) -> Verdict:
    """Followed when the answer ends with a text as whole words; case and the last punctuation are ignored.

    Punctuation is compared only where `text` itself ends with it: `ends_with("Why?", text="?")`. IFEval
    (`startend:end_checker`) compares all of it, ignores straight quotes only, and takes "end" for the end of "legend".

    Example:
        >>> ends_with("We left. The end.", text="the end").followed
        True
    """
    wanted = _plain(text).strip(_QUOTES) or text.casefold()
    trimmed = _plain(answer).rstrip(_QUOTES)
    if wanted[-1:].isalnum():
        trimmed = trimmed.rstrip(_QUOTES + _ENDINGS)
    followed = trimmed.endswith(wanted) and not splits_word(trimmed, len(trimmed) - len(wanted))
    return Verdict(followed, f"ends {answer.strip()[-40:]!r}")


def _plain(text: str) -> str:
    """Return the text composed, without case, with plain apostrophes and single spaces."""
    return " ".join(folded(text).split())


@register
def contains_numbers(answer: str, *, count: int) -> Verdict:
    """Followed when at least `count` words are numbers in digits, such as `7`, `3.14` or `10:30`; "7th" counts too.

    A digit within a word, as in "B2", is no number; next to a script without spaces (`第3章`) it is one.

    Example:
        >>> contains_numbers("In 1969, 3 men flew", count=2).followed
        True
    """
    number = sum(map(str.isdigit, word_starts(answer)))
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
def written_in(answer: str, *, script: Annotated[str, known_script]) -> Verdict:
    """Followed when at least nine in ten letters belong to a script, such as Greek, Cyrillic, Latin, Arabic or Han.

    Scripts are named as in Unicode (Han, or CJK, stands for Chinese characters); a language, such as Japanese, is no
    script and is refused. IFEval (`language:response_language`) guesses the language of the answer instead.

    Raises:
        InputError: There is no such script.

    Example:
        >>> written_in("Καλημέρα σας", script="Greek").followed
        True
    """
    wanted = known_script(script)
    letters = [character for character in answer if character.isalpha()]
    number = sum(in_script(letter, wanted) for letter in letters)
    followed = bool(letters) and number >= _SCRIPT_SHARE * len(letters)
    return Verdict(followed, f"{number} of {counted(len(letters), 'letter')} {'is' if number == 1 else 'are'} {script}")
