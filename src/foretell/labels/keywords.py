"""Looking up words and phrases in an answer, at the word borders of the script that they are written in."""

from __future__ import annotations

import re
import unicodedata

from foretell.errors import InputError
from foretell.labels.scripts import without_spaces

__all__ = ["folded", "known_keyword", "occurrences", "splits_word"]

_GAP = r"[\s\-*_~`]+"
_SAME = str.maketrans(dict.fromkeys("’ʼ＇", "'") | dict.fromkeys("‐‑", "-"))
_INVISIBLE = str.maketrans("", "", "\u00ad\u2060\ufeff")


def known_keyword(phrase: str) -> str:
    """Return a word or phrase that can be looked for.

    Raises:
        InputError: It has no letter or digit.
    """
    if not any(map(str.isalnum, phrase)):
        raise InputError(f"{phrase[:40]!r} holds no word to look for")
    return phrase


def folded(text: str) -> str:
    """Return a text without case, composed, with one form of apostrophe and hyphen, and without soft hyphens."""
    plain = unicodedata.normalize("NFC", text).translate(_INVISIBLE).translate(_SAME)
    return unicodedata.normalize("NFC", plain.casefold())


def occurrences(answer: str, phrase: str) -> int:
    """Return how often a word or phrase occurs as whole words, case ignored, without overlap.

    No letter, digit or mark stands next to its first or last letter; punctuation, apostrophes and hyphens are borders
    (`river` is in `river's`), and so are underscores at the edge of a word (`_river_`) but not within (`river_bank`).
    Marks of the phrase are looked for with it: `C++` is in `C++11` but not in `C`, and `C` is not in `C++` or `C#`.
    White space and hyphens in a phrase stand for each other and for marks of emphasis. Scripts without spaces between
    words show no borders, so a Chinese or Thai phrase is found wherever it stands, also within a longer word. An ending
    that is written together with the word, such as a particle of Korean, makes it another word.

    Raises:
        InputError: The phrase has no letter or digit.

    Example:
        >>> occurrences("The _river_ by the riverbank", "river"), occurrences("河流很长。", "河流")
        (1, 1)
    """
    text = folded(answer)
    parts = [part for part in re.split(r"[\s\-]+", folded(known_keyword(phrase)).strip()) if part]
    pattern = re.compile(_GAP.join(map(re.escape, parts)))
    number, start = 0, 0
    while found := pattern.search(text, start):
        whole = not splits_word(text, found.start()) and not splits_word(text, found.end()) and not _named(text, found)
        number += whole
        start = found.end() if whole else found.start() + 1
    return number


def splits_word(text: str, index: int) -> bool:
    """Whether a cut before the character at `index` splits a word, in scripts that show where words end.

    Example:
        >>> splits_word("riverbank", 5), splits_word("river's", 5), splits_word("河流", 1)
        (True, False, False)
    """
    before, after = text[max(0, index - 1) : index], text[index : index + 1]
    if not before or not after:
        return False
    if unicodedata.category(after)[0] == "M":
        return before.isalnum()
    if before in _WITHIN_WORDS or after in _WITHIN_WORDS:
        return True
    if before == "_" or after == "_":
        left = text[max(0, index - _UNDERSCORES) : index].rstrip("_")[-1:]
        right = text[index : index + _UNDERSCORES].lstrip("_")[:1]
        # At the edge of a word underscores are emphasis; `left` and `right` are both there only within one.
        return left.isalnum() and right.isalnum()
    if without_spaces(before) or without_spaces(after):
        return False
    return after.isalnum() and (
        before.isalnum() or (unicodedata.category(before)[0] == "M" and before not in _OF_EMOJI)
    )


def _named(text: str, found: re.Match[str]) -> bool:
    """Whether a match is the beginning of a name that ends in marks, such as `C++` or `C#`."""
    following = text[found.end() : found.end() + 2]
    return found[0][-1].isalnum() and (following == "++" or following[:1] == "#")


_UNDERSCORES = 16
_WITHIN_WORDS = "\u200c\u200d"  # joiners, such as stand within words of Persian
_OF_EMOJI = "\ufe0e\ufe0f\u20e3"
