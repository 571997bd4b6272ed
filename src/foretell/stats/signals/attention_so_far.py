"""Attention of every head at a moment: log-ratios of masses and shares, and what else was read of the heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.schema.tables import MASSES, SEGMENTS, SHARES
from foretell.stats.detectors.log_ratios import centred_log_ratio
from foretell.stats.signals.family import Family, undefined
from foretell.stats.signals.moment import Moment

__all__ = ["ATTENTION", "LOOKBACK", "LOOKBACK_RATIO", "attention_family", "lookback_family"]

ATTENTION = "attention"
LOOKBACK = "lookback"
LOOKBACK_RATIO = "lookback ratio"

_CONTRIBUTIONS = tuple(f"contribution_{segment}" for segment in SEGMENTS)
_LIFTS = tuple(f"lift_{segment}" for segment in SEGMENTS)
_NO_ROW = "before the first generated token no row of attention is of the answer"


def attention_family(moment: Moment, whole: pl.DataFrame, first: pl.DataFrame) -> Family:
    """Return the attention of all heads.

    Per layer and head: centred log-ratios of the five masses and of the three shares, and the lookback ratio where it
    was read; of whole answers also lifts, contributions (as centred log-ratios) and entropies, where they were read.

    Args:
        moment: Samples and number of tokens.
        whole: The run's table attention.
        first: The run's table checkpoints.
    """
    found = _rows(moment, whole, first)
    if isinstance(found, str):
        return undefined(ATTENTION, found)
    parts = [
        _log_ratios(moment, found, MASSES),
        _log_ratios(moment, found, SHARES),
        _plain(moment, found, (LOOKBACK,)),
    ]
    if moment.is_end:
        parts += [_plain(moment, found, _LIFTS), _log_ratios(moment, found, _CONTRIBUTIONS)]
        parts.append(_plain(moment, found, ("entropy",)))
    return Family(ATTENTION, np.concatenate(parts, axis=1))


def lookback_family(moment: Moment, whole: pl.DataFrame, first: pl.DataFrame) -> Family:
    """Return the lookback ratio of all heads: attention per token of the context over that and that of the answer.

    Source:
        Chuang et al. (2024), "Lookback Lens", section 2, averaged over the answer so far.
    """
    found = _rows(moment, whole, first)
    if isinstance(found, str):
        return undefined(LOOKBACK_RATIO, found)
    columns = _plain(moment, found, (LOOKBACK,))
    return Family(LOOKBACK_RATIO, columns) if columns.shape[1] else undefined(LOOKBACK_RATIO, "it was not read")


def _rows(moment: Moment, whole: pl.DataFrame, first: pl.DataFrame) -> pl.DataFrame | str:
    """Return the rows of the samples at the moment, or why there are none."""
    if moment.after == 0:
        return _NO_ROW
    samples = moment.frame.lazy()
    ended = whole.lazy().join(samples.filter("ended"), on="id", how="inner")
    if moment.is_end:
        found = ended.collect()
    else:
        so_far = samples.filter(~pl.col("ended")).with_columns(pl.col("so_far").cast(first.schema["n_generated"]))
        going_on = first.lazy().join(so_far, left_on=["id", "n_generated"], right_on=["id", "so_far"], how="inner")
        found = pl.concat([ended.collect(), going_on.collect()], how="diagonal")
    has = np.zeros(len(moment.ids), dtype=bool)
    has[found.get_column("sample").to_numpy()] = True
    if moment.unread(has):
        return f"masses after {moment.after} tokens were not read (detail=True reads them)" * (not moment.is_end) or (
            "no sample has attention rows"
        )
    return found


def _array(moment: Moment, found: pl.DataFrame, names: Sequence[str]) -> Float[np.ndarray, "sample head metric"]:
    """Return columns of the table as an array; nan where a sample lacks a head, or a number."""
    heads = found.select(head=pl.struct("layer", "head").rank("dense").cast(pl.Int64) - 1).get_column("head").to_numpy()
    values = np.full((len(moment.ids), int(heads.max(initial=-1)) + 1, len(names)), np.nan)
    numbers = found.select(pl.col(names).cast(pl.Float64).fill_null(np.nan)).to_numpy()
    values[found.get_column("sample").to_numpy(), heads] = numbers
    return values


def _plain(moment: Moment, found: pl.DataFrame, names: Sequence[str]) -> Float[np.ndarray, "sample column"]:
    """Return the columns that the table has numbers in."""
    known = [name for name in names if name in found.columns and found.get_column(name).is_not_null().any()]
    return _array(moment, found, known).reshape(len(moment.ids), -1) if known else np.empty((len(moment.ids), 0))


def _log_ratios(moment: Moment, found: pl.DataFrame, names: Sequence[str]) -> Float[np.ndarray, "sample column"]:
    """Return the centred log-ratios of parts of a whole, where the table has them all."""
    if not all(name in found.columns and found.get_column(name).is_not_null().any() for name in names):
        return np.empty((len(moment.ids), 0))
    return centred_log_ratio(_array(moment, found, names)).reshape(len(moment.ids), -1)
