"""Values given beside a table, one per sample: as a mapping from id, a series, or a list in the table's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from foretell.errors import TableError
from foretell.records.cells import parse_text
from foretell.records.in_memory import series_of

__all__ = ["is_by_sample", "keyed_values", "require_keyed", "values_by_sample"]


def is_by_sample(values: Any) -> bool:
    """Whether an argument is a mapping, a series, an array or a list, and not the name of a column or a table."""
    if isinstance(values, str | bytes | pl.LazyFrame) or hasattr(values, "columns") or hasattr(values, "column_names"):
        return False
    return isinstance(values, Mapping | Sequence) or hasattr(values, "__array__")


def keyed_values(values: Any, ids: pl.Series | None = None) -> dict[Any, Any] | None:
    """Return a mapping, or a pandas series that names its rows by id, as a dict; None for values in an order.

    Args:
        values: A mapping or series.
        ids: Ids of the samples; a series whose rows are only numbered is by id where the numbers are these ids.

    Raises:
        TableError: The series names a row twice.
    """
    if isinstance(values, Mapping):
        return dict(values)
    index = getattr(values, "index", None)
    if not hasattr(values, "iloc") or index is None:
        return None
    numbered = type(index).__name__ == "RangeIndex"
    if numbered and (ids is None or set(ids) - {str(name) for name in index}):
        return None
    if not index.is_unique:
        raise TableError("the series names a row twice in its index; each id has one value")
    return dict(zip(index.tolist(), values.tolist(), strict=True))


def values_by_sample(values: Any, rows: pl.DataFrame, *, name: str, may_be_empty: bool = False) -> pl.DataFrame:
    """Return given values as a frame with the columns id, perhaps dataset, and value; one row per sample.

    Args:
        values: A mapping from id, or from (dataset, id) where datasets share ids; or one value per sample in the order
            in which the samples first appear in the table; or one value per row of the table.
        rows: The table's id and, if there is one, dataset, as text, in its order.
        name: What the values are, for messages.
        may_be_empty: Whether it is allowed that a mapping has none of the ids.

    Raises:
        TableError: A mapping has none of the ids, or one that several datasets share; values are not one per sample,
            or differ between rows of one sample.
    """
    key = [column for column in ("dataset", "id") if column in rows.columns]
    samples = rows.select(key).drop_nulls().unique(maintain_order=True)
    given = keyed_values(values, samples.get_column("id"))
    if given is not None:
        found = _of_mapping(given, samples, name)
        if not found.height and not may_be_empty:
            raise TableError(_no_match(given, samples, name))
        return found
    if not is_by_sample(values) or getattr(values, "ndim", 1) != 1:
        raise TableError(
            f"{name} is a {type(values).__name__}: give a column's name, a mapping from id, or one value per sample"
        )
    column = _texts(name, list(values))
    if column.len() == samples.height:
        return samples.with_columns(column.alias("value"))
    if column.len() != rows.height:
        raise TableError(
            f"{name} has {column.len()} values: there are {samples.height} samples in {rows.height} rows; give one "
            "value per sample, in the order in which they first appear, or a mapping from id"
        )
    found = rows.select(key).with_columns(column.alias("value")).drop_nulls(key).unique(maintain_order=True)
    unclear = found.filter(pl.struct(key).is_duplicated())
    if unclear.height:
        raise TableError(f'{name} has two values for the sample "{unclear.get_column("id")[0]}"; a sample has one')
    return found


def require_keyed(values: Any, *, name: str) -> Any:
    """Return the name of a column, or a mapping, for a table that is read in parts and so has no order of samples.

    Raises:
        TableError: The values are in an order.
    """
    if values is None or isinstance(values, str):
        return values
    given = keyed_values(values)
    if given is None:
        raise TableError(f"{name}: a table that is read in parts has no order of samples; give a column or a mapping")
    return given


def _no_match(given: Mapping[Any, Any], samples: pl.DataFrame, name: str) -> str:
    first, shown = next(iter(samples.get_column("id")), ""), next(iter(given), "nothing")
    return f'{name} has none of the ids: the table has "{first}", the mapping has {shown!r}'


def _of_mapping(given: Mapping[Any, Any], samples: pl.DataFrame, name: str) -> pl.DataFrame:
    pairs = [isinstance(one, tuple) and len(one) == len(("dataset", "id")) for one in given]
    keys = ("dataset", "id") if given and all(pairs) else ("id",)
    if "dataset" in keys and "dataset" not in samples.columns:
        raise TableError(f"{name} is by (dataset, id), and the table has no column dataset")
    columns = zip(*given, strict=True) if len(keys) > 1 else (list(given),)
    frame = pl.DataFrame([_texts(key, list(column)) for key, column in zip(keys, columns, strict=True)])
    frame = frame.with_columns(_texts("value", list(given.values())))
    found = samples.join(frame, on=keys, how="inner", maintain_order="left")
    shared = found.filter(pl.col("id").is_duplicated()).get_column("id") if keys == ("id",) else None
    if shared is not None and shared.len():
        raise TableError(
            f'{name} has the id "{shared[0]}", which several datasets have: map from (dataset, id) instead'
        )
    return found


def _texts(name: str, values: list[Any]) -> pl.Series:
    """Return values as text, by the rules of cells."""
    frame = pl.DataFrame([series_of(name, values)])
    return frame.select(parse_text(frame, name).cast(pl.String)).to_series()
