"""Cells as texts, whole numbers, numbers and labels, by the same rules for every file and frame.

`7`, `7.0` and `"7"` are one id, `"NaN"` and an empty cell are both missing, `"Yes"` and `1.0` are the same label.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from foretell.errors import TableError, located
from foretell.records.missing import MISSING_WORDS, is_missing

__all__ = [
    "label_of",
    "labels_and_faults",
    "name_of",
    "parse_integer",
    "parse_label",
    "parse_number",
    "parse_text",
    "require_exact_ids",
    "with_decimal_points",
]

_LARGEST = 2**31 - 1
_EXACT: dict[pl.DataType, int] = {pl.Float16(): 2**11, pl.Float32(): 2**24}
"""Whole numbers below this are exact in a float type; 2**53 in others."""
_COMMA = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$"
_POINT = r"^[+-]?\d*\.\d+([eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"


def parse_text(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Return an expression for a column as trimmed text; whole floats lose their `.0`, missing becomes null."""
    dtype = frame.schema[column]
    value = pl.col(column)
    if dtype.is_float() or dtype.is_decimal():
        value = value.cast(pl.Float64)
        whole = (value == value.floor()) & (value.abs() < 2**53)
        text = pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))
        return pl.when(value.is_not_nan()).then(text).alias(column)
    text = value.cast(pl.String, strict=False).str.strip_chars()
    return text if dtype.is_integer() else pl.when(~text.is_in(sorted(MISSING_WORDS))).then(text).alias(column)


def require_exact_ids(frame: pl.DataFrame, column: str, *, name: str) -> None:
    """Refuse ids that a float type has rounded, because two of them may have become one.

    Raises:
        TableError: A whole number is beyond what its type holds exactly, as a number or written as `1.2e+18`.
    """
    series = frame.get_column(column)
    if series.dtype.is_float():
        lost = series.cast(pl.Float64).abs() >= _EXACT.get(series.dtype, 2**53)
    elif series.dtype == pl.String:
        if not series.str.contains("e+", literal=True).any():
            return
        number = series.str.strip_chars().str.extract(r"^(\d\.?\d*e\+\d+)$").cast(pl.Float64, strict=False)
        lost = number >= 2**53
    else:
        return
    if lost.any():
        row = int(lost.arg_max() or 0)
        message = f"{series[row]} was a long whole number and has lost digits as a float; write ids as text"
        raise TableError(located(name, message, row=row + 1, column=column))


