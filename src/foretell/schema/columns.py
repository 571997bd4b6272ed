"""Column specifications of tables: name, dtype, range, null rule and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from foretell.errors import InputError, TableError

__all__ = [
    "DATASET",
    "HEAD",
    "ID",
    "LAYER",
    "REASON",
    "UNDEFINED",
    "Column",
    "Table",
    "as_pandas",
    "conform",
    "count",
    "empty",
    "fraction",
    "number",
]

if TYPE_CHECKING:
    import pandas as pd

    DType: TypeAlias = pl.DataType
else:  # run-time type checkers reject polars' dtypes
    DType = object


@dataclass(frozen=True)
class Column:
    """Specification of one column."""

    name: str
    dtype: DType
    meaning: str
    lower: float | None = None
    upper: float | None = None
    null: str | None = None
    """When the value is null; None if never."""


@dataclass(frozen=True)
class Table:
    """A named list of columns and the columns that identify a row."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def dtypes(self) -> dict[str, DType]:
        """Column name to polars dtype, in order."""
        return {column.name: column.dtype for column in self.columns}


def empty(table: Table) -> pl.DataFrame:
    """Return an empty frame with the table's columns."""
    return pl.DataFrame(schema=table.dtypes)


def as_pandas(table: pl.DataFrame) -> pd.DataFrame:
    """Return a table for pandas.

    Raises:
        InputError: pandas or pyarrow is not installed.
    """
    try:
        return table.to_pandas()
    except ModuleNotFoundError as error:
        raise InputError(f"to_pandas needs {error.name}: pip install pandas pyarrow") from error


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return `frame` with the table's columns in order and dtype, extra columns dropped.

    Raises:
        TableError: A column that must not be null is missing or has nulls, or a value has a wrong type.
    """
    expressions: list[pl.Expr] = []
    for column in table.columns:
        if column.name in frame.columns:
            expressions.append(pl.col(column.name).cast(column.dtype))
        elif column.null is not None:
            expressions.append(pl.lit(None, dtype=column.dtype).alias(column.name))
        else:
            raise TableError(f'table {table.name}: column "{column.name}" is missing')
    try:
        conformed = frame.select(expressions)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"table {table.name}: {error}") from error
    for column in table.columns:
        if column.null is None and conformed.get_column(column.name).null_count():
            raise TableError(f'table {table.name}: column "{column.name}" must not have nulls')
    return conformed


ID = Column("id", pl.String(), "the sample, unique within a run")
DATASET = Column("dataset", pl.String(), "the set of conversations the sample belongs to")
LAYER = Column("layer", pl.Int32(), "decoder block, from 0", lower=0.0)
HEAD = Column("head", pl.Int32(), "query head within the layer, from 0", lower=0.0)
REASON = Column("reason", pl.String(), "why a number of this row is undefined", null="every number is defined")
UNDEFINED = "undefined; the reason column says why"


def number(name: str, meaning: str, lower: float | None = None, upper: float | None = None) -> Column:
    """Return a column of numbers that are null where undefined."""
    return Column(name, pl.Float64(), meaning, lower, upper, null=UNDEFINED)


def fraction(name: str, meaning: str) -> Column:
    """Return a column of numbers from 0 to 1."""
    return number(name, meaning, 0.0, 1.0)


def count(name: str, meaning: str) -> Column:
    """Return a column of whole numbers that are always known."""
    return Column(name, pl.Int64(), meaning, lower=0.0)
