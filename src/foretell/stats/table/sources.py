"""Tables from files, folders of Parquet files, and data frames of other libraries, as polars frames.

Only the requested columns are read. Text is not parsed here, but in `foretell.stats.table.cleaning`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from foretell.errors import TableError, located
from foretell.storage.runs import open_run

__all__ = ["Source", "is_parquet", "parquet_parts", "read_source", "require_columns"]

_SEPARATORS = (",", "\t", ";", "|")
_WIDE_MARKS = {b"\xff\xfe", b"\xfe\xff"}
_SUPPORTED = "CSV, TSV, Parquet, Arrow (.arrow, .feather), JSON and JSONL files and folders of Parquet parts are read"


@dataclass(frozen=True)
class Source:
    """A frame, the name of its source, and all columns of the source (of which the frame has the requested ones)."""

    frame: pl.DataFrame
    name: str
    columns: tuple[str, ...]


def read_source(source: Any, *, wanted: Collection[str]) -> Source:
    """Return the wanted columns of a file, a folder of Parquet parts, or a frame of polars, pandas or pyarrow.

    Args:
        source: Path of a CSV, TSV, Parquet, Arrow, JSON or JSONL file (CSV may be gzipped), or of a folder of
            Parquet files; a polars, pandas or pyarrow table; anything with a method `table()` that returns one.
        wanted: Columns to read where they exist.

    Raises:
        TableError: The file is missing, empty or unreadable, or the object is not a table.
    """
    if isinstance(source, str | Path):
        found = _read_path(Path(source), wanted)
        return replace(found, frame=_without_objects(found.frame))
    name = f"<{type(source).__name__}>"
    if callable(getattr(source, "table", None)):
        name = str(getattr(source, "path", getattr(source, "folder", name)))
        source = source.table()
    frame = _frame_of(source, wanted)
    columns = tuple(str(column) for column in getattr(source, "column_names", None) or source.columns)
    if frame.height == 0:
        raise TableError(located(name, "the table has no rows"))
    return Source(frame, name, columns)


def require_columns(source: Source, columns: Iterable[str]) -> None:
    """Raise a `TableError` naming the first missing column, the existing ones, and the most similar one."""
    for column in columns:
        if column in source.columns:
            continue
        folded = {name.casefold().strip(): name for name in source.columns}
        near = get_close_matches(column.casefold(), list(folded), n=1, cutoff=0.6)
        hint = f'; did you mean "{folded[near[0]]}"? Rename it or choose it by its name' if near else ""
        shown = ", ".join(source.columns[:30]) + (", ..." if len(source.columns) > 30 else "")
        raise TableError(located(source.name, f"the column is missing{hint} (columns there: {shown})", column=column))


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file by its suffix, or a folder of Parquet files."""
    return path.is_dir() or path.suffix.lower() in {".parquet", ".pq"}


def parquet_parts(folder: Path) -> list[Path]:
    """Return the Parquet files below a folder in the order of their names.

    Raises:
        TableError: There are none.
    """
    parts = sorted(path for path in folder.rglob("*.parquet") if path.is_file() and not path.name.startswith("."))
    if not parts:
        raise TableError(located(folder, f"the folder holds no .parquet file; {_SUPPORTED}"))
    return parts


def _read_path(path: Path, wanted: Collection[str]) -> Source:
    if not path.exists():
        raise TableError(located(path, "there is no such file or folder"))
    if (path / "manifest.json").is_file():
        return read_source(open_run(path), wanted=wanted)
    if path.is_dir():
        return _read_parquet(parquet_parts(path), str(path), wanted)
    try:
        if path.stat().st_size == 0:
            raise TableError(located(path, "the file is empty"))
    except OSError as error:
        raise TableError(located(path, f"cannot be opened: {error.strerror}")) from error
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    match suffix.lower():
        case ".parquet" | ".pq":
            return _read_parquet([path], str(path), wanted)
        case ".csv" | ".tsv" | ".txt":
            return _read_csv(path, wanted)
        case ".arrow" | ".feather" | ".ipc":
            return _read_arrow(path, wanted)
        case ".jsonl" | ".ndjson" | ".json":
            return _read_json(path, wanted)
        case _:
            raise TableError(located(path, f'the ending "{path.suffix}" is not known; {_SUPPORTED}'))


def _read_parquet(parts: Sequence[Path], name: str, wanted: Collection[str]) -> Source:
    frames: list[pl.DataFrame] = []
    columns: dict[str, None] = {}
    for part in parts:
        try:
            scan = pl.scan_parquet(part)
            names = scan.collect_schema().names()
            frames.append(scan.select([column for column in names if column in wanted]).collect())
        except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
            message = f"is not a complete Parquet file ({_first_line(error)}); write it again or remove it"
            raise TableError(located(part, message)) from error
        columns |= dict.fromkeys(names)
    try:
        frame = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise TableError(located(name, f"the parts do not fit together ({_first_line(error)})")) from error
    if frame.height == 0 and frame.width:
        raise TableError(located(name, "the table has no rows"))
    return Source(frame, name, tuple(columns))


