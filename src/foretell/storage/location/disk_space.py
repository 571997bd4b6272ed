"""Whether a disk has the space that a run will take, asked before the work.

require_space(Path("run"), run_bytes(lengths, answers, n_layers=30, n_heads=9, checkpoints=True, rows=False))
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from foretell.errors import InputError

__all__ = ["require_space", "run_bytes"]

_SAMPLE, _TOKEN = 300, 6
_ATTENTION, _DETAIL, _CHECKPOINT, _ROW, _ACTIVITY = 50, 30, 35, 8, 4
"""Bytes of a row on disk, compressed, that are never fewer in real runs: a bound from below, so that no disk with
enough space is refused."""


def run_bytes(
    n_tokens: Sequence[int],
    n_generated: Sequence[int],
    *,
    n_layers: int,
    n_heads: int,
    detail: bool = False,
    rows: bool = False,
    n_directions: int = 0,
) -> int:
    """Return the bytes that the tables of a run take at least, without hidden states.

    Args:
        n_tokens: Of each sample.
        n_generated: Of each sample's answer.
        n_layers: Blocks.
        n_heads: Query heads of a block.
        detail: Whether contributions, entropies and checkpoints are read.
        rows: Whether the masses of every row are kept.
        n_directions: Directions whose activity is read.
    """
    heads = n_layers * n_heads
    n_checkpoints = sum(number.bit_length() for number in n_generated) if detail else 0
    return (
        len(n_tokens) * (_SAMPLE + heads * (_ATTENTION + _DETAIL * detail))
        + sum(n_tokens) * _TOKEN
        + n_checkpoints * heads * _CHECKPOINT
        + sum(n_generated) * (heads * _ROW * rows + n_layers * n_directions * _ACTIVITY)
    )


def require_space(folder: Path, n_bytes: int) -> None:
    """Refuse a disk that has less space than this.

    Raises:
        InputError: It does; the message names both.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < n_bytes:
        raise InputError(
            f"{folder}: its disk has {_size(free)} free, and what is still to be read takes at least {_size(n_bytes)}; "
            "make space, choose another folder, or read less (fewer hidden states, no rows, no detail)"
        )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
