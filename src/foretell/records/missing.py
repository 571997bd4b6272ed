"""What means "unknown" in a cell: the same words in every column of every file."""

from __future__ import annotations

import math

__all__ = ["MISSING_WORDS", "is_missing"]

_WORDS = ("nan", "-nan", "na", "n/a", "#n/a", "null", "none", "<na>", "nat")

MISSING_WORDS = frozenset(
    ("", *(spelled for word in _WORDS for spelled in (word, word.upper(), word.title())), "NaN", "-NaN", "NaT")
)
"""Texts that mean a missing value, in the spellings that programs write, after blanks at both ends are removed."""


def is_missing(value: object) -> bool:
    """Whether a value of any file or library means that nothing is known.

    Example:
        >>> [is_missing(value) for value in (None, float("nan"), " NaN ", "<NA>", "", 0, "nano")]
        [True, True, True, True, True, False, False]
    """
    if isinstance(value, str):
        return value.strip() in MISSING_WORDS
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float) and math.isnan(value)