def _read_arrow(path: Path, wanted: Collection[str]) -> Source:
    try:
        columns = list(pl.read_ipc_schema(path))
        frame = pl.read_ipc(path.read_bytes(), columns=[column for column in columns if column in wanted])
    except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
        raise TableError(
            located(path, f"is not a complete Arrow file ({_first_line(error)}); write it again")
        ) from error
    if frame.height == 0 and frame.width:
        raise TableError(located(path, "the table has no rows"))
    return Source(frame, str(path), tuple(columns))


def _read_csv(path: Path, wanted: Collection[str]) -> Source:
    try:
        separator = "\t" if ".tsv" in path.suffixes else _separator(path, wanted)
        header = pl.read_csv(path, n_rows=0, infer_schema=False, separator=separator)
        columns = [column for column in header.columns if column in wanted]
        frame = pl.read_csv(path, columns=columns or None, infer_schema=False, separator=separator)
    except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
        _explain_csv(path, error)
    if frame.height == 0:
        raise TableError(located(path, "the table has a header and no rows"))
    return Source(frame.select(columns), str(path), tuple(header.columns))


def _separator(path: Path, wanted: Collection[str]) -> str:
    """Return the separator under which the header line shows most of the wanted columns."""
    if path.suffix.lower() == ".gz":
        return ","
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    if line[:2] in _WIDE_MARKS or b"\0" in line:
        raise TableError(located(path, "is not UTF-8 text (UTF-16?); save it as UTF-8"))
    header = line.decode("utf-8-sig", errors="replace")
    found = {
        separator: sum(cell.strip().strip('"') in wanted for cell in header.split(separator))
        for separator in _SEPARATORS
    }
    return max(_SEPARATORS, key=lambda separator: found[separator])


def _explain_csv(path: Path, error: BaseException) -> NoReturn:
    """Raise a `TableError` naming the malformed row of a CSV file, where it can be found."""
    problem, row = _first_line(error), None
    if path.suffix.lower() != ".gz" and path.is_file():
        row, problem = _csv_fault(path) or (None, problem)
    raise TableError(located(path, f"cannot be read as CSV: {problem}", row=row)) from error


def _csv_fault(path: Path) -> tuple[int, str] | None:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number, "not UTF-8 text; save the file as UTF-8"
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8-sig", newline="") as text:
        try:
            width = None
            for number, cells in enumerate(csv.reader(text)):
                width = len(cells) if width is None else width
                if len(cells) > width:
                    return number, f"{len(cells)} cells where the header has {width}; quote cells that hold commas"
        except csv.Error as error:
            return number, str(error)
    return None


def _read_json(path: Path, wanted: Collection[str]) -> Source:
    records: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(located(path, f"is not UTF-8 text ({_first_line(error)}); save it as UTF-8")) from error
    if text.lstrip().startswith("["):
        records = _json_records(path, None, text)
    else:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                records.append(_json_records(path, number, line))
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise TableError(located(path, "is no JSON object; each record is {column: value}", row=number))
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    if not records or not columns:
        raise TableError(located(path, "the table has no rows"))
    kept = [name for name in columns if name in wanted]
    series = [_series(name, [record.get(name) for record in records]) for name in kept]
    return Source(pl.DataFrame(series), str(path), columns)


def _json_records(path: Path, row: int | None, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(located(path, f"is no JSON ({_first_line(error)})", row=row)) from error


def _frame_of(table: Any, wanted: Collection[str]) -> pl.DataFrame:
    """Return the wanted columns of an object of polars, pandas or pyarrow."""
    if isinstance(table, pl.LazyFrame):
        table = table.collect()
    if isinstance(table, pl.DataFrame):
        frame = table.select([name for name in table.columns if name in wanted])
        return _without_objects(frame)
    if hasattr(table, "column_names") and hasattr(table, "select"):
        arrow = pl.from_arrow(table.select([name for name in table.column_names if name in wanted]))
        return _without_objects(arrow if isinstance(arrow, pl.DataFrame) else arrow.to_frame())
    if hasattr(table, "columns") and hasattr(table, "dtypes"):
        series = []
        for name in table.columns:
            if name not in wanted:
                continue
            column = table[name]
            numeric = getattr(column.dtype, "kind", "O") in "iufb"
            values = column.to_numpy() if numeric and hasattr(column.dtype, "byteorder") else None
            series.append(pl.Series(str(name), values) if values is not None else _series(str(name), column.tolist()))
        return pl.DataFrame(series)
    raise TableError(
        f"a {type(table).__name__} is not a table; give a path, a run, or a table of polars, pandas or pyarrow"
    )


def _without_objects(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame whose columns of Python objects or bytes are numbers or text."""
    names = [name for name, dtype in frame.schema.items() if dtype in (pl.Object, pl.Binary)]
    return frame.with_columns([_series(name, frame.get_column(name).to_list()) for name in names])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    """Return Python values as a column of one dtype; mixed types become text."""
    values = [None if value is None or _is_missing(value) else value for value in values]
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds <= {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds <= {float}:
        return pl.Series(name, values, dtype=pl.Float64)
    return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)


def _is_missing(value: Any) -> bool:
    return (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in {"NAType", "NaTType"}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:200] if lines else type(error).__name__
