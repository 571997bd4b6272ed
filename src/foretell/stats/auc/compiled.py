"""The inner loops of the column statistics, compiled with numba; `rank_sums` and `intervals` have numpy versions.

Every loop takes columns as rows of a C-ordered array, so that one column is contiguous in memory. The loops release
the GIL; callers distribute blocks of columns over threads.

    sweep_keys(keys, n, out)
"""

from __future__ import annotations

import inspect
from typing import Any, no_type_check

import numba
import numpy as np

from foretell.storage.cache_folder import chosen_cache_folder

__all__ = [
    "column_moments",
    "group_placements",
    "group_ranks",
    "pack_float32",
    "score_ends",
    "share_deviations",
    "sweep_keys",
]

_MISSING32 = np.uint32(0xFFFFFFFF)


@no_type_check
def _pack_float32(values, label, keys, n, n_positive):
    """Fill the keys of non-negative float32 columns; return whether there was a negative value."""
    negative = False
    for column in range(values.shape[0]):
        row = values[column]
        bits = row.view(np.uint32)
        out = keys[column]
        count = 0
        positive = 0
        signs = np.uint32(0)
        for sample in range(row.size):
            missing = row[sample] != row[sample]
            bit = np.uint32(0) if row[sample] == np.float32(0) else bits[sample]  # -0.0 and 0.0 are one value
            signs |= np.uint32(0) if missing else bit
            out[sample] = _MISSING32 if missing else (bit << np.uint32(1)) | label[sample]
            count += 0 if missing else 1
            positive += np.uint32(0) if missing else label[sample]
        n[column] = count
        n_positive[column] = positive
        negative |= (signs >> np.uint32(31)) != 0
    return negative


@no_type_check
def _sweep_keys(keys, n, n_positive, out):
    """Fill (2U, sum t^3 - t, sums of squared placements of both classes) of each column from its sorted keys."""
    for column in range(keys.shape[0]):
        row = keys[column]
        size = n[column]
        positives = n_positive[column]
        below = 0
        below_positive = 0
        wins = 0.0
        ties = 0.0
        square_positive = 0.0
        square_negative = 0.0
        while below < size:
            value = row[below] >> 1
            stop = below
            p = 0
            while stop < size and row[stop] >> 1 == value:
                p += row[stop] & 1
                stop += 1
            t = stop - below
            q = t - p
            negatives_below = float(2 * (below - below_positive) + q)
            positives_above = float(2 * (positives - below_positive) - p)
            wins += p * negatives_below
            square_positive += p * negatives_below * negatives_below
            square_negative += q * positives_above * positives_above
            if t > 1:
                ties += float(t) * (float(t) * float(t) - 1.0)
            below = stop
            below_positive += p
        out[column, 0] = wins
        out[column, 1] = ties
        out[column, 2] = square_positive
        out[column, 3] = square_negative


@no_type_check
def _column_moments(values, label, out):
    """Fill (constant, sum of squares, sum over positives) of each column, centred and scaled to at most 1."""
    for column in range(values.shape[0]):
        row = values[column]
        total = 0.0
        count = 0
        low = np.inf
        high = -np.inf
        for sample in range(row.size):
            value = np.float64(row[sample])
            valid = value == value
            total += value if valid else 0.0
            count += 1 if valid else 0
            low = min(low, value if valid else np.inf)
            high = max(high, value if valid else -np.inf)
        mean = total / count if count else 0.0
        scale = max(high - mean, mean - low)
        if not (low < high) or not np.isfinite(scale):
            out[column, 0] = 1.0 if low == high else (0.0 if count == 0 else np.nan)
            out[column, 1] = np.nan
            out[column, 2] = np.nan
            out[column, 3] = np.nan
            continue
        squares = 0.0
        over_positive = 0.0
        rest = 0.0
        for sample in range(row.size):
            value = np.float64(row[sample])
            x = (value - mean) / scale if value == value else 0.0
            squares += x * x
            over_positive += x if label[sample] else 0.0
            rest += x
        out[column, 0] = 0.0
        out[column, 1] = squares
        out[column, 2] = over_positive
        out[column, 3] = rest