def parse_integer(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Return an expression for a column as Int32 where it is an integer from 0, else null.

    `3`, `3.0`, `"3"`, `" 3 "` and `"3.0"` are integers; `"h3"`, `3.5`, `-1`, `true` and `2**31` are not.
    """
    dtype = frame.schema[column]
    value = pl.col(column)
    if dtype == pl.Boolean or dtype.is_nested() or dtype.is_temporal() or dtype == pl.Binary:
        return pl.lit(None, dtype=pl.Int32).alias(column)
    if not dtype.is_numeric():
        value = value.cast(pl.String).str.strip_chars().str.extract(r"^\+?(\d+)(?:\.0*)?$").cast(pl.Int64, strict=False)
    elif not dtype.is_integer():
        value = value.cast(pl.Float64)
        value = pl.when(value.is_finite() & (value == value.floor())).then(value)
    return pl.when(value.is_between(0, _LARGEST)).then(value.cast(pl.Int32, strict=False)).alias(column)


def parse_number(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Return an expression for a column as Float64; NaN and anything that is not a number become null."""
    dtype = frame.schema[column]
    value = pl.col(column)
    if dtype.is_nested() or dtype.is_temporal() or dtype == pl.Binary:
        return pl.lit(None, dtype=pl.Float64).alias(column)
    if not dtype.is_numeric() and dtype != pl.Boolean:
        value = value.cast(pl.String).str.strip_chars()
    return value.cast(pl.Float64, strict=False).fill_nan(None).alias(column)


def with_decimal_points(
    frame: pl.DataFrame, columns: Iterable[str], *, name: str, separator: str | None = None
) -> pl.DataFrame:
    """Return a frame in which `0,25` in columns of numbers is `0.25`; a column that also holds `0.25` is left alone.

    Args:
        frame: Any frame.
        columns: Columns of numbers; those that are not there or not text are left alone.
        name: The source, for messages.
        separator: What separates the cells; numbers such as `1,234` are decimals where it is not a comma.

    Raises:
        TableError: Every number with a comma could also be one with thousands, such as `1,234`.
    """
    for column in dict.fromkeys(columns):
        if frame.schema.get(column) != pl.String:
            continue
        text = frame.get_column(column).str.strip_chars()
        comma = text.str.contains(_COMMA) | text.str.contains(_THOUSANDS)
        if not comma.any() or text.str.contains(_POINT).any():
            continue
        if separator in {None, ","} and text.filter(comma).str.contains(_THOUSANDS).all():
            row = int(comma.arg_max() or 0)
            message = f'"{text[row]}" may be a decimal number or thousands; write a decimal point and no thousands mark'
            raise TableError(located(name, message, row=row + 1, column=column))
        frame = frame.with_columns(text.str.replace(",", ".", literal=True).alias(column))
    return frame


def label_of(value: object) -> int | None:
    """Return a label from 0 / 1, true / false or yes / no in any case; None where it is missing.

    Raises:
        ValueError: It is anything else.

    Example:
        >>> label_of("Yes"), label_of(0.0), label_of("<NA>")
        (1, 0, None)
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in {"true", "yes", "false", "no"}:
            return int(word in {"true", "yes"})
        number = _number(word.replace(",", "."))
    else:
        number = float(value) if isinstance(value, int | float | Decimal | np.number) else None
    if number is not None and number in {0.0, 1.0}:
        return int(number)
    raise ValueError(f"{str(value)[:40]!r} is no label: use 0 or 1, true or false, yes or no, or leave it empty")


def parse_label(frame: pl.DataFrame, column: str, *, name: str) -> pl.Series:
    """Return a column of labels as Int8: 1 the behaviour happened, 0 it did not, null unknown, as `label_of` reads it.

    Raises:
        TableError: A cell holds anything else; the message names file, row and column.
    """
    series = frame.get_column(column)
    found, wrong = labels_and_faults(series)
    if wrong:
        row = min(wrong)
        raise TableError(located(name, wrong[row], row=row + 1, column=column))
    return found


def name_of(value: object) -> object:
    """Return a value that names something as trimmed text, None where it is missing; what is no name as it is.

    Example:
        >>> [name_of(value) for value in (7, 7.0, " a ", "NaN", 7.5)]
        ['7', '7', 'a', None, 7.5]
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def labels_and_faults(series: pl.Series) -> tuple[pl.Series, dict[int, str]]:
    """Return a column of labels as Int8, and what is wrong with cells by their index; such cells are null."""
    if series.dtype.is_nested() or series.dtype == pl.Object or series.dtype == pl.Binary:
        values = series.to_list()
        distinct: dict[Any, int | None] = {}
        faults = {index: _problem(value) for index, value in enumerate(values) if value is not None}
        return pl.Series(series.name, [None] * len(values), dtype=pl.Int8), faults
    distinct, unknown = {}, []
    for value in series.unique().to_list():
        try:
            distinct[value] = label_of(value)
        except ValueError:
            unknown.append(value)
            distinct[value] = None
    labels = series.replace_strict(list(distinct), list(distinct.values()), default=None, return_dtype=pl.Int8)
    rows = series.is_in(unknown).fill_null(value=False).arg_true().to_list() if unknown else []
    return labels, {index: _problem(series[index]) for index in rows}


def _problem(value: object) -> str:
    try:
        label_of(value)
    except ValueError as error:
        return str(error)
    return f"{str(value)[:40]!r} is no label"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
