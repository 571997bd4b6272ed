"""A table of a run as one dense array with named axes.

found = dense_array(run.attention, ("layer", "head"), "PAM_norm")
found.values[found.ids.index("a")]      # (layer, head)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

__all__ = ["DenseArray", "dense_array"]


@dataclass(frozen=True, eq=False)
class DenseArray:
    """Values by sample and by the places of further axes; `numpy.asarray` gives the values."""

    values: Float[np.ndarray, "..."]
    """float64; nan where the table has no number."""
    ids: list[str]
    """Sample of each index of axis 0, sorted."""
    places: dict[str, Int[np.ndarray, " _place"]]
    """By the name of each further axis, in order: what each index stands for, ascending."""
    column: str
    """Where the values come from."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""
        return ("sample", *self.places)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        """Return the values for numpy."""
        return np.array(self.values, dtype=dtype, copy=copy)  # type: ignore[call-overload,no-any-return]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{size} {name}s" for name, size in zip(self.axes, self.values.shape, strict=True))
        return f"DenseArray({self.column!r}: {sizes})"


def dense_array(table: pl.DataFrame, axes: Sequence[str], column: str) -> DenseArray:
    """Return one column of a table with one row per id and place.

    Args:
        table: With a column id, the axes, and the column.
        axes: Columns of whole numbers, in the order of the array's axes after the sample.
        column: Numbers.

    Example:
        >>> rows = pl.DataFrame({"id": ["b", "a"], "layer": [0, 3], "PAM": [0.1, 0.2]})
        >>> found = dense_array(rows, ["layer"], "PAM")
        >>> found.ids, found.places["layer"].tolist(), found.values.tolist()
        (['a', 'b'], [0, 3], [[nan, 0.2], [0.1, nan]])
    """
    ids = table.get_column("id").unique().sort()
    places = {name: table.get_column(name).unique().sort() for name in axes}
    at = [table.get_column("id").replace_strict(ids, range(len(ids)), return_dtype=pl.Int64).to_numpy()]
    if not len(ids):
        at = [at[0].astype(np.int64)]
    at += [np.searchsorted(known.to_numpy(), table.get_column(name).to_numpy()) for name, known in places.items()]
    values = np.full((len(ids), *map(len, places.values())), np.nan)
    values[tuple(at)] = table.get_column(column).cast(pl.Float64).fill_null(np.nan).to_numpy()
    named = {name: known.to_numpy().astype(np.int64) for name, known in places.items()}
    return DenseArray(values, ids.to_list(), named, column)
