"""Two answers to one prompt, one of each label, whose log-odds an intervention may move.

contrasts = answer_contrasts(chosen, every, given={})
contrasts["q1"].positive.text
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foretell.conversations.conversation import Conversation
from foretell.errors import InputError
from foretell.labels.verifiers import verify

__all__ = ["Answer", "AnswerContrast", "answer_contrasts"]


@dataclass(frozen=True)
class Answer:
    """An answer by its text, and by its tokens where they are known."""

    text: str
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class AnswerContrast:
    """Answers of label 1 and 0 to one prompt."""

    positive: Answer
    negative: Answer


def answer_contrasts(
    chosen: Sequence[Conversation],
    every: Sequence[Conversation],
    given: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, AnswerContrast]:
    """Return two answers of different labels for each conversation that has them, by id.

    The first of these that exists:

    1. what is given;
    2. its own answer and the first one with the other label to the same messages, where answers were drawn several
       times;
    3. the first right and the first wrong spelling that its verifier knows, with the labels that the verifier gives
       these.

    Args:
        chosen: Labelled conversations that need two answers.
        every: All labelled conversations of the run.
        given: Texts of label 1 and 0 by id.

    Raises:
        InputError: A given id is not there, or a given answer is empty.
    """
    given = dict(given or {})
    known = {one.id for one in every}
    for name, texts in given.items():
        if name not in known:
            raise InputError(f"answers: there is no labelled conversation {name!r} in the run")
        if isinstance(texts, str) or len(texts) != 2 or not all(texts):
            raise InputError(f"answers: {name!r} needs two texts, an answer of label 1 and one of label 0")
    by_prompt: dict[tuple[str, int | None], Conversation] = {}
    for one in sorted(every, key=lambda each: each.id):
        by_prompt.setdefault((one.messages_json(), one.behavior_label), one)
    found = {}
    for one in chosen:
        contrast = _contrast(one, by_prompt, given.get(one.id))
        if contrast is not None:
            found[one.id] = contrast
    return found


def _contrast(
    one: Conversation,
    by_prompt: Mapping[tuple[str, int | None], Conversation],
    given: Sequence[str] | None,
) -> AnswerContrast | None:
    if given is not None:
        return AnswerContrast(Answer(given[0]), Answer(given[1]))
    label = one.behavior_label
    other = None if label is None else by_prompt.get((one.messages_json(), 1 - label))
    if other is not None and one.has_answer and other.has_answer:
        own, against = (Answer(each.answer or "", each.answer_token_ids) for each in (one, other))
        return AnswerContrast(own, against) if label else AnswerContrast(against, own)
    by_label: dict[bool, Answer] = {}
    for name in ("accepted", "others"):
        for spelling in _spellings((one.verifier or {}).get(name))[:1]:
            followed = verify(spelling, one.verifier or {}).followed
            if followed is not None:
                by_label.setdefault(followed, Answer(spelling))
    return AnswerContrast(by_label[True], by_label[False]) if len(by_label) == 2 else None


def _spellings(value: object) -> list[str]:
    listed = value if isinstance(value, list | tuple) else []
    return [one for one in listed if isinstance(one, str) and one]
