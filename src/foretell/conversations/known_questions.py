"""Questions whose right answer is known: facts of one file, arithmetic by rule, and what is claimed falsely of each.

A topic has one form of question and, where its answers can be exchanged, one form of statement; years bring their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import as_file, files

from foretell.records.reader import read_records

__all__ = ["TOPICS", "KnownQuestion", "Topic", "checkable_questions", "claimed_answers", "known_questions"]


@dataclass(frozen=True)
class Topic:
    """The form of the questions of one topic."""

    question: str
    """With `{subject}`."""
    statement: str | None = None
    """With `{subject}` and `{answer}`; None where each question brings its own, or where the topic has none."""
    has_wrong_answers: bool = True
    """Whether the right answers to its other questions are wrong answers to one."""


TOPICS = {
    "capitals": Topic("What is the capital of {subject}?", "The capital of {subject} is {answer}."),
    "US state capitals": Topic(
        "What is the capital of the US state of {subject}?", "The capital of the US state of {subject} is {answer}."
    ),
    "elements": Topic("What is the chemical symbol for {subject}?", "The chemical symbol for {subject} is {answer}."),
    "currencies": Topic("What is the currency of {subject}?", "The currency of {subject} is the {answer}."),
    "continents": Topic("On which continent is {subject}?", "The continent of {subject} is {answer}."),
    "animals": Topic("Which class of animals does {subject} belong to?", "The class of {subject} is {answer}."),
    "young animals": Topic("What is a young {subject} called?", "The word for a young {subject} is {answer}."),
    "languages": Topic("Which language do most people in {subject} speak?", "Most people in {subject} speak {answer}."),
    "authors": Topic("Who wrote {subject}?", "{subject} was written by {answer}."),
    "works": Topic("Who {subject}?", "It was {answer} who {subject}."),
    "years": Topic("In which year {subject}?"),
    "counts": Topic("How many {subject}?"),
    "plurals": Topic('What is the plural of the word "{subject}"?', has_wrong_answers=False),
    "past tenses": Topic('What is the past tense of the verb "{subject}"?', has_wrong_answers=False),
    "opposites": Topic('What is the opposite of "{subject}"?', has_wrong_answers=False),
    "arithmetic": Topic("What is {subject}?"),
}
"""The topics by name."""


@dataclass(frozen=True)
class KnownQuestion:
    """One question with the spellings of its right answer."""

    topic: str
    subject: str
    accepted: tuple[str, ...]
    """Spellings of the right answer; the first is the usual one."""
    others: tuple[str, ...] = ()
    """Spellings of wrong answers: those to the topic's other questions, and others that are often named."""
    form: str | None = None
    """What a statement about it is made of, with `{answer}`; None: its topic has no statements."""
    family: str | None = None
    """Name of facts that give each other away; None: the fact stands alone."""

    @property
    def text(self) -> str:
        """The question."""
        return TOPICS[self.topic].question.format(subject=self.subject)

    @property
    def group(self) -> str:
        """The fact that is asked for, the same in every set."""
        return f"{self.topic}: {self.family or self.subject}"

    @property
    def key(self) -> str:
        """Topic and subject in plain letters, for ids."""
        letters = unicodedata.normalize("NFKD", f"{self.topic} {self.subject}".replace("'", "")).lower()
        return "-".join(re.findall(r"[a-z0-9]+", letters))

    @property
    def numeric(self) -> bool:
        """Whether the answer is a number."""
        return self.accepted[0].isdigit()

    def statement(self, answer: str) -> str:
        """Return the sentence that says `answer`, true or not.

        Raises:
            ValueError: The topic has no form of statement.
        """
        if self.form is None:
            raise ValueError(f"the topic {self.topic} has no statements")
        said = self.form.format(answer=answer)
        return said[0].upper() + said[1:]


@cache
def known_questions() -> tuple[KnownQuestion, ...]:
    """Return every question, by topic.

    Example:
        >>> known_questions()[0].text, known_questions()[0].accepted
        ('What is the capital of France?', ('Paris',))
    """
    with as_file(files("foretell") / "data" / "questions.csv") as path:
        rows = read_records(path).entries
    listed: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        listed[row["topic"]] += row["answers"].split("|")
    # A row without a subject lists answers that are right of none of the topic's questions.
    return (*(_question(row, listed[row["topic"]]) for row in rows if row["subject"]), *_arithmetic())


