"""Parquet and Arrow files, of which only the wanted columns are read."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from foretell.errors import InputError, TableError, located
from foretell.records.content import KINDS, Content

__all__ = ["is_parquet", "parquet_parts", "read_arrow", "read_parquet"]

Part = Path | bytes
_FAULTS = (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException)


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file by its first bytes, or a folder of Parquet files."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def parquet_parts(folder: Path, *, error: type[InputError] = TableError) -> list[Path]:
    """Return the Parquet files below a folder in the order of their names.

    Raises:
        InputError: (as `error`) There are none.
    """
    parts = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in {".parquet", ".pq"} and path.is_file() and not path.name.startswith(".")
    )
    if not parts:
        raise error(located(folder, f"cannot be read: the folder holds no .parquet file; {KINDS}"))
    return parts


def read_parquet(
    parts: Sequence[Part], name: str, wanted: Collection[str] | None, *, error: type[InputError]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the wanted columns of Parquet files that together are one table, and all columns there.

    Raises:
        InputError: (as `error`) A part is not complete, lacks a wanted column that others have, or does not fit.
    """
    frames: dict[Part, pl.DataFrame] = {}
    columns: dict[str, None] = {}
    for part in parts:
        try:
            scan = pl.scan_parquet(io.BytesIO(part) if isinstance(part, bytes) else part, glob=False)
            names = scan.collect_schema().names()
            frames[part] = scan.select(_chosen(names, wanted)).collect()
        except _FAULTS as cause:
            place = name if isinstance(part, bytes) else part
            message = f"is a damaged Parquet file, not a complete one ({_first_line(cause)}); write it again"
            raise error(located(place, message)) from cause
        columns |= dict.fromkeys(names)
    for part, frame in frames.items():
        lacking = [column for column in _chosen(list(columns), wanted) if column not in frame.columns]
        if lacking and frame.height:
            message = "is lacking in this part and not in others; write it again, with null where it is unknown"
            raise error(located(str(part), message, column=lacking[0]))
    filled = [frame for frame in frames.values() if frame.height] or list(frames.values())[:1]
    try:
        return filled[0] if len(filled) == 1 else pl.concat(filled, how="diagonal_relaxed"), tuple(columns)
    except pl.exceptions.PolarsError as cause:
        raise error(located(name, f"the parts do not fit together ({_first_line(cause)})")) from cause


def read_arrow(
    content: Content, wanted: Collection[str] | None, *, error: type[InputError]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the wanted columns of an Arrow file or stream, and all columns there.

    Raises:
        InputError: (as `error`) The file is not complete.
    """
    data = content.read()
    try:
        if content.head.startswith(b"ARROW1"):
            columns = list(pl.read_ipc_schema(io.BytesIO(data)))
            return pl.read_ipc(data, columns=_chosen(columns, wanted)), tuple(columns)
        frame = pl.read_ipc_stream(data)
        return frame.select(_chosen(frame.columns, wanted)), tuple(frame.columns)
    except _FAULTS as cause:
        message = f"is not a complete Arrow file ({_first_line(cause)}); write it again"
        raise error(located(content.path, message)) from cause


def _chosen(columns: list[str], wanted: Collection[str] | None) -> list[str]:
    return [column for column in columns if wanted is None or column in wanted]


def _first_line(cause: BaseException) -> str:
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return lines[0].strip()[:200] if lines else type(cause).__name__
