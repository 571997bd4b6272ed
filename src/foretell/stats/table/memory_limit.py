"""Memory limit: a table on disk that would not fit into memory is refused before it is read."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from foretell.errors import TableError, located
from foretell.records.binary_tables import is_parquet, parquet_parts

__all__ = ["BYTES_PER_ROW", "physical_memory", "require_memory"]

BYTES_PER_ROW = 200
"""Peak memory per row of cleaning and joining; measured: 150 to 200 bytes with three metrics."""
_BYTES_PER_TEXT_BYTE = 3
"""Peak memory per byte of a text file: a row of a CSV file is about 70 bytes."""
_LIMIT = 0.8
"""Share of the machine's memory that a table may take."""


def physical_memory() -> int | None:
    """Return the physical memory of this machine in bytes, None where it is unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(path: Path) -> None:
    """Refuse a file or folder of Parquet files whose table would take more than 80 % of the machine's memory.

    Args:
        path: The source given to `read_table`; anything that is not a table is left to the reader.

    Raises:
        TableError: The table does not fit; the message names the alternative.
    """
    memory, needed = physical_memory(), _estimated_bytes(path)
    if memory is None or needed <= _LIMIT * memory:
        return
    message = (
        f"would take about {needed / 2**30:.0f} GiB of memory, this machine has {memory / 2**30:.0f}; "
        "foretell.stream_association tests its heads a layer at a time, or study fewer samples, layers or heads"
    )
    raise TableError(located(path, message))


def _estimated_bytes(path: Path) -> int:
    try:
        if is_parquet(path):
            files = parquet_parts(path) if path.is_dir() else [path]
            n_rows = sum(pl.scan_parquet(file, glob=False).select(pl.len()).collect().item() for file in files)
            return BYTES_PER_ROW * int(n_rows)
        return _BYTES_PER_TEXT_BYTE * path.stat().st_size
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, TableError):
        return 0
