"""Topics of contrast pairs: what stays together when a direction is judged on what it was not fitted on.

pairs = distinct_topics(pairs)      # ids differ, and no text belongs to two topics
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from foretell.conversations.pairs import ContrastPair, one_spelling, same_text
from foretell.errors import InputError, SharedTextWarning

__all__ = ["distinct_topics", "text_codes"]


def distinct_topics(pairs: Sequence[ContrastPair]) -> list[ContrastPair]:
    """Return pairs whose topics share no text: topics that share one are held out together, as one topic.

    A text is what a model reads: system message, question and answer. If a direction were fitted on a text and judged
    on it under another topic, it would know the answer.

    Raises:
        InputError: An id stands for two pairs, which tables could not tell apart, or all topics share texts.

    Warns:
        SharedTextWarning: Topics share a text.
    """
    places: dict[str, int] = {}
    for place, pair in enumerate(pairs, start=1):
        if pair.id in places:
            raise InputError(
                f'the id "{pair.id}" stands for two pairs, number {places[pair.id]} and {place}: '
                "give each pair an id of its own (dataclasses.replace(pair, id=...))"
            )
        places[pair.id] = place
    spelled = one_spelling(pairs)
    topics = [pair.topic for pair in spelled]
    joined = _components([[f"topic {topic}", *_texts(pair)] for topic, pair in zip(topics, spelled, strict=True)])
    names: dict[int, list[str]] = {}
    for code, topic in zip(joined.tolist(), topics, strict=True):
        if topic not in names.setdefault(code, []):
            names[code].append(topic)
    together = [code for code, alike in names.items() if len(alike) > 1]
    if not together:
        return spelled
    first, second = _sharing(spelled, joined == together[0])
    said = (
        f'the pairs "{first.id}" of topic "{first.topic}" and "{second.id}" of topic "{second.topic}" have a text in '
        "common"
    )
    if len(names) == 1:
        raise InputError(f"{said}, and so do all topics, so none can be held out: give each text one topic")
    listed = "; ".join(", ".join(names[code]) for code in together)
    warnings.warn(f"{said}: topics are held out together ({listed})", SharedTextWarning, stacklevel=3)
    return [replace(pair, topic=", ".join(names[code])) for pair, code in zip(spelled, joined.tolist(), strict=True)]


def text_codes(pairs: Sequence[ContrastPair]) -> Int[np.ndarray, " pair"]:
    """Return codes from 0 that pairs share if they have a text in common, directly or by way of other pairs.

    Example:
        >>> text_codes([ContrastPair(str(n), "t", "?", text, "no") for n, text in enumerate(("a", "b"))]).tolist()
        [0, 0]
    """
    return _components([_texts(pair) for pair in pairs])


def _texts(pair: ContrastPair) -> list[str]:
    systems, answers = (pair.positive_system, pair.negative_system), (pair.positive, pair.negative)
    return [
        "\0".join(same_text(part or "") for part in (system, pair.question, answer))
        for system, answer in zip(systems, answers, strict=True)
    ]


def _components(features: Sequence[Sequence[str]]) -> Int[np.ndarray, " pair"]:
    """Return the connected components of items that share a feature, as codes in order of appearance."""
    parent = list(range(len(features)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    owner: dict[str, int] = {}
    for item, own in enumerate(features):
        for feature in own:
            parent[root(item)] = root(owner.setdefault(feature, item))
    roots = [root(item) for item in range(len(features))]
    codes = {found: code for code, found in enumerate(dict.fromkeys(roots))}
    return np.array([codes[found] for found in roots], dtype=np.int64)


def _sharing(pairs: Sequence[ContrastPair], chosen: np.ndarray) -> tuple[ContrastPair, ContrastPair]:
    """Return the first two pairs of different topics that have a text in common."""
    owner: dict[str, ContrastPair] = {}
    for index in np.flatnonzero(chosen).tolist():
        for text in _texts(pairs[index]):
            other = owner.setdefault(text, pairs[index])
            if other.topic != pairs[index].topic:
                return other, pairs[index]
    raise AssertionError("topics were joined without a text in common")
