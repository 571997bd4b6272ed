"""What forward passes left behind: rows or sums of them, and where each stands in its sequence.

It is plain storage, and knows nothing of hooks or of what users ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from foretell.schema.tables import SEGMENTS

__all__ = ["GENERATED", "N_SEGMENTS", "Pass", "Recording", "Shelf", "Tally"]

N_SEGMENTS = len(SEGMENTS)
_BOARD = 1 << 20
"""Numbers on one board of a shelf, 4 MiB."""

GENERATED = SEGMENTS.index("generated")


@dataclass(frozen=True)
class Tally:
    """Sums of one quantity's rows in some layers, instead of the rows."""

    layers: tuple[int, ...]
    total: Tensor
    """`(layer, sample, head, bin, value)` sum over what is not nan."""
    number: Tensor
    """`(layer, sample, head, bin, value)` how many that are."""


class Shelf:
    """Keeps many small tensors side by side in a few large ones.

    A small tensor that outlives a pass, put down between large ones that come and go (the keys and values of a
    growing cache), keeps the allocator from joining what they leave behind; thousands of them cost gigabytes.
    """

    def __init__(self) -> None:
        # The first board is put up before any pass, so that it is not in the way of one.
        self._board = _board()
        self._used = 0

    def keep(self, values: Tensor) -> Tensor:
        """Return a copy that stands on the shelf; tensors of other devices and types are returned as they are."""
        size = values.numel()
        if values.device.type != "cpu" or values.dtype != torch.float32 or size > _BOARD:
            return values
        return self.place(values.shape).copy_(values)

    def place(self, shape: Sequence[int]) -> Tensor:
        """Return room on the shelf for numbers of 32 bits, to be written to; for very many it is room of its own."""
        size = math.prod(shape)
        if size > _BOARD:
            return torch.empty(tuple(shape))
        if self._used + size > _BOARD:
            self._board, self._used = _board(), 0
        first, self._used = self._used, self._used + size
        return self._board[first : self._used].view(shape)

    def clear(self) -> None:
        """Use the room again; nobody looks at what stood there any more."""
        self._used = 0


def _board() -> Tensor:
    # A board outlives the inference mode that it may be made in.
    with torch.inference_mode(mode=False):
        return torch.empty(_BOARD)


@dataclass
class Pass:
    """What one forward pass left behind; every tensor's row axis is that of `columns`."""

    start: int
    """Tokens that were in the cache before the pass."""
    width: int
    """Tokens that the pass itself was given."""
    columns: Tensor
    """`(sample, row)` place of each row in its sequence, on the CPU; -1 where a sample has fewer rows."""
    bins: Tensor | None = None
    """`(sample, bin, row)` 1 where a row belongs to a bin; None where every row is kept."""
    layers: set[int] = field(default_factory=set)
    """Layers whose attention is read."""
    readings: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    """Quantity (mass, share, entropy, contribution) to layer to `(sample, head, row, value)`, where rows are kept."""
    tallies: dict[str, list[Tally]] = field(default_factory=dict)
    """Quantity (mass, lift, entropy, contribution) to sums of rows, where they are added up."""
    activities: dict[int, Tensor] = field(default_factory=dict)
    """Layer to `(sample, row, direction)`."""
    logprobs: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Pairs of columns and log-probabilities, both `(sample, some)`."""
    token_entropies: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Pairs of columns and entropies, both `(sample, some)`."""


@dataclass
class Recording:
    """Everything that was read since the last fresh pass."""

    segments: Int[np.ndarray, "sample token"]
    n_layers: int
    n_directions: int
    model_name: str
    tallied: bool = False
    """Whether rows are added up instead of kept."""
    passes: list[Pass] = field(default_factory=list)
    kept: Int[np.ndarray, " sample"] | None = None
    """How many generated tokens of each sample count; None means all that were fed."""
    shelf: Shelf = field(default_factory=Shelf)
    """Where small tensors are kept."""
    projected: set[int] = field(default_factory=set)
    """Layers whose contributions were measured after the output projection."""

    @property
    def n_columns(self) -> int:
        """Tokens fed so far, prompt included."""
        return max((one.start + one.width for one in self.passes), default=0)

    def codes(self, n_columns: int) -> Int[np.ndarray, "sample column"]:
        """Return the segment code of the first `n_columns` tokens; those beyond the given segments are generated."""
        missing = max(n_columns - self.segments.shape[1], 0)
        return np.pad(self.segments, ((0, 0), (0, missing)), constant_values=GENERATED)[:, :n_columns]

    def bins(self, columns: Tensor) -> Tensor:
        """Return `(sample, bin, row)`: 1 where a row, given by its column, belongs to a bin.

        Bins hold generated tokens 1, 2, 3 to 4, 5 to 8, and so on, so that the first 2 ** k bins' rows are whole bins.
        """
        n_columns = max(int(columns.max()) + 1 if columns.numel() else 0, self.segments.shape[1])
        ordinal = np.pad((self.codes(n_columns) == GENERATED).cumsum(1), ((0, 0), (0, 1)))
        places = np.take_along_axis(ordinal, columns.numpy(), axis=1)
        number = np.where(columns.numpy() >= 0, np.ceil(np.log2(np.maximum(places, 1))), -1).astype(np.int64)
        n_bins = int(number.max(initial=0)) + 1
        return torch.from_numpy((number[:, None, :] == np.arange(n_bins)[:, None]).astype(np.float32))
