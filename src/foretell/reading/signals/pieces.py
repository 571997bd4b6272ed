"""How rows of attention are cut so that the scores of one piece fit a processor's cache, and room for those.

It knows shapes, and nothing of queries, keys or values.

    pieces = Pieces(most_bytes=4 << 20, n_rooms=2)
    for piece in pieces.of((n_samples, n_groups, n_shared, n_rows), n_keys, device):
        piece.rooms[0]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.capture.rooms import borrowed, returned

__all__ = ["CACHE_BYTES", "Piece", "Pieces"]

CACHE_BYTES = 5 << 20
"""Scores of one piece without an accelerator: more than a processor's cache holds would be no faster."""


@dataclass(frozen=True)
class Piece:
    """Rows that are weighed together: of several samples, or of several heads of one, or some of one head."""

    samples: slice
    groups: slice
    rows: slice
    shape: tuple[int, int, int, int, int]
    """How many samples, key heads, heads that share one, rows and keys."""
    rooms: tuple[Float[Tensor, "head row key"], ...]
    """Room for scores and the like: keys' heads of all samples, and the rows of all heads that share one."""

    @property
    def is_first(self) -> bool:
        """Whether it is the first one of its samples."""
        return not (self.groups.start or self.rows.start)

    @property
    def place(self) -> tuple[slice, slice, slice, slice]:
        """Where it is in `(sample, key head, shared head, row)`."""
        return (self.samples, self.groups, slice(None), self.rows)

    def of(self, values: Tensor) -> Tensor:
        """Return its part of `(sample, key head, shared head, row, ...)`.

        A key head of size 1 stands for all; fewer samples stand for all by coming again and again.
        """
        groups = self.groups if values.shape[1] > 1 else slice(None)
        n_samples = len(values)
        first, n_own = self.samples.start % n_samples, self.samples.stop - self.samples.start
        if n_samples == 1:
            return values[:, groups, :, self.rows]
        if first + n_own <= n_samples:
            return values[first : first + n_own, groups, :, self.rows]
        again = torch.arange(self.samples.start, self.samples.stop, device=values.device) % n_samples
        return values[:, groups, :, self.rows][again]


class Pieces:
    """Cuts arrays of rows, with room that is used again and again.

    Args:
        most_bytes: bound for one room (at least one row of a head's group).
        n_rooms: of every piece.
    """

    def __init__(self, *, most_bytes: int, n_rooms: int) -> None:
        self._most_bytes = most_bytes
        self._n_rooms = n_rooms
        # Room is there before a pass, so that it is not in the way of what comes and goes in one.
        cpu = torch.device("cpu")
        self._borrowed = [borrowed(min(most_bytes, CACHE_BYTES) // 4, cpu) for _ in range(n_rooms)]
        self._rooms = {(cpu, number): room for number, room in enumerate(self._borrowed)}
        self._known: tuple[tuple[object, ...], list[Piece]] = ((), [])

    def close(self) -> None:
        """Give room back to those who come after."""
        self._known = ((), [])
        self._rooms.clear()
        while self._borrowed:
            returned(self._borrowed.pop())

    def of(
        self,
        shape: tuple[int, int, int, int],
        n_keys: int,
        device: torch.device,
        *,
        n_together: int = 1,
        least_width: int = 0,
    ) -> list[Piece]:
        """Cut an array of rows; layers one after the other mostly have the same.

        Args:
            shape: how many samples, key heads, heads that share one, and rows.
            n_keys: keys that each row is asked of.
            device: where.
            n_together: samples of one layer, which samples are a multiple of; a piece has whole layers or one's part.
            least_width: numbers that each row needs at least, where that is more than its scores.
        """
        identity = (shape, n_keys, device, n_together, least_width)
        if self._known[0] != identity:
            self._known = (identity, list(self._cut(shape, n_keys, device, n_together, max(n_keys, least_width))))
        return self._known[1]

    def _cut(
        self, shape: tuple[int, int, int, int], n_keys: int, device: torch.device, n_together: int, width: int
    ) -> Iterator[Piece]:
        n_samples, n_groups, n_shared, n_rows = shape
        n_bytes = min(self._most_bytes, CACHE_BYTES) if device.type == "cpu" else self._most_bytes
        most = max(1, n_bytes // (4 * n_shared * width))
        rows = _even(n_rows, most)
        groups = _even(n_groups, most // n_rows) if rows == n_rows else 1
        samples = most // (n_rows * n_groups) if groups == n_groups else 1
        for sample, group, row in itertools.product(
            _layers(n_samples, n_together, samples), _steps(n_groups, groups), _steps(n_rows, rows)
        ):
            sizes = (sample.stop - sample.start, group.stop - group.start, n_shared, row.stop - row.start, n_keys)
            folded = (sizes[0] * sizes[1], sizes[2] * sizes[3], n_keys)
            rooms = tuple(self._room(number, folded, device) for number in range(self._n_rooms))
            yield Piece(sample, group, row, sizes, rooms)

    def _room(self, number: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        size = math.prod(shape)
        room = self._rooms.get((device, number))
        if room is None or len(room) < size:
            room = self._rooms[device, number] = borrowed(size, device)
        return room[:size].view(shape)


def _even(n: int, most: int) -> int:
    """Return how many of `n` go into one piece, so that pieces of at most so many are about the same."""
    n_pieces = -(-n // max(1, most))
    return -(-n // n_pieces)


def _steps(n: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def _layers(n_samples: int, n_together: int, most: int) -> list[slice]:
    """Cut samples into parts of at most so many, of whole layers or else within one."""
    if most >= n_together:
        return _steps(n_samples, n_together * _even(n_samples // n_together, most // n_together))
    parts = _steps(n_together, _even(n_together, most))
    return [slice(first + part.start, first + part.stop) for first in range(0, n_samples, n_together) for part in parts]
