"""Numbers in words and digits, in English: "forty-two", "1,492" and "42.0" as plain digits."""

from __future__ import annotations

import re

__all__ = ["number_of", "with_digits"]

_ONES = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_WORD = "|".join(sorted((*_VALUES, *_SCALES), key=len, reverse=True))
_A_HUNDRED = r"(?:an?\s+(?=hundred|thousand|million))?"
_IN_WORDS = re.compile(rf"\b{_A_HUNDRED}(?:{_WORD})(?:(?:\s+and)?[\s-]+(?:{_WORD}))*\b", re.IGNORECASE)
_GROUPED = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w,])")
_WHOLE = re.compile(r"(?<![\w.,])(\d+)\.0+(?!\w)")


def number_of(text: str) -> float | None:
    """Return the value of a text that is one number, or None.

    Example:
        >>> number_of("42"), number_of("forty-two"), number_of("1,492"), number_of("Paris")
        (42.0, 42.0, 1492.0, None)
    """
    digits = with_digits(text.strip())
    return float(digits) if re.fullmatch(r"\d+(\.\d+)?", digits, re.ASCII) else None


def with_digits(text: str) -> str:
    """Return a text with digits for numbers in words, without separators of thousands and empty decimals.

    "one" alone stays, because it is more often no number ("one of them"); so do ordinal numbers.

    Example:
        >>> with_digits("one of five thousand two hundred and eighty, or 5,280.0")
        'one of 5280, or 5280'
    """
    grouped = _GROUPED.sub(lambda found: found[0].replace(",", ""), text)
    return _IN_WORDS.sub(_digits, _WHOLE.sub(r"\1", grouped))


def _digits(found: re.Match[str]) -> str:
    parts = [part for part in re.split(r"[\s-]+", found[0].lower()) if part not in {"and", "a", "an"}]
    if parts == ["one"]:
        return found[0]
    total = current = 0
    for part in parts:
        if part in _VALUES:
            current += _VALUES[part]
        elif part == "hundred":
            current = max(current, 1) * _SCALES[part]
        else:
            total, current = total + max(current, 1) * _SCALES[part], 0
    return str(total + current)
