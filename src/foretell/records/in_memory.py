"""Tables in memory: frames of polars, pandas and pyarrow, dicts of columns and lists of dicts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from foretell.errors import InputError
from foretell.records.missing import is_missing

__all__ = ["column_names", "frame_of", "is_pandas", "is_records", "series_of", "without_objects"]


def is_records(table: Any) -> bool:
    """Whether an object is a list of dicts."""
    return (
        isinstance(table, Sequence)
        and not isinstance(table, str | bytes)
        and bool(table)
        and all(isinstance(record, Mapping) for record in table)
    )


def is_pandas(table: Any) -> bool:
    """Whether an object is a frame of pandas, without importing it."""
    return hasattr(table, "columns") and hasattr(table, "dtypes") and hasattr(table, "iloc")


def column_names(table: Any) -> list[str]:
    """Return the column names of a table in memory."""
    if isinstance(table, Mapping):
        return [str(name) for name in table]
    if isinstance(table, pl.LazyFrame):
        return table.collect_schema().names()
    return [str(name) for name in getattr(table, "column_names", None) or table.columns]


def frame_of(table: Any, wanted: Collection[str] | None, *, error: type[InputError]) -> pl.DataFrame:
    """Return the wanted columns of a table in memory, None: all.

    Raises:
        InputError: (as `error`) The object is no table, or two of its columns have the same name.
    """
    if not (isinstance(table, Mapping | pl.LazyFrame) or hasattr(table, "column_names") or hasattr(table, "columns")):
        raise error(
            f"a {type(table).__name__} is not a table; give a path, a run, or a table of polars, pandas or pyarrow"
        )
    names = column_names(table)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise error(f"the {type(table).__name__} has two columns of the same name: {', '.join(repeated)}; rename one")
    chosen = [name for name in names if wanted is None or name in wanted]
    if isinstance(table, pl.LazyFrame):
        table = table.select(chosen).collect()
    if isinstance(table, pl.DataFrame):
        return without_objects(table.select(chosen))
    if isinstance(table, Mapping):
        return _of_columns({name: values for name, values in table.items() if str(name) in chosen}, error)
    if hasattr(table, "column_names") and hasattr(table, "select"):
        arrow = pl.from_arrow(table.select(chosen))
        return without_objects(arrow if isinstance(arrow, pl.DataFrame) else arrow.to_frame())
    if is_pandas(table):
        return pl.DataFrame([_of_pandas(str(name), table[name]) for name in table.columns if str(name) in chosen])
    raise error(f"a {type(table).__name__} is not a table; give a table of polars, pandas or pyarrow")


def without_objects(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame whose columns of Python objects or bytes are numbers or text."""
    names = [name for name, dtype in frame.schema.items() if dtype in (pl.Object, pl.Binary)]
    return frame.with_columns([series_of(name, frame.get_column(name).to_list()) for name in names])


def series_of(name: str, values: Sequence[Any]) -> pl.Series:
    """Return Python values as a column of one dtype; mixed types become text."""
    values = [None if not isinstance(value, str) and is_missing(value) else _plain(value) for value in values]
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds <= {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds <= {float}:
        return pl.Series(name, values, dtype=pl.Float64)
    return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)


def _of_columns(columns: Mapping[Any, Any], error: type[InputError]) -> pl.DataFrame:
    lists: dict[str, list[Any]] = {}
    n_rows = 1
    for name, values in columns.items():
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
            continue
        lists[str(name)] = list(values.to_list() if hasattr(values, "to_list") else values)
        n_rows = len(lists[str(name)])
    for name, values in columns.items():
        lists.setdefault(str(name), [values] * n_rows)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise error(f"the columns of the dict differ in length: {lengths}")
    return pl.DataFrame([series_of(str(name), lists[str(name)]) for name in columns])


def _of_pandas(name: str, column: Any) -> pl.Series:
    if getattr(column.dtype, "kind", "O") in "iufb" and hasattr(column.dtype, "byteorder"):
        return pl.Series(name, column.to_numpy())
    return series_of(name, column.tolist())


def _plain(value: Any) -> Any:
    """Return a number of numpy as one of Python."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
