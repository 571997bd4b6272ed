"""Words of prompts and answers, as columns: which words there are, and how much of an answer repeats its prompt.

A word is two or more letters, digits or underscores in any script, in lower case, as scikit-learn counts words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.feature_extraction.text import HashingVectorizer

__all__ = ["hashed_words", "prompt_text", "repeated_shares"]

_N_HASHES = 1024
"""Columns that words are hashed to."""
_WORD = re.compile(r"(?u)\b\w\w+\b")


def hashed_words(texts: Sequence[str | None]) -> Float[np.ndarray, "sample hash"] | None:
    """Return square roots of word frequencies, hashed, of the columns that at least two samples use, and not all.

    Args:
        texts: One per sample; None counts as empty.

    Returns:
        None where fewer than two texts differ, or no column is left.

    Example:
        >>> hashed_words(["rain rain", "rain wind", "wind snow", None]).shape
        (4, 2)
    """
    known = [one or "" for one in texts]
    if len(set(known)) < 2:
        return None
    counts = HashingVectorizer(n_features=_N_HASHES, alternate_sign=False, norm="l2").transform(known).toarray()
    counts = np.sqrt(counts)
    used = (counts > 0).sum(axis=0)
    kept = np.asarray(counts[:, (used > 1) & (used < len(known))], dtype=np.float64)
    return kept if kept.shape[1] else None


def prompt_text(messages: str | None) -> str:
    r"""Return the texts of messages that are given as JSON, one a line; any other text as it is.

    Example:
        >>> prompt_text('[{"role": "user", "content": "Is it raining?"}]')
        'Is it raining?'
        >>> prompt_text("Is it raining?")
        'Is it raining?'
    """
    try:
        found = json.loads(messages or "")
    except ValueError:
        return messages or ""
    contents = [one.get("content") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return "\n".join(one for one in contents if isinstance(one, str)) if contents else messages or ""


def repeated_shares(answers: Sequence[str | None], prompts: Sequence[str | None]) -> Float[np.ndarray, "sample share"]:
    """Return which share of an answer's words, and of its pairs of neighbouring words, stands in the prompt as well.

    Args:
        answers: One per sample.
        prompts: One per sample.

    Undefined:
        nan where the answer has no word, or no pair of words.

    Example:
        >>> repeated_shares(["It is raining now"], ["Is it raining now?"]).round(2).tolist()
        [[1.0, 0.33]]
    """
    shares = np.full((len(answers), 2), np.nan)
    for row, (answer, prompt) in enumerate(zip(answers, prompts, strict=True)):
        written, known = (_WORD.findall((text or "").lower()) for text in (answer, prompt))
        for size in (1, 2):
            there = set(_runs(known, size))
            own = _runs(written, size)
            if own:
                shares[row, size - 1] = sum(one in there for one in own) / len(own)
    return shares


def _runs(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(size)), strict=False))
