"""Access to the cells of a table: rows by value, columns as numbers, reasons as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

__all__ = ["column", "listed", "matching", "of_attention", "ordered", "reasons", "strongest_first"]


def matching(frame: pl.DataFrame, **values: object) -> list[dict[str, Any]]:
    """Return the rows in which each named column has the given value."""
    for name, value in values.items():
        frame = frame.filter(pl.col(name) == value)
    return frame.to_dicts()


def of_attention(detectors: pl.DataFrame) -> pl.DataFrame:
    """Return the detectors on heads and the baselines, without other signals of a run."""
    if "signal" not in detectors.columns:
        return detectors
    return detectors.filter(pl.col("signal").is_in(["attention", "baseline"]) | pl.col("signal").is_null())


def column(frame: pl.DataFrame, name: str) -> Float[np.ndarray, " point"]:
    """Return a column as numbers, nan where it is null."""
    return frame.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)


def ordered(frame: pl.DataFrame, name: str) -> list[str]:
    """Return the distinct values of a column in order of first occurrence."""
    return [str(value) for value in frame.get_column(name).unique(maintain_order=True).to_list()]


def reasons(rows: Iterable[dict[str, Any]]) -> str:
    """Return the reasons why these rows have no values."""
    reasons = dict.fromkeys(str(row["reason"]) for row in rows if row.get("reason"))
    return "; ".join(reasons) or "no numbers in the table"


def listed(parts: Iterable[str]) -> str:
    """Return the parts as one sentence, at most 24 of them."""
    most = 24
    entries = list(parts)
    tail = f"; and {len(entries) - most} more" if len(entries) > most else ""
    return "; ".join(entries[:most]) + tail + "."


def strongest_first(association: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of an association table by the statistic that was permuted: smallest corrected p-value first.

    Of equals, the row whose AUC is furthest from one half comes first: the AUC within strata, where there are strata.
    """
    distance = (pl.coalesce("auc_within", "auc") - 0.5).abs()
    keys = {"p_max": False, "_distance": True, "q_value": False, "layer": False, "head": False, "metric": False}
    ranked = association.with_columns(_distance=distance).sort(
        list(keys), descending=list(keys.values()), nulls_last=True
    )
    return ranked.drop("_distance")
