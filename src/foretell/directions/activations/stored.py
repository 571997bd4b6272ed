"""Hidden states of every pair, in memory or in a file, for methods that need all pairs at once.

Layers are stored one after the other, so that a file larger than memory can be read layer by layer.

    with overflow_folder(n_bytes, memory_bytes=2 * 2**30) as folder:
        activations = read_activations(model, pairs, folder=folder)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from foretell.conversations.pairs import SIDES
from foretell.errors import InputError

__all__ = ["MEMORY_BYTES", "Stored", "overflow_folder", "state_bytes"]

MEMORY_BYTES = 2 * 2**30
"""Memory for the hidden states of all layers; more is stored in a file."""

_DTYPE = np.dtype(np.float32)
_SPARE = 1.05
"""Free space required, as a multiple of the file's size: other things are written there too."""


def state_bytes(n_rows: int, n_layers: int, width: int) -> int:
    """Return the bytes that the hidden states of both answers take.

    Example:
        >>> state_bytes(10_000, 32, 4096) / 2**30
        9.765625
    """
    return n_rows * len(SIDES) * n_layers * width * _DTYPE.itemsize


@contextmanager
def overflow_folder(n_bytes: int, *, memory_bytes: int) -> Iterator[Path | None]:
    """Yield a temporary folder for hidden states that exceed the memory limit, or None if they fit.

    Args:
        n_bytes: Size of the hidden states, see `state_bytes`.
        memory_bytes: Memory limit for them.

    Raises:
        InputError: The disk of temporary files has too little free space.
    """
    if n_bytes <= memory_bytes:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="foretell-states-") as name:
        free = shutil.disk_usage(name).free
        if n_bytes * _SPARE > free:
            raise InputError(
                f"the hidden states take {_gib(n_bytes)}, more than the {_gib(memory_bytes)} of memory they may have, "
                f"and the disk of {tempfile.gettempdir()} has {_gib(free)}: give fewer pairs, set TMPDIR to a larger "
                "disk, or fit by mean-difference or paired-component with fit_direction, which keep sums only"
            )
        yield Path(name)


class Stored:
    """A sink that keeps every row, pairs in order."""

    def __init__(self, n_rows: Int[np.ndarray, " pair"], n_layers: int, width: int, folder: Path | None) -> None:
        """Allocate.

        Args:
            n_rows: Rows of each pair.
            n_layers: Decoder blocks.
            width: Size of a hidden state.
            folder: Folder of the file; None keeps the states in memory.
        """
        self.row_pair = np.repeat(np.arange(len(n_rows)), n_rows)
        self._start = np.cumsum(n_rows) - n_rows
        shape = (n_layers, len(self.row_pair), len(SIDES), width)
        self._states: np.ndarray = (
            np.empty(shape, dtype=_DTYPE)
            if folder is None
            else np.memmap(folder / "states.float32", dtype=_DTYPE, mode="w+", shape=shape)
        )

    def add(self, layer: int, pair: Int[np.ndarray, " row"], hidden: Float[Tensor, "row side width"]) -> None:
        """Store one layer's rows of one batch; the rows of a pair are consecutive and in order."""
        index = np.arange(len(pair))
        begins = np.append(True, pair[1:] != pair[:-1])
        within = index - np.maximum.accumulate(np.where(begins, index, 0))
        self._states[layer, self._start[pair] + within] = hidden.cpu().numpy()

    @property
    def hidden(self) -> Float[np.ndarray, "row side layer width"]:
        """The stored states, in the order of the pairs."""
        return np.moveaxis(self._states, 0, 2)


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