def _question(row: Mapping[str, str | None], listed: Sequence[str]) -> KnownQuestion:
    """Return the question of one row; `listed` are all answers of its topic."""
    topic, subject, accepted = row["topic"] or "", row["subject"] or "", tuple((row["answers"] or "").split("|"))
    compared = TOPICS[topic].has_wrong_answers and not accepted[0].isdigit()
    others = tuple(dict.fromkeys(one for one in listed if one not in accepted)) if compared else ()
    form = TOPICS[topic].statement
    own = row["statement"] or (None if form is None else form.replace("{subject}", subject))
    return KnownQuestion(topic, subject, accepted, others, own)


def _arithmetic() -> list[KnownQuestion]:
    """Return sums, differences and products; those of one family, such as 3 + 4 = 7 and 7 - 4 = 3, share a group."""
    found = []
    for left in range(2, 26):
        for right in range(2, left):
            total, product = left + right, left * right
            made = []
            if (left + 3 * right) % 5 == 0:
                made.append((f"{left} plus {right}", total, f"{right} + {left}"))
            if (left + 3 * right) % 4 == 0 and total != 2 * left:
                made.append((f"{total} minus {right}", left, f"{right} + {left}"))
            if left <= _TABLES and (left + right) % 2:
                made.append((f"{left} times {right}", product, f"{right} x {left}"))
            found += [KnownQuestion("arithmetic", subject, (str(value),), family=name) for subject, value, name in made]
    return found


_TABLES = 12


def checkable_questions(per_topic: int) -> list[KnownQuestion]:
    """Return the questions for which a wrong answer can be told from none, at most so many of a topic, in their order.

    Which ones of a topic does not depend on their order.
    """
    by_topic: dict[str, list[KnownQuestion]] = defaultdict(list)
    for question in known_questions():
        if TOPICS[question.topic].has_wrong_answers:
            by_topic[question.topic].append(question)
    chosen = {
        one
        for questions in by_topic.values()
        for one in sorted(questions, key=lambda one: sha256(one.key.encode()).hexdigest())[:per_topic]
    }
    return [question for question in known_questions() if question in chosen]


@cache
def claimed_answers(per_topic: int) -> dict[KnownQuestion, tuple[str, ...]]:
    """Return the spellings of a false answer for each of some questions that have a statement.

    Within a topic the false answers are the true answers of the same questions, dealt anew: each is claimed falsely as
    often as it is true, so that who always names one of them is right as often as wrong. Years are dealt to questions
    with answers near them.

    Args:
        per_topic: At most so many questions of a topic.
    """
    by_topic: dict[str, list[KnownQuestion]] = defaultdict(list)
    for question in checkable_questions(per_topic):
        if question.form is not None:
            by_topic[question.topic].append(question)
    found: dict[KnownQuestion, tuple[str, ...]] = {}
    for questions in by_topic.values():
        order = sorted(questions, key=lambda one: sha256(one.key.encode()).hexdigest())
        if order[0].numeric:
            order.sort(key=lambda one: (int(one.accepted[0]), one.key))
        permuted = _permuted(order)
        found |= {one: permuted[one] for one in questions}
    return found


def _permuted(questions: Sequence[KnownQuestion]) -> dict[KnownQuestion, tuple[str, ...]]:
    """Return the answers of the questions, shifted by one and exchanged until each is false of its question."""
    answers = [one.accepted for one in (*questions[1:], questions[0])]
    for index, question in enumerate(questions):
        if not _false(question, answers[index]):
            by_distance = sorted(range(len(questions)), key=lambda other: (abs(other - index), other))
            swap = next(
                other
                for other in by_distance
                if _false(question, answers[other]) and _false(questions[other], answers[index])
            )
            answers[index], answers[swap] = answers[swap], answers[index]
    return dict(zip(questions, answers, strict=True))


def _false(question: KnownQuestion, answer: Sequence[str]) -> bool:
    """Whether an answer is wrong, and no part of the question or of its right answer, so that naming it says it."""
    texts = [text.casefold() for text in (question.text, *question.accepted)]
    return not any(re.search(rf"\b{re.escape(spelling.casefold())}\b", text) for spelling in answer for text in texts)
