"""A moment of every answer: after its first k tokens, or after all of them where it is shorter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

__all__ = ["Moment", "checkpoints"]


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
    """All samples of a dataset when each has min(k, its length) tokens of its answer."""

    ids: tuple[str, ...]
    n_generated: Int[np.ndarray, " sample"]
    """Tokens of each whole answer."""
    after: int
    """k."""

    @property
    def so_far(self) -> Int[np.ndarray, " sample"]:
        """Tokens of each answer that are written by now."""
        return np.asarray(np.minimum(self.n_generated, self.after))

    @property
    def ended(self) -> Bool[np.ndarray, " sample"]:
        """Whether each answer is whole by now."""
        return np.asarray(self.n_generated <= self.after)

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
