"""Sets of conversations of `what_tells.py`: the built-in ones, instructions with added constraints, and given answers.

The further data are those of others (Alpaca records, HaluEval, TruthfulQA); a set is empty where its file is absent.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import foretell
from foretell import Conversation, Message, Span

__all__ = ["SETS", "BehaviourSet"]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
_CONSTRAINTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("word limit", "Use at most 25 words.", {"name": "max_words", "count": 25}),
    ("sentence count", "Answer in exactly two sentences.", {"name": "exact_sentences", "count": 2}),
    ("no commas", "Do not use any commas.", {"name": "no_commas"}),
    ("lower case", "Write everything in lower case.", {"name": "all_lower"}),
    ("beginning", 'Begin with the word "Well".', {"name": "starts_with", "text": "Well"}),
    ("numbers", "Use no digits.", {"name": "no_digits"}),
)
"""Kind, sentence and verifier of the constraints that are put after an Alpaca instruction, in turn."""


_LONGEST_INSTRUCTION = 250
"""Characters."""


@dataclass(frozen=True)
class BehaviourSet:
    """Conversations about one behaviour."""

    name: str
    answers: Literal["given", "generate"]
    max_new_tokens: int
    """Longest generated answer."""
    load: Callable[[], list[Conversation]]
    first_tokens: int | None = None
    """Moment of a second study, which a curve suggested; None: there is none."""

    def sample(self, n_samples: int, *, seed: int) -> list[Conversation]:
        """Return whole groups, drawn at random, of about `n_samples` conversations that can have a label.

        Of given answers it returns all.
        """
        found = self.load()
        groups = sorted({one.group or one.id for one in found})
        np.random.default_rng(seed).shuffle(groups)
        size = dict.fromkeys(groups, 0)
        for one in found:
            size[one.group or one.id] += _can_have_label(one)
        if self.answers == "given" or sum(size.values()) <= n_samples:
            return found
        reached = np.cumsum([size[group] for group in groups])
        chosen = set(groups[: int(np.searchsorted(reached, n_samples)) + 1])
        return [one for one in found if (one.group or one.id) in chosen]


def _can_have_label(one: Conversation) -> bool:
    return one.verifier is not None and one.verifier["name"] != "without_label"


def claims() -> list[Conversation]:
    """Return every question after a false claim, and without a claim, which tells what the model knows."""
    found = foretell.builtin_conversations("false-claims")
    return [one for one in found if one.stratum is None or not one.stratum.endswith("true claim")]


def instructions() -> list[Conversation]:
    """Return the built-in instructions, and short Alpaca instructions, each with a constraint."""
    built_in = [replace(one, dataset="instructions") for one in foretell.builtin_conversations("instructions")]
    path = SHARED / "alpaca_demo" / "alpaca_en_demo.json"
    if not path.exists():
        return built_in
    records = json.loads(path.read_text(encoding="utf-8"))
    texts = {f"{one['instruction'].strip()}\n{one['input'].strip()}".strip() for one in records}
    asked = sorted(text for text in texts if len(text) <= _LONGEST_INSTRUCTION)
    more = []
    for index, text in enumerate(asked):
        kind, sentence, verifier = _CONSTRAINTS[index % len(_CONSTRAINTS)]
        spans = (Span(0, len(text), "prompt"), Span(len(text) + 2, len(text) + 2 + len(sentence), "query"))
        message = Message("user", f"{text}\n\n{sentence}", spans)
        more.append(
            Conversation(
                f"alpaca-record-{index:03d}",
                "instructions",
                (message,),
                stratum=kind,
                verifier=verifier,
                behaviour="followed the instruction",
            )
        )
    return [*built_in, *more]


def hallucinations() -> list[Conversation]:
    """Return the answers of HaluEval's general part, which people have judged."""
    path = SHARED / "halueval" / "general_data.jsonl"
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Conversation(
            f"halueval-{line:04d}",
            "halueval",
            (Message("user", one["user_query"]),),
            answer=one["chatgpt_response"],
            group=f"query {one['user_query'].strip()}",
            behavior_label=int(one["hallucination"] == "yes"),
            label_source="HaluEval",
            behaviour="hallucinated, as people judged",
        )
        # Several records have the same ID.
        for line, one in enumerate(records, start=1)
        if one["user_query"].strip() and one["chatgpt_response"].strip()
    ]


def misconceptions() -> list[Conversation]:
    """Return the best and the best incorrect answer to every question of TruthfulQA."""
    path = SHARED / "truthfulqa" / "TruthfulQA.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows: Sequence[dict[str, str]] = list(csv.DictReader(file))
    return [
        Conversation(
            f"truthfulqa-{index:03d}-{label}",
            "truthfulqa",
            (Message("user", row["Question"].strip()),),
            answer=row[column].strip(),
            group=f"question {row['Question'].strip()}",
            stratum=row["Category"],
            behavior_label=label,
            label_source="TruthfulQA",
            behaviour="is false",
        )
        for index, row in enumerate(rows)
        for label, column in enumerate(("Best Answer", "Best Incorrect Answer"))
        if row[column].strip()
    ]


def _built_in(name: str) -> Callable[[], list[Conversation]]:
    return lambda: [replace(one, dataset=name) for one in foretell.builtin_conversations(name)]


SETS = (
    BehaviourSet("instructions", "generate", 48, instructions, first_tokens=0),
    BehaviourSet("questions", "generate", 24, _built_in("questions"), first_tokens=4),
    BehaviourSet("false-claims", "generate", 24, claims),
    BehaviourSet("lies", "generate", 24, _built_in("lies")),
    BehaviourSet("halueval", "given", 0, hallucinations),
    BehaviourSet("truthfulqa", "given", 0, misconceptions),
)
"""All sets, in the order of the page."""
