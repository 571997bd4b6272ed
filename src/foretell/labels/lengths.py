"""Verifiers of length in words and sentences, as defined in `foretell.labels.text`."""

from __future__ import annotations

from foretell.labels.registry import Verdict, register
from foretell.labels.text import sentences, words

__all__ = ["exact_sentences", "exact_words", "max_sentences", "max_words", "min_sentences", "min_words"]


def counted(number: int, noun: str) -> str:
    """Return a count with its noun, such as "1 word" or "2 words"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@register
def max_words(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at most `count` words.

    Example:
        >>> max_words("Rain fell.", count=2).followed
        True
    """
    number = len(words(answer))
    return Verdict(number <= count, f"{counted(number, 'word')}, at most {count} allowed")


@register
def min_words(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at least `count` words.

    Example:
        >>> min_words("Rain fell.", count=3).followed
        False
    """
    number = len(words(answer))
    return Verdict(number >= count, f"{counted(number, 'word')}, at least {count} wanted")


@register
def exact_words(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has exactly `count` words.

    Example:
        >>> exact_words("Don't panic!", count=2).followed
        True
    """
    number = len(words(answer))
    return Verdict(number == count, f"{counted(number, 'word')}, {count} wanted")


@register
def max_sentences(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at most `count` sentences.

    Example:
        >>> max_sentences("Dr. Lee left.", count=1).followed
        True
    """
    number = len(sentences(answer))
    return Verdict(number <= count, f"{counted(number, 'sentence')}, at most {count} allowed")


@register
def min_sentences(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at least `count` sentences.

    Example:
        >>> min_sentences("It rained. It stopped.", count=2).followed
        True
    """
    number = len(sentences(answer))
    return Verdict(number >= count, f"{counted(number, 'sentence')}, at least {count} wanted")


@register
def exact_sentences(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has exactly `count` sentences.

    Example:
        >>> exact_sentences("It rained. It stopped.", count=1).followed
        False
    """
    number = len(sentences(answer))
    return Verdict(number == count, f"{counted(number, 'sentence')}, {count} wanted")
