"""Verifiers of length in words and sentences, as defined in `foretell.labels.text`.

Where a script has no spaces between words, or no marks at the end of sentences, the number is known only between bounds
(`word_bounds`, `sentence_bounds`). The verdict is undefined where the bounds do not decide it. IFEval has these kinds
(`number_words`, `number_sentences`, with "at least" and "less than"); what it counts differently stands at `words` and
`sentences`.
"""

from __future__ import annotations

from foretell.labels.registry import Verdict, register
from foretell.labels.text import sentence_bounds, word_bounds

__all__ = ["exact_sentences", "exact_words", "max_sentences", "max_words", "min_sentences", "min_words"]


def counted(number: int, noun: str) -> str:
    """Return a count with its noun, such as "1 word" or "2 words"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _at_most(bounds: tuple[int, int], count: int, noun: str) -> Verdict:
    fewest, most = bounds
    followed = True if most <= count else False if fewest > count else None
    return Verdict(followed, _found(bounds, noun, f"at most {count} allowed", followed))


def _at_least(bounds: tuple[int, int], count: int, noun: str) -> Verdict:
    fewest, most = bounds
    followed = True if fewest >= count else False if most < count else None
    return Verdict(followed, _found(bounds, noun, f"at least {count} wanted", followed))


def _exactly(bounds: tuple[int, int], count: int, noun: str) -> Verdict:
    fewest, most = bounds
    followed = None if fewest <= count <= most and fewest < most else fewest == count
    return Verdict(followed, _found(bounds, noun, f"{count} wanted", followed))


def _found(bounds: tuple[int, int], noun: str, wish: str, followed: bool | None) -> str:
    fewest, most = bounds
    if fewest == most:
        return f"{counted(fewest, noun)}, {wish}"
    problem = "" if followed is not None else f"; the script does not show where a {noun} ends"
    return f"{fewest} to {most} {noun}s, {wish}{problem}"


@register
def max_words(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at most `count` words, as `foretell.labels.text.words` counts them.

    Undefined:
        None where the script does not show where a word ends and the bounds do not decide.

    Example:
        >>> max_words("Rain fell.", count=2).followed
        True
    """
    return _at_most(word_bounds(answer), count, "word")


@register
def min_words(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at least `count` words, as `foretell.labels.text.words` counts them.

    Undefined:
        None where the script does not show where a word ends and the bounds do not decide.

    Example:
        >>> min_words("Rain fell.", count=3).followed
        False
    """
    return _at_least(word_bounds(answer), count, "word")


@register
def exact_words(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has exactly `count` words, as `foretell.labels.text.words` counts them.

    Undefined:
        None where the script does not show where a word ends and the bounds do not decide.

    Example:
        >>> exact_words("Don't panic!", count=2).followed
        True
    """
    return _exactly(word_bounds(answer), count, "word")


@register
def max_sentences(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at most `count` sentences, as `foretell.labels.text.sentences` counts them.

    Undefined:
        None where the script does not show where a sentence ends and the bounds do not decide.

    Example:
        >>> max_sentences("Dr. Lee left.", count=1).followed
        True
    """
    return _at_most(sentence_bounds(answer), count, "sentence")


@register
def min_sentences(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has at least `count` sentences, as `foretell.labels.text.sentences` counts them.

    Undefined:
        None where the script does not show where a sentence ends and the bounds do not decide.

    Example:
        >>> min_sentences("It rained. It stopped.", count=2).followed
        True
    """
    return _at_least(sentence_bounds(answer), count, "sentence")


@register
def exact_sentences(answer: str, *, count: int) -> Verdict:
    """Followed when the answer has exactly `count` sentences, as `foretell.labels.text.sentences` counts them.

    Undefined:
        None where the script does not show where a sentence ends and the bounds do not decide.

    Example:
        >>> exact_sentences("It rained. It stopped.", count=1).followed
        False
    """
    return _exactly(sentence_bounds(answer), count, "sentence")
