"""Whether a table on disk would fit into this machine's memory, asked before any of it is read.

refuse_what_does_not_fit(Path("attention.parquet"))
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from foretell.errors import TableError, located
from foretell.stats.table.sources import is_parquet, parquet_parts

__all__ = ["BYTES_OF_ROW", "memory_of_machine", "refuse_what_does_not_fit"]

BYTES_OF_ROW = 200
"""What a row takes at the peak of cleaning and joining; measured: 150 to 200 with three metrics."""
_BYTES_OF_TEXT = 3
"""What a byte of a text file takes likewise: a row of a CSV file is some 70 bytes."""
_SHARE = 0.8


def memory_of_machine() -> int | None:
    """Return the bytes of memory of this machine, None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def refuse_what_does_not_fit(path: Path) -> None:
    """Refuse a file or folder of parts whose table would take more than four fifths of the machine's memory.

    Args:
        path: What `read_table` was given; what is no table at all is left for reading to refuse.

    Raises:
        TableError: The table does not fit; the message names what can read it.
    """
    memory, needed = memory_of_machine(), _needed(path)
    if memory is None or needed <= _SHARE * memory:
        return
    message = (
        f"would take about {needed / 2**30:.0f} GiB of memory, this machine has {memory / 2**30:.0f}; "
        "foretell.stream_association tests its heads a layer at a time, or study fewer samples, layers or heads"
    )
    raise TableError(located(path, message))


def _needed(path: Path) -> int:
    try:
        if is_parquet(path):
            parts = parquet_parts(path) if path.is_dir() else [path]
            n_rows = sum(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item() for part in parts)
            return BYTES_OF_ROW * int(n_rows)
        return _BYTES_OF_TEXT * path.stat().st_size
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, TableError):
        return 0
