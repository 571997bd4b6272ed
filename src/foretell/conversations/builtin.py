"""Built-in prompts and facts.

conversations = builtin_conversations("alpaca")
claims = builtin_conversations("false-claims")
facts = builtin_facts("capitals")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import as_file, files

from foretell.conversations.behaviour_sets import false_claims, lies, questions
from foretell.conversations.conversation import Conversation
from foretell.conversations.formats import read_conversations
from foretell.conversations.set_names import BUILTIN_DATASETS, BUILTIN_SETS
from foretell.conversations.wordings import WORDINGS
from foretell.errors import InputError
from foretell.records.reader import read_records

__all__ = ["Fact", "builtin_conversations", "builtin_facts"]

_MADE: dict[str, Callable[[str], list[Conversation]]] = {
    "questions": questions,
    "false-claims": false_claims,
    "lies": lies,
}
_INSTRUCTIONS = "instructions"


@dataclass(frozen=True)
class Fact:
    """One question with a true and a false answer of the same form."""

    id: str
    topic: str
    question: str
    true_answer: str
    false_answer: str


def builtin_conversations(dataset: str | None = None, *, wording: str = "usual") -> list[Conversation]:
    """Return a built-in set of conversations: prompts with a verifier that labels any model's answers without a judge.

    Every conversation says in `behaviour` what label 1 means, and has a `stratum` (the kind of task) and a verifier.

    * `instructions` ("followed the instruction"): short tasks, each with one constraint that can be checked. `stratum`
      is the kind of constraint. They are the sets `alpaca` (the constraint is part of the input, segment query), `flan`
      (of the instruction, segment prompt) and `sharegpt` (of the last user turn, segment query, after an earlier
      exchange, segment prompt).
    * `questions` ("answered correctly"), `false-claims` ("gave in to a false claim") and `lies` ("said something
      false"): more than 1,000 conversations each, about facts whose answer is known; see
      `foretell.conversations.behaviour_sets`. `group` is the fact.

    Args:
        dataset: `instructions`, `questions`, `false-claims`, `lies`, `alpaca`, `sharegpt` or `flan`; None gives the
            instructions.
        wording: "usual", or another wording of the same questions (not of the instructions), on which to try what was
            fitted on the usual one: "paraphrased", "casual" or "negated" (what was claimed or asked for is denied).
            Groups and verifiers stay, ids end with it.

    Raises:
        InputError: There is no set of this name, or not in this wording.

    Example:
        >>> {conversation.dataset for conversation in builtin_conversations("flan")}
        {'flan'}
        >>> builtin_conversations("questions")[0].behaviour
        'answered correctly'
    """
    if wording not in WORDINGS:
        raise InputError(f"there is no wording {wording!r}: use {', '.join(WORDINGS)}")
    if wording != "usual" and dataset not in _MADE:
        raise InputError(
            f"the set {dataset or _INSTRUCTIONS!r} has its usual wording only; {', '.join(_MADE)} have {wording!r} too"
        )
    if dataset is None or dataset == _INSTRUCTIONS:
        return [entry for name in BUILTIN_DATASETS for entry in _conversations(name)]
    if dataset not in BUILTIN_SETS:
        raise InputError(f"there is no built-in set {dataset!r}: use {', '.join(BUILTIN_SETS)}")
    return list(_conversations(dataset, wording))


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
def _conversations(dataset: str, wording: str = "usual") -> tuple[Conversation, ...]:
    if dataset in _MADE:
        return tuple(_MADE[dataset](wording))
    with as_file(files("foretell") / "data" / BUILTIN_DATASETS[dataset]) as path:
        read = read_conversations(path, dataset=dataset)
    return tuple(replace(one, behaviour="followed the instruction") for one in read)


@lru_cache(maxsize=1)
def _facts() -> tuple[Fact, ...]:
    with as_file(files("foretell") / "data" / "facts.csv") as path:
        records = read_records(path)
    return tuple(Fact(**record) for record in records.entries)
