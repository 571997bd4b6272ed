"""Data of the page, compressed: scripts of the page unpack it in the browser."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import polars as pl

__all__ = ["packed", "packed_text", "plain_columns"]

_LEVEL = 9


def packed(value: object, *, level: int = _LEVEL) -> str:
    """Return `value` as JSON, compressed by gzip, in base64; the bytes depend on nothing but the value.

    Args:
        value: Plain JSON values.
        level: Of the compression; the highest takes twice the time for a hundredth of the size.

    Raises:
        ValueError: A number is not finite; use None instead.

    Example:
        >>> json.loads(gzip.decompress(base64.b64decode(packed({"a": [1, None]}))))
        {'a': [1, None]}
    """
    return packed_text(json.dumps(value, allow_nan=False, separators=(",", ":")), level=level)


def packed_text(text: str, *, level: int = _LEVEL) -> str:
    """Return a text, compressed by gzip, in base64."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "surrogatepass"), level, mtime=0)).decode()


def plain_columns(frame: pl.DataFrame) -> list[list[Any]]:
    """Return the values of each column as JSON can hold them: numbers to their last digit, None for null and nan."""
    columns = []
    for column in frame.get_columns():
        if column.dtype.is_float():
            finite = pl.when(pl.first().is_finite()).then(pl.first())
            columns.append(column.cast(pl.Float64).to_frame().select(finite).to_series().to_list())
        elif column.dtype.is_integer() or column.dtype in {pl.Boolean, pl.String}:
            columns.append(column.to_list())
        else:
            columns.append([None if value is None else str(value) for value in column.to_list()])
    return columns
