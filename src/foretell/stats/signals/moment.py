"""A moment of every answer: after its first k tokens, or after a share of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

__all__ = ["Moment", "after_tokens", "at_share", "checkpoints"]


def checkpoints(n_generated: Int[np.ndarray, " sample"]) -> tuple[int, ...]:
    """Return the numbers of generated tokens at which signals are judged: 0, 1, 2, 4, ..., and the longest answer.

    At the last one every answer is whole.

    Args:
        n_generated: `(sample,)` tokens of each answer.

    Example:
        >>> checkpoints(np.array([3, 9]))
        (0, 1, 2, 4, 8, 9)
    """
    longest = int(n_generated.max(initial=0))
    doubled = [1 << power for power in range(longest.bit_length()) if 1 << power < longest]
    return (0, *doubled, longest) if longest else (0,)


@dataclass(frozen=True)
class Moment:
    """All samples of a dataset when a part of each answer is written, or all of it."""

    ids: tuple[str, ...]
    n_generated: Int[np.ndarray, " sample"]
    """Tokens of each whole answer."""
    so_far: Int[np.ndarray, " sample"]
    """Tokens of each answer that are written by now."""

    @property
    def after(self) -> int:
        """Most tokens that any answer has by now."""
        return int(self.so_far.max(initial=0))

    @property
    def ended(self) -> Bool[np.ndarray, " sample"]:
        """Whether each answer is whole by now."""
        return np.asarray(self.so_far >= self.n_generated)

    @property
    def share_written(self) -> float:
        """Mean share of each answer's tokens that are written by now."""
        return float(np.mean(self.so_far / np.maximum(self.n_generated, 1)))

    @property
    def is_end(self) -> bool:
        """Whether all answers are whole by now."""
        return bool(self.ended.all())

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Columns id, sample (its place), so_far, ended."""
        return pl.DataFrame(
            {
                "id": pl.Series(self.ids, dtype=pl.String),
                "sample": np.arange(len(self.ids)),
                "so_far": self.so_far,
                "ended": self.ended,
            }
        )

    def present(self, ids: Sequence[str]) -> Int[np.ndarray, " row"]:
        """Return the place of each id among the samples; -1 where it is none of them."""
        place = {id_: index for index, id_ in enumerate(self.ids)}
        return np.array([place.get(one, -1) for one in ids], dtype=np.int64)

    def unread(self, has: Bool[np.ndarray, " sample"]) -> bool:
        """Whether a signal was not read at this moment: no sample has it whose answer goes on, or none at all."""
        going_on = ~self.ended
        return not (has[going_on].any() if going_on.any() else has.any())


def after_tokens(ids: Sequence[str], n_generated: Int[np.ndarray, " sample"], after: int) -> Moment:
    """Return the moment at which each answer has its first tokens, or all of them where it is shorter.

    Example:
        >>> after_tokens(["a", "b"], np.array([3, 9]), 4).so_far
        array([3, 4])
    """
    return Moment(tuple(ids), n_generated, np.minimum(n_generated, after))


def at_share(ids: Sequence[str], n_generated: Int[np.ndarray, " sample"], share: float) -> Moment:
    """Return the last checkpoint of each answer by which at most a share of its tokens is written.

    Checkpoints double, so on average less than the share is written: see `Moment.share_written`.

    Example:
        >>> at_share(["a", "b", "c"], np.array([1, 24, 64]), 0.75).so_far
        array([ 0, 16, 32])
    """
    target = np.floor(share * n_generated).astype(np.int64)
    doubled = np.where(target > 0, 1 << np.maximum(np.frexp(target)[1] - 1, 0), 0)
    return Moment(tuple(ids), n_generated, np.where(target == n_generated, n_generated, doubled).astype(np.int64))
