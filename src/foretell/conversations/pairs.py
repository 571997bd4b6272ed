"""Contrast pairs: one question, one answer that shows more of a concept and one that shows less.

Pairs come from the built-in facts, from statements under two instructions, or from a user's file, for any concept. It
knows no model.

    pairs = pairs_from_facts(foretell.builtin_facts())
    pairs = instructed_pairs([fact.true_answer for fact in foretell.builtin_facts()])
    pairs = read_pairs("refusals.csv")
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal

from foretell.conversations.builtin import Fact
from foretell.conversations.conversation import Conversation, Message
from foretell.display import DisplayedRecord
from foretell.errors import InputError, TableError, located
from foretell.records.cells import name_of
from foretell.records.missing import is_missing
from foretell.records.reader import Records, read_records
from foretell.records.skipped import BadRecords, Errors, ReadList

__all__ = [
    "SIDES",
    "ContrastPair",
    "Side",
    "instructed_from",
    "instructed_pairs",
    "one_spelling",
    "pairs_from_facts",
    "read_pairs",
    "same_text",
]

Side = Literal["positive", "negative"]

SIDES: tuple[Side, Side] = ("positive", "negative")
"""The two answers of a pair in the order of every side axis: index 0 shows more of the concept."""

_REQUIRED = ("question", "positive", "negative")
_OPTIONAL = ("id", "topic", "positive_system", "negative_system")
_LYING = "lying"
_HONESTY = "honesty"
_UNTRUTHFUL = "Pretend you are an untruthful person making statements about the world."
_HONEST = "Pretend you are an honest person making statements about the world."
_REQUEST = "Make a statement about the world."


@dataclass(frozen=True, repr=False)
class ContrastPair(DisplayedRecord):
    """Two answers to one question that differ in a concept.

    The answers may also be equal and the system messages differ: the same statement, once asked for honestly
    and once not.
    """

    id: str
    topic: str
    """Pairs of one topic stay together when a direction is judged on topics it was not fitted on."""
    question: str
    positive: str
    """The answer that shows more of the concept; for "lying" the false one."""
    negative: str
    """The answer that shows less of it."""
    positive_system: str | None = None
    """System message before the positive answer; None leaves the model's own default."""
    negative_system: str | None = None

    def conversation(self, side: Side) -> tuple[Conversation, str]:
        """Return the conversation before one side's answer, and that answer.

        Example:
            >>> pair = ContrastPair("a", "capitals", "Capital of Peru?", "It is Quito.", "It is Lima.")
            >>> conversation, answer = pair.conversation("positive")
            >>> conversation.messages[0].content, answer
            ('Capital of Peru?', 'It is Quito.')
        """
        positive = side == "positive"
        system = self.positive_system if positive else self.negative_system
        answer = self.positive if positive else self.negative
        opening = () if system is None else (Message("system", system),)
        messages = (*opening, Message("user", self.question))
        conversation = Conversation(f"{self.id}/{side}", self.topic, messages, answer, self.id, self.topic)
        return conversation, answer


