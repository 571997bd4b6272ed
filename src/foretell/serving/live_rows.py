"""The rows of a capture that are new since the last look, as what the page shows of each token.

rows = LiveRows(capture, tokenizer, has_activity=True)
for token in rows.new(n_tokens, token_ids): ...
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedTokenizerBase

from foretell.reading.capture.results import Capture
from foretell.reading.chat.tokens import token_texts

__all__ = ["LiveRows", "LiveToken", "plain_numbers"]

_DIGITS = 7
"""Decimal places that are passed on."""
_CONTEXT = 24
"""Tokens before a new one that may decide how its text begins, or that complete one character with it."""


@dataclass(frozen=True)
class LiveToken:
    """One token of one answer, and what was read at it."""

    answer_position: int
    text: str
    """What it adds to the text before it; empty where a later token completes the character."""
    activity: Float[np.ndarray, " layer"] | None
    """Along the direction; None where there is none."""
    mass: Float[np.ndarray, "layer segment"]
    """Of each segment, averaged over the heads of each layer."""
    logprob: float
    """Nats; nan where it is undefined."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON, null where a number is undefined."""
        return {
            "answer_position": self.answer_position,
            "text": self.text,
            "activity": None if self.activity is None else plain_numbers(self.activity),
            "mass": plain_numbers(self.mass),
            "logprob": plain_numbers(self.logprob),
        }


class LiveRows:
    """Reads each row of one sample's capture once.

    Args:
        capture: Of one sample.
        tokenizer: Turns its tokens into texts.
        has_activity: Whether activity is read, along one direction.
    """

    def __init__(self, capture: Capture, tokenizer: PreTrainedTokenizerBase, *, has_activity: bool) -> None:
        self._capture, self._tokenizer, self._has_activity = capture, tokenizer, has_activity
        self.n_read = 0
        """Rows that were returned so far."""

    def new(self, n_rows: int, token_ids: Sequence[int]) -> list[LiveToken]:
        """Return the tokens up to `n_rows`, as far as they are new.

        Args:
            n_rows: Tokens of the answer that were fed.
            token_ids: All tokens of the answer so far, also one that was chosen and not fed.
        """
        first = self.n_read
        if n_rows <= first:
            return []
        capture = self._capture
        of_layers = [capture.rows_of("mass", int(layer), first)[0, :, : n_rows - first] for layer in capture.layers]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a layer without masses has the mean nan
            mass = np.stack([np.nanmean(one, axis=0) for one in of_layers], axis=1)
        logprob = capture.rows_of("logprob", 0, first)[0, 0, : n_rows - first, 0]
        activity = capture.rows_of("activity", 0, first)[0, :, : n_rows - first, 0].T if self._has_activity else None
        begin = max(first - _CONTEXT, 0)
        texts = token_texts(self._tokenizer, token_ids[begin:])[first - begin :]
        self.n_read = n_rows
        return [
            LiveToken(
                first + row, texts[row], None if activity is None else activity[row], mass[row], float(logprob[row])
            )
            for row in range(n_rows - first)
        ]


def plain_numbers(values: Any) -> Any:
    """Return numbers as JSON has them: rounded far below what is compared, None where undefined.

    Example:
        >>> plain_numbers(np.array([[0.123456789, np.nan]]))
        [[0.1234568, None]]
    """
    array = np.asarray(values, dtype=np.float64)
    rounded = np.array(np.round(array, _DIGITS), dtype=object)
    rounded[~np.isfinite(array)] = None
    return rounded.tolist()
