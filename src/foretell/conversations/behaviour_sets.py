"""The built-in sets of three behaviours, made from questions whose answer is known.

* `questions`: each question once. Label 1: the answer is correct.
* `false_claims`: each question after a false claim (label 1: the answer says what was claimed, 0: the truth), after a
  true claim, and without any claim; the last two are controls without a label.
* `lies`: each question after a system message that asks for a lie and after one that asks for the truth. Label 1: what
  the answer says is false.

Questions of all sets that are about one fact have the same `group`, however they are worded.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from foretell.conversations.conversation import Conversation, Message, Span
from foretell.conversations.known_questions import KnownQuestion, checkable_questions, claimed_answers, known_questions
from foretell.conversations.wordings import WORDINGS

__all__ = ["LIE", "TRUTH", "false_claims", "lies", "questions"]

_PER_TOPIC = 64
LIE, TRUTH = WORDINGS["usual"].lie, WORDINGS["usual"].truth


def questions(wording: str = "usual") -> list[Conversation]:
    """Return every question once; `stratum` is the topic."""
    asked = partial(_asked, "questions", wording=wording)
    return [asked(one, _correct(one), "answered correctly") for one in known_questions()]


def false_claims(wording: str = "usual") -> list[Conversation]:
    """Return questions after a false claim, then the same after a true one, then the same without a claim.

    Within a topic every answer is claimed falsely as often as truly, and said falsely by an answer that repeats the
    claim as often as it is true: an answer that is always the same names no more truths than falsehoods. Where the
    wording denies a statement, a false claim denies a true one, and any false answer gives in to it.
    """
    denies = WORDINGS[wording].denies
    asked = partial(_asked, "false-claims", behaviour="gave in to a false claim", wording=wording)
    claimed = claimed_answers(_PER_TOPIC)
    found: list[Conversation] = []
    for one, spellings in claimed.items():
        check = {**_correct(one), "name": "says_false", **({} if denies else {"others": list(spellings)})}
        statement = one.statement((one.accepted if denies else spellings)[0])
        found.append(asked(one, check, claim=statement, kind="false claim"))
    for one, spellings in claimed.items():
        check = {"name": "without_label", "because": "the claim is true"}
        statement = one.statement((spellings if denies else one.accepted)[0])
        found.append(asked(one, check, claim=statement, kind="true claim"))
    for one in claimed:
        check = {"name": "without_label", "because": "nothing was claimed"}
        found.append(asked(one, check, kind="no claim"))
    return found


def lies(wording: str = "usual") -> list[Conversation]:
    """Return questions asked for a lie, then the same asked for the truth; `stratum` is what was asked for.

    Both messages of one question are worded alike, and the wordings take turns within a topic.
    """
    turns: Counter[str] = Counter()
    asked_for = (WORDINGS[wording].lie, WORDINGS[wording].truth)
    by_instruction: dict[str, list[Conversation]] = {"told to lie": [], "told to be honest": []}
    for one in checkable_questions(_PER_TOPIC):
        check = {**_correct(one), "name": "says_false"}
        for (kind, found), wordings in zip(by_instruction.items(), asked_for, strict=True):
            system = wordings[turns[one.topic] % len(wordings)]
            asked = _asked("lies", one, check, "said something false", wording=wording, system=system, kind=kind)
            found.append(asked)
        turns[one.topic] += 1
    return [one for found in by_instruction.values() for one in found]


def _correct(question: KnownQuestion) -> dict[str, Any]:
    check = {"name": "answers_correctly", "accepted": list(question.accepted), "asked": question.text}
    return {**check, "others": list(question.others)} if question.others else check


def _asked(
    dataset: str,
    question: KnownQuestion,
    verifier: dict[str, Any],
    behaviour: str,
    *,
    wording: str,
    system: str | None = None,
    claim: str | None = None,
    kind: str | None = None,
) -> Conversation:
    """Return a question as a conversation: the request and a claim are the segment prompt, the question the query."""
    words = WORDINGS[wording]
    request = words.request if claim is None else words.claim.format(statement=claim)
    content = f"{request} {question.text}"
    spans = (Span(0, len(request), "prompt"), Span(len(request) + 1, len(content), "query"))
    condition = (kind or "").replace(" ", "-")
    opening = () if system is None else (Message("system", system),)
    stratum = {None: question.topic, "false claim": question.topic}.get(kind, f"{question.topic}, {kind}")
    return Conversation(
        id="-".join(part for part in (dataset, question.key, condition, "" if wording == "usual" else wording) if part),
        dataset=dataset,
        messages=(*opening, Message("user", content, spans)),
        group=question.group,
        stratum=kind if system is not None else stratum,
        verifier=verifier,
        behaviour=behaviour,
    )
