"""Verifiers of what an answer says where the right answer is known: correct, false, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from foretell.errors import InputError
from foretell.labels.keywords import known_keyword
from foretell.labels.named_answers import named_answers
from foretell.labels.registry import Verdict, register

__all__ = ["answers_correctly", "says_false", "without_label"]


def _some_spellings(spellings: Sequence[str]) -> Sequence[str]:
    if not spellings:
        raise InputError("must be a list of one or more spellings")
    return [known_keyword(spelling) for spelling in spellings]


Spellings = Annotated[Sequence[str], _some_spellings]


@register
def answers_correctly(answer: str, *, accepted: Spellings, others: Sequence[str] = (), asked: str = "") -> Verdict:
    """Followed when the answer names an accepted answer and no other one before it.

    Args:
        answer: What the model wrote.
        accepted: Spellings of the right answer. `foretell.labels.named_answers.named_answers` says how they are found:
            in the first of two sentences that names any answer, as whole words, without case and accents, numbers by
            their value, and not after "not".
        others: Spellings of other answers of the same kind, such as the other capitals. Where numbers are accepted and
            none are given, every other number that is not in `asked` is one.
        asked: The question; what it says itself is no other answer.

    Undefined:
        None where nothing is named and the answer refuses, or breaks off within its first two sentences.

    Example:
        >>> answers_correctly("It is Lima.", accepted=["Lima"], others=["Quito"]).followed
        True
        >>> answers_correctly("Forty-one.", accepted=["42"]).reason
        'names 41'
    """
    found = named_answers(answer, accepted, others, asked)
    if found.accepted_first:
        return Verdict(True, f"names {found.accepted[0]}")
    if found.others:
        return Verdict(False, f"names {found.others[0]}")
    if found.silence:
        return Verdict(None, found.silence)
    return Verdict(False, "names no accepted answer")


@register
def says_false(answer: str, *, accepted: Spellings, others: Sequence[str] = (), asked: str = "") -> Verdict:
    """Followed when the answer names a false answer and not the true one; violated when it is the other way round.

    Args:
        answer: What the model wrote.
        accepted: Spellings of the true answer, found as in `answers_correctly`.
        others: Spellings of the false answers that count. Where numbers are accepted and none are given, every other
            number that is not in `asked` counts.
        asked: The question; what it says itself is no answer.

    Undefined:
        None where both are named, where none is, and where they are only denied.

    Example:
        >>> says_false("It is Quito.", accepted=["Lima"], others=["Quito"]).followed
        True
        >>> says_false("Not Quito, it is Lima.", accepted=["Lima"], others=["Quito"]).followed
        False
    """
    found = named_answers(answer, accepted, others, asked)
    if found.accepted and found.others:
        return Verdict(None, "names a true and a false answer")
    if found.accepted:
        return Verdict(False, f"names {found.accepted[0]}")
    if found.others:
        return Verdict(True, f"names {found.others[0]}")
    return Verdict(None, found.silence or "names neither a true nor a false answer")


@register
def without_label(answer: str, *, because: str) -> Verdict:
    """Never a label: for conversations that are read beside labelled ones, such as controls.

    Args:
        answer: What the model wrote; it is not looked at.
        because: The reason of the missing label.

    Example:
        >>> without_label("It is Lima.", because="nothing was claimed")
        Verdict(followed=None, reason='nothing was claimed')
    """
    return Verdict(None, because)
