"""Built-in prompts and facts.

conversations = builtin_conversations("alpaca")
facts = builtin_facts("capitals")
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files

from foretell.conversations.conversation import Conversation
from foretell.conversations.formats import read_conversations
from foretell.errors import InputError
from foretell.records.reader import read_records

__all__ = ["BUILTIN_DATASETS", "Fact", "builtin_conversations", "builtin_facts"]

BUILTIN_DATASETS = {"alpaca": "alpaca.json", "sharegpt": "sharegpt.json", "flan": "flan.tsv"}
"""File of each built-in set; the shape of the file is the name of the set."""


@dataclass(frozen=True)
class Fact:
    """One question with a true and a false answer of the same form."""

    id: str
    topic: str
    question: str
    true_answer: str
    false_answer: str


def builtin_conversations(dataset: str | None = None) -> list[Conversation]:
    """Return the built-in prompts: short tasks, each with one constraint that a verifier can check.

    A small model follows about half of them. `stratum` is the kind of constraint. In `alpaca` the constraint is part
    of the input (segment query), in `flan` of the instruction (segment prompt), in `sharegpt` of the last user turn
    (segment query), after an earlier exchange (segment prompt).

    Args:
        dataset: `alpaca`, `sharegpt` or `flan`; None gives all three, in this order.

    Raises:
        InputError: There is no set of this name.

    Example:
        >>> {conversation.dataset for conversation in builtin_conversations("flan")}
        {'flan'}
    """
    if dataset is None:
        return [entry for name in BUILTIN_DATASETS for entry in _conversations(name)]
    if dataset not in BUILTIN_DATASETS:
        raise InputError(f"there is no built-in set {dataset!r}: use {', '.join(BUILTIN_DATASETS)}")
    return list(_conversations(dataset))


def builtin_facts(topic: str | None = None) -> list[Fact]:
    """Return the built-in facts, each with a true and a false answer.

    Within a topic the false answers are the true answers of other questions, so that single words do not separate them.

    Args:
        topic: One of the topics; None gives all.

    Raises:
        InputError: There is no such topic.

    Example:
        >>> builtin_facts("capitals")[0].true_answer
        'The capital of France is Paris.'
    """
    facts = _facts()
    if topic is None:
        return list(facts)
    chosen = [fact for fact in facts if fact.topic == topic]
    if not chosen:
        topics = ", ".join(dict.fromkeys(fact.topic for fact in facts))
        raise InputError(f"there are no built-in facts about {topic!r}: use {topics}")
    return chosen


@cache
def _conversations(dataset: str) -> tuple[Conversation, ...]:
    with as_file(files("foretell") / "data" / BUILTIN_DATASETS[dataset]) as path:
        return tuple(read_conversations(path, dataset=dataset))


@lru_cache(maxsize=1)
def _facts() -> tuple[Fact, ...]:
    with as_file(files("foretell") / "data" / "facts.csv") as path:
        records = read_records(path)
    return tuple(Fact(**record) for record in records.entries)