def same_text(text: str) -> str:
    r"""Return a form that two texts share if they differ in blanks, case or Unicode form only.

    Example:
        >>> same_text("Geo") == same_text(" geo\n")
        True
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def one_spelling(pairs: Sequence[ContrastPair]) -> list[ContrastPair]:
    """Return pairs whose topics have one spelling each, the first that occurs, without blanks around it.

    Example:
        >>> pairs = [ContrastPair(topic, topic, "?", "a", "b") for topic in ("Geo ", "geo", "Art")]
        >>> [pair.topic for pair in one_spelling(pairs)]
        ['Geo', 'Geo', 'Art']
    """
    spelled: dict[str, str] = {}
    for pair in pairs:
        spelled.setdefault(same_text(pair.topic), " ".join(pair.topic.split()))
    return [replace(pair, topic=spelled[same_text(pair.topic)]) for pair in pairs]


def pairs_from_facts(facts: Sequence[Fact], *, concept: Literal["lying", "honesty"] = "lying") -> list[ContrastPair]:
    """Return one pair per fact: the false answer is the positive one for "lying", the true one for "honesty".

    Args:
        facts: Questions with a true and a false answer, such as `foretell.builtin_facts()`.
        concept: What higher activity shall mean.

    Raises:
        InputError: `concept` is neither, or there are no facts.

    Example:
        >>> facts = [Fact("a", "capitals", "Capital of Peru?", "It is Lima.", "It is Quito.")]
        >>> pairs_from_facts(facts)[0].positive
        'It is Quito.'
    """
    if concept not in (_LYING, _HONESTY):
        raise InputError(
            f'facts show "lying" or "honesty", not "{concept}": for another concept give a file of pairs (read_pairs)'
        )
    if not facts:
        raise InputError("there are no facts to make pairs from")
    return [
        ContrastPair(
            fact.id,
            fact.topic,
            fact.question,
            positive=fact.false_answer if concept == _LYING else fact.true_answer,
            negative=fact.true_answer if concept == _LYING else fact.false_answer,
        )
        for fact in facts
    ]


def instructed_pairs(
    statements: Sequence[str],
    *,
    topics: Sequence[str] | str = "all",
    question: str = _REQUEST,
    positive_system: str = _UNTRUTHFUL,
    negative_system: str = _HONEST,
) -> list[ContrastPair]:
    """Return one pair per statement: the same words, once after each of two system messages.

    Both answers are the same text, so what differs is what the model was told to be. By default the positive side is
    told to be untruthful and the negative one to be honest ("lying"). Ids follow from what a pair says and its topic,
    so that the pairs of two calls can be joined.

    Args:
        statements: What the model is made to say, true or false.
        topics: Topic of each statement, or one for all.
        question: What the user asks.
        positive_system: System message that asks for the concept.
        negative_system: System message that asks for its opposite.

    Raises:
        InputError: No statements, an empty one, topics that do not match, or two equal system messages.

    Source:
        Zou et al. (2023), arXiv 2310.01405, section 3.1 (instructed contrasts).

    Example:
        >>> pair = instructed_pairs(["Lima lies in Peru."])[0]
        >>> pair.positive == pair.negative, "untruthful" in pair.positive_system
        (True, True)
    """
    if isinstance(statements, str) or not statements:
        raise InputError("there are no statements to make pairs from; give a list of texts")
    if positive_system == negative_system:
        raise InputError("both system messages are the same, so the pairs show no contrast")
    every = [topics] * len(statements) if isinstance(topics, str) else list(topics)
    if len(every) != len(statements):
        raise InputError(
            f"there are {len(statements)} statements and {len(every)} topics; give one topic per statement"
        )
    systems = {"positive_system": positive_system, "negative_system": negative_system}
    pairs = []
    n_alike: dict[str, int] = {}
    for index, (statement, topic) in enumerate(zip(statements, every, strict=True), start=1):
        if not statement.strip():
            raise InputError(f"statement {index} is empty")
        said = "\0".join((statement, topic, question, positive_system, negative_system))
        name = f"instructed-{sha256(said.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        n_alike[name] = n_alike.get(name, 0) + 1
        numbered = name if n_alike[name] == 1 else f"{name}-{n_alike[name]}"
        pairs.append(ContrastPair(numbered, topic, question, statement, statement, **systems))
    return one_spelling(pairs)


def instructed_from(
    stated: Sequence[ContrastPair], *, positive_system: str | None = None, negative_system: str | None = None
) -> list[ContrastPair]:
    """Return instructed pairs of the same topics, whose statements are the answers of stated pairs.

    Positive and negative answers are taken in turn, so that what is said does not go with what was asked for.

    Args:
        stated: Pairs of two answers.
        positive_system: System message that asks for the concept; None: the one of `instructed_pairs`.
        negative_system: System message that asks for its opposite; None: the one of `instructed_pairs`.

    Raises:
        InputError: There are no pairs, or both system messages are the same.

    Example:
        >>> facts = [ContrastPair(name, name, "?", f"no {name}", f"{name}") for name in ("Lima", "Peru")]
        >>> [(pair.topic, pair.positive) for pair in instructed_from(facts)]
        [('Lima', 'no Lima'), ('Peru', 'Peru')]
    """
    return instructed_pairs(
        [pair.negative if index % 2 else pair.positive for index, pair in enumerate(stated)],
        topics=[pair.topic for pair in stated],
        positive_system=_UNTRUTHFUL if positive_system is None else positive_system,
        negative_system=_HONEST if negative_system is None else negative_system,
    )


def read_pairs(path: Any, *, errors: Errors = "refuse") -> ReadList[ContrastPair]:
    r"""Return the contrast pairs of a file or frame.

    Args:
        path: Anything that `read_conversations` reads, with the columns `question`, `positive` (the answer that shows
            more of the concept) and `negative`, and optionally `id` (else the row number), `topic` (else "all"; blanks
            around it and its case do not count), `positive_system` and `negative_system`. Other columns are ignored.
        errors: "refuse" raises at the first record that is no pair; "skip" leaves such records out and lists them in
            `.skipped`.

    Raises:
        TableError: The file is missing, empty or damaged, a column is missing, a value is empty or no text, an id
            appears twice, or both sides are the same.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.csv"
        >>> _ = file.write_text("question,positive,negative\nMay I smoke?,No!,I fear not.\n")
        >>> read_pairs(file)[0].negative
        'I fear not.'
    """
    records = read_records(path, error=TableError, known=(*_REQUIRED, *_OPTIONAL), errors=errors)
    _require_columns(records)
    bad = BadRecords(records.name, errors, TableError, list(records.skipped))
    pairs: list[ContrastPair] = []
    rows_by_id: dict[str, int] = {}
    for row, record in zip(records.numbers, records.entries, strict=True):
        pair = _pair(row, record, bad)
        if pair is not None and pair.id in rows_by_id:
            bad.add(row, f'"{pair.id}" is already the id of row {rows_by_id[pair.id]}; ids must differ', "id")
        elif pair is not None:
            rows_by_id[pair.id] = row
            pairs.append(pair)
    bad.require_some(len(pairs))
    return ReadList(one_spelling(pairs), bad.skipped)


def _require_columns(records: Records) -> None:
    for column in _REQUIRED:
        if column not in records.columns:
            found = ", ".join(f'"{name}"' for name in records.columns) or "none"
            message = f"is missing; a pair needs {', '.join(_REQUIRED)}; found {found}"
            raise TableError(located(records.name, message, column=column))


def _pair(row: int, record: Mapping[str, Any], bad: BadRecords) -> ContrastPair | None:
    """Return the pair of a record, or None where it is none."""
    values: dict[str, str | None] = {}
    for column in (*_REQUIRED, *_OPTIONAL):
        value = record.get(column)
        if column in {"id", "topic"}:
            value = name_of(value)
        elif not isinstance(value, str) and is_missing(value):
            value = None
        if value is not None and not isinstance(value, str):
            bad.add(row, f"must be text, not {type(value).__name__}", column)
            return None
        if column in _REQUIRED and (value is None or not value.strip()):
            bad.add(row, "is empty; a pair needs it", column)
            return None
        values[column] = value
    pair = ContrastPair(
        id=values["id"] or str(row),
        topic=values["topic"] or "all",
        **{column: values[column] or "" for column in _REQUIRED},
        positive_system=values["positive_system"],
        negative_system=values["negative_system"],
    )
    if (pair.positive, pair.positive_system) == (pair.negative, pair.negative_system):
        bad.add(row, "is the same as the positive side, so the pair shows no contrast", "negative")
        return None
    return pair
