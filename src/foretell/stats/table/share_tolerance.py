"""How far from 1 a sum of shares may be because of rounding: it follows the digits or the float type they came in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from foretell.records.cells import parse_number

__all__ = ["EXACT", "Rounding", "rounding_note", "rounding_tolerance"]

EXACT = 1e-6
"""Tolerance of shares that were not rounded to fewer digits than their type holds."""
_FEWEST_DECIMALS = 2
"""Shares with fewer decimals are whole numbers or tenths, of which no rounding is assumed."""
_PROBE = 1024
_MANY = 9
"""Shares with so many digits were not rounded."""
_NUMBER = r"^[+-]?(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$"


@dataclass(frozen=True)
class Rounding:
    """The tolerance of a sum of shares, and what it follows from."""

    tolerance: float
    origin: str
    """Such as "4 decimals" or "float16"; empty where the shares are exact."""


def rounding_tolerance(frame: pl.DataFrame, metrics: Sequence[str]) -> Rounding:
    """Return the largest deviation of a row's sum from 1 that rounding of its shares explains.

    A share written with d decimals is off by at most half of its last digit, one written with s significant digits by
    half of the last of those, one that fits a float of m bits by half of its last bit (twice, because the sum it was
    divided by was rounded too). The finest value of each column decides, so that shares written without their last
    zeros count as rounded like the others; the tolerance is the sum over columns, and at least `EXACT`.

    Args:
        frame: The metrics as numbers or text.
        metrics: Columns of shares that should sum to 1.
    """
    found = [_column_rounding(frame, metric) for metric in metrics]
    total = sum(rounding.tolerance for rounding in found)
    if total <= EXACT:
        return Rounding(EXACT, "")
    widest = max(found, key=lambda rounding: rounding.tolerance)
    return Rounding(total + 1e-9, widest.origin)


def rounding_note(rounding: Rounding, max_deviation: float | None, n_off: int) -> tuple[str, ...]:
    """Return a note for the ledger where rows were kept, or dropped, because of how shares were rounded.

    Args:
        rounding: The tolerance and its origin.
        max_deviation: Largest deviation of a kept row.
        n_off: Rows dropped because their sum is off by more.
    """
    if not rounding.origin or not (n_off or (max_deviation or 0.0) > EXACT):
        return ()
    return (
        f"the shares came with {rounding.origin}: rows whose sum is within {rounding.tolerance:.2g} of 1 were kept; "
        "the setting sum_tolerance changes this",
    )


def _column_rounding(frame: pl.DataFrame, metric: str) -> Rounding:
    dtype = frame.schema[metric]
    if dtype.is_integer() or dtype.is_nested() or dtype == pl.Boolean or dtype.is_temporal():
        return Rounding(0.0, "")
    column = frame.get_column(metric).drop_nulls()
    # one value with many digits shows that nothing was rounded, which spares looking at all of them
    if _written(column.head(_PROBE)).is_exact:
        return Rounding(0.0, "")
    return _written(column.unique()).rounding()


@dataclass(frozen=True)
class _Written:
    """How shares are written: digits of their texts, and the float type that holds them."""

    decimals: int
    digits: int
    largest: float
    """Largest share below 1."""
    type_rounding: Rounding

    @property
    def is_exact(self) -> bool:
        return self.decimals >= _MANY and self.digits >= _MANY and not self.type_rounding.origin

    def rounding(self) -> Rounding:
        """Return the coarser of rounding to digits and rounding to a float type."""
        return max(self._decimal(), self.type_rounding, key=lambda rounding: rounding.tolerance)

    def _decimal(self) -> Rounding:
        if self.decimals < _FEWEST_DECIMALS or self.digits < 1:
            return Rounding(0.0, "")
        exponent = math.floor(math.log10(self.largest)) if self.largest else -1
        by_decimals, by_digits = 0.5 * 10.0**-self.decimals, 0.5 * 10.0 ** (exponent + 1 - self.digits)
        if by_digits > by_decimals:
            return Rounding(min(by_digits, 0.5 * 10.0**-_FEWEST_DECIMALS), f"{self.digits} significant digits")
        return Rounding(by_decimals, f"{self.decimals} decimals")


def _written(column: pl.Series) -> _Written:
    frame = column.alias("share").to_frame()
    numbers = frame.select(parse_number(frame, "share")).to_series()
    kept = numbers.is_finite().fill_null(value=False)
    values = numbers.filter(kept).to_numpy()
    values = values[(values >= 0) & (values <= 1)]
    text = frame.get_column("share").cast(pl.String).str.strip_chars().filter(kept)
    parts = text.str.extract_groups(_NUMBER).struct.unnest()
    whole, fraction = parts.to_series(0).fill_null(""), parts.to_series(1).fill_null("")
    exponent = parts.to_series(2).cast(pl.Int64, strict=False).fill_null(0)
    decimals = fraction.str.len_bytes().cast(pl.Int64) - exponent
    digits = (whole + fraction).str.strip_chars_start("0").str.len_bytes()
    return _Written(
        int(decimals.max() or 0),  # type: ignore[arg-type]
        int(digits.max() or 0),  # type: ignore[arg-type]
        float(values[values < 1].max(initial=0.0)),
        _type_rounding(values),
    )


def _type_rounding(values: np.ndarray) -> Rounding:
    """Return the rounding to float16, or to a float32 without its last 16 bits (bfloat16)."""
    if not values.size or np.all(values == np.floor(values)):
        return Rounding(0.0, "")
    single = values.astype(np.float32)
    if not np.any(single.view(np.uint32) & 0xFFFF):
        return Rounding(2.0**-8, "bfloat16")
    if np.all(single.astype(np.float16).astype(np.float32) == single):
        return Rounding(2.0**-11, "float16")
    return Rounding(0.0, "")