@no_type_check
def _group_ranks(values, order, n, ranks):
    """Fill midranks (from 1) of each column given the order that sorts it."""
    for column in range(values.shape[0]):
        row = values[column]
        index = order[column]
        start = 0
        while start < n[column]:
            value = row[index[start]]
            stop = start + 1
            while stop < n[column] and row[index[stop]] == value:
                stop += 1
            rank = 0.5 * (start + stop + 1)
            for place in range(start, stop):
                ranks[column, index[place]] = rank
            start = stop


@no_type_check
def _group_placements(values, order, n, label, out):
    """Fill twice the number of negatives below each positive and of positives above each negative, ties one half."""
    for column in range(values.shape[0]):
        row = values[column]
        index = order[column]
        positives = 0
        for place in range(n[column]):
            positives += label[index[place]]
        start = 0
        below_positive = 0
        while start < n[column]:
            value = row[index[start]]
            stop = start
            p = 0
            while stop < n[column] and row[index[stop]] == value:
                p += label[index[stop]]
                stop += 1
            negatives_below = 2.0 * (start - below_positive) + (stop - start - p)
            positives_above = 2.0 * (positives - below_positive) - p
            for place in range(start, stop):
                out[column, index[place]] = negatives_below if label[index[place]] else positives_above
            start = stop
            below_positive += p


@no_type_check
def _score_ends(area, scale, n_positive, n_negative, halvings, ends):
    """Fill the ends of the score interval of each AUC; see `intervals.interval_of_auc`."""
    for index in range(area.size):
        mean = (n_positive[index] + n_negative[index]) / 2 - 1
        pairs = n_positive[index] * n_negative[index]
        for side in range(2):
            near = area[index]
            far = float(side)
            for _ in range(halvings):
                middle = (near + far) / 2
                shape = 1 + mean * ((1 - middle) / (2 - middle) + middle / (1 + middle))
                if (area[index] - middle) ** 2 > scale[index] * middle * (1 - middle) * shape / pairs:
                    far = middle
                else:
                    near = middle
            ends[side, index] = far


@no_type_check
def _share_deviations(shares, out):
    """Fill (largest deviation of a row's sum from 1, number of values that are negative or not finite)."""
    width = 4096
    totals = np.empty(width)
    worst = 0.0
    wrong = 0
    for start in range(0, shares.shape[1], width):
        size = min(width, shares.shape[1] - start)
        totals[:] = -1.0
        for metric in range(shares.shape[0]):
            row = shares[metric, start : start + size]
            for place in range(size):
                value = np.float64(row[place])
                totals[place] += value
                wrong += 0 if 0.0 <= value < np.inf else 1
        for place in range(size):
            worst = max(worst, abs(totals[place]))
    out[0] = worst
    out[1] = wrong


def _compiled(function: Any, **options: Any) -> Any:
    """Compile `function` when it is first called, once for all processes where there is a folder to keep it in.

    That is the folder which numba was given, the one which foretell was given, the package's own, or the user's, the
    first that can be written; in a container with none of them, each process compiles for itself.
    """
    function = inspect.unwrap(function)  # tests check types by a wrapper, which cannot be compiled
    settings = {"nogil": True, "error_model": "numpy", **options}
    numba_settings: Any = numba.config
    given = numba_settings.CACHE_DIR
    chosen = chosen_cache_folder()
    try:
        numba_settings.CACHE_DIR = given or ("" if chosen is None else str(chosen / "compiled"))
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
        return numba.njit(**settings)(function)
    finally:
        numba_settings.CACHE_DIR = given


pack_float32: Any = _compiled(_pack_float32)
sweep_keys: Any = _compiled(_sweep_keys)
column_moments: Any = _compiled(_column_moments, fastmath={"reassoc", "nsz"})
group_ranks: Any = _compiled(_group_ranks)
score_ends: Any = _compiled(_score_ends)
share_deviations: Any = _compiled(_share_deviations)
group_placements: Any = _compiled(_group_placements)
