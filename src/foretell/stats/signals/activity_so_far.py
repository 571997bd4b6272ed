"""Activity along directions at a moment: its mean, maximum and last value, by layer and concept."""

from __future__ import annotations

import numpy as np
import polars as pl

from foretell.stats.signals.family import Family, undefined
from foretell.stats.signals.moment import Moment

__all__ = ["ACTIVITY", "activity_family"]

ACTIVITY = "activity"


def activity_family(moment: Moment, activity: pl.DataFrame) -> Family:
    """Return mean, maximum and last value over the answer so far, of every layer and concept.

    Args:
        moment: Samples and number of tokens.
        activity: The run's table activity.
    """
    if moment.after == 0:
        return undefined(ACTIVITY, "activity is read at the tokens of the answer, and none is written yet")
    so_far = pl.col("answer_position") < pl.col("so_far")
    value = pl.col("activity").fill_nan(None)
    last = value.sort_by("answer_position").drop_nulls().last()
    found = (
        activity.lazy()
        .join(moment.frame.lazy(), on="id", how="inner")
        .filter(so_far)
        .group_by("sample", "layer", "concept")
        .agg(mean=value.mean(), maximum=value.max(), last=last)
        .with_columns(column=pl.struct("layer", "concept").rank("dense").cast(pl.Int64) - 1)
        .collect()
    )
    if not found.height:
        return undefined(ACTIVITY, "no sample has activity at its first tokens")
    column = found.get_column("column").to_numpy()
    values = np.full((len(moment.ids), int(column.max()) + 1, 3), np.nan)
    numbers = found.select(pl.col("mean", "maximum", "last").cast(pl.Float64).fill_null(np.nan)).to_numpy()
    values[found.get_column("sample").to_numpy(), column] = numbers
    return Family(ACTIVITY, values.reshape(len(moment.ids), -1))
