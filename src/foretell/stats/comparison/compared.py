"""Compare two studies or runs: label rates, detectors, heads and attention, with one error rate over all of it.

found = foretell.compare(before, after)
found.table.filter(pl.col("p_adjusted") < 0.05)
found.plot()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from foretell.errors import InputError
from foretell.schema.tables import COMPARISON, COMPARISON_HEADS, conform, empty
from foretell.stats.comparison.clustered_contrasts import (
    Contrast,
    auc_part,
    contrast,
    mean_part,
    paired_means,
    rate_contrast,
)
from foretell.stats.comparison.comparison import Comparison
from foretell.stats.comparison.held_out_contrast import held_out_contrast
from foretell.stats.comparison.sides import Pair, Side, pairs_of, rows_of, sides_of
from foretell.stats.verdicts.error_rate import adjusted

__all__ = ["compare"]

Row = dict[str, Any]


def compare(
    first: Any,
    second: Any,
    *,
    names: Sequence[str] | None = None,
    level: float = 0.95,
    n_permutations: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models, two prompts, or before and after fine-tuning, on the same samples where there are any.

    Samples are joined by dataset and id, and groups stay together. Four things are compared in every data set that is
    on both sides: how often the behaviour happens, how well each detector tells it, how well each head tells it, and
    what each head attends to. A difference is that of `first` minus `second`. Where no id is on both sides, all samples
    are compared as two independent sets, and `notes` says so. Heads are compared where both sides have the same layers
    and heads, for their largest difference over all heads, by a max-statistic.

    Args:
        first: A study, a run, or anything that `foretell.study` reads. Detectors are those that a study has fitted;
            what is no study is made one. A run without labels is compared by its attention alone.
        second: The same.
        names: What to call the two sides; None: where they come from.
        level: Coverage of the intervals.
        n_permutations: Random sign flips of the max-statistics.
        seed: Of the sign flips.

    Returns:
        Tables, notes, and figures. `p_adjusted` is over all rows of the table: of comparisons without any difference,
        at most 5 in 100 have one below 0.05.

    Raises:
        InputError: No data set is on both sides, or nothing of it can be compared.
        TableError: A source cannot be read.

    Source:
        Detectors and heads: DeLong et al. (1988) for correlated ROC curves, whose labels may differ, with sums over
        groups (Obuchowski 1997); label rates: Agresti and Min (2005), Agresti and Caffo (2000); one error rate: Hommel
        (1988).

    Example:
        >>> rows = {"id": ["a", "b", "c", "d"], "dataset": "x", "layer": 0, "head": 0, "score": [0.1, 0.9, 0.3, 0.5]}
        >>> tables = [pl.DataFrame({**rows, "behavior_label": label}) for label in ([0, 1, 0, 1], [0, 1, 1, 1])]
        >>> import foretell
        >>> sides = [foretell.study(one, metrics=["score"], n_trees=5, compute=False) for one in tables]
        >>> compare(*sides, n_permutations=50).table.filter(kind="label rate")["difference"].item()
        -0.25
    """
    if not 0 < level < 1 or n_permutations < 0:
        raise InputError(f"level {level} must be between 0 and 1, and {n_permutations} permutations 0 or more")
    (left, left_name), (right, right_name) = sides_of(first), sides_of(second)
    given = tuple(names) if names is not None else (left_name, right_name)
    if len(given) != 2:
        raise InputError(f"names must be two, not {len(given)}")
    called = given if given[0] != given[1] else ("first", "second")
    rows: list[Row] = []
    heads: list[pl.DataFrame] = []
    notes: list[str] = []
    for pair in pairs_of(left, right):
        notes += pair.notes
        about = _about(pair)
        rows += [{**about, **one} for one in (*_rates(pair, level), *_detectors(pair, level))]
        for kind, metrics, found in _of_heads(pair, notes):
            frame = _head_frame(pair, kind, metrics, found, level=level, n_permutations=n_permutations, seed=seed)
            heads.append(frame)
            rows.append({**about, **_strongest(frame, kind)})
    if not any(row["difference"] is not None for row in rows):
        why = "; ".join(notes) or "both sides have neither labels nor common heads"
        raise InputError(f"nothing is comparable: {why}")
    table = conform(pl.DataFrame(rows, infer_schema_length=None), COMPARISON)
    p = table.get_column("p").fill_null(np.nan).to_numpy()
    table = table.with_columns(p_adjusted=pl.Series(adjusted(p)).fill_nan(None))
    return Comparison(
        names=(str(called[0]), str(called[1])),
        table=table,
        heads=pl.concat(heads) if heads else empty(COMPARISON_HEADS),
        notes=tuple(notes),
        level=level,
        n_permutations=n_permutations,
        seed=seed,
    )


def _about(pair: Pair) -> Row:
    behaviours = {pair.first.behaviour, pair.second.behaviour}
    return {
        "dataset": pair.dataset,
        "behaviour": pair.first.behaviour if len(behaviours) == 1 else None,
        "paired": pair.paired,
        "n_first": len(pair.first.ids),
        "n_second": len(pair.second.ids),
        "n_groups": pair.n_groups,
    }


def _row(kind: str, what: str, found: Contrast, level: float, reason: str | None = None) -> Row:
    """Return the only column of a contrast as a row."""
    lower, upper = found.interval(level)
    numbers = {
        "first": found.first,
        "second": found.second,
        "difference": found.difference,
        "lower": np.maximum(lower, -1.0),
        "upper": np.minimum(upper, 1.0),
        "p": found.p,
    }
    row: Row = {name: float(value[0]) if np.isfinite(value[0]) else None for name, value in numbers.items()}
    if row["difference"] is None or row["lower"] is None:
        unknown = _SAME if row["difference"] == 0 else _FEW
        reason = reason or (_UNDEFINED if row["difference"] is None else unknown)
    return {"kind": kind, "what": what, **row, "reason": reason}


_UNDEFINED = "undefined on a side"
_SAME = "no sample distinguishes the sides: no interval"
_FEW = "too few groups, or no spread between them: no interval"


def _rates(pair: Pair, level: float) -> Iterable[Row]:
    known = [np.isfinite(side.label) for side in (pair.first, pair.second)]
    if not all(one.any() for one in known):
        return []
    found = rate_contrast(pair.first.label, pair.second.label, pair.codes, pair.n_groups, paired=pair.paired)
    return [_row("label rate", "the behaviour happened", found, level)]


def _detectors(pair: Pair, level: float) -> Iterable[Row]:
    rows = []
    for name, scores in pair.first.scores.items():
        other = pair.second.scores.get(name)
        if other is not None:
            found, reason = held_out_contrast(pair, scores, other)
            rows.append(_row("detector AUC", name, found, level, reason))
    return rows


def _of_heads(pair: Pair, notes: list[str]) -> Iterable[tuple[str, tuple[str, ...], Contrast]]:
    """Yield the kinds of comparison of heads, with their metrics."""
    first, second = pair.first, pair.second
    metrics = tuple(name for name in first.metrics if name in second.metrics)
    if first.places != second.places or not metrics:
        what = (
            "no metric is on both sides"
            if not metrics
            else f"{_shape(first)} on one side and {_shape(second)} on the other"
        )
        notes.append(f"{pair.dataset}: heads are not compared ({what})")
        return
    columns = [rows_of(side.values, [side.metrics.index(name) for name in metrics]) for side in (first, second)]
    if pair.paired:
        yield "attention", metrics, paired_means(columns[0], columns[1], pair.codes[0], pair.n_groups)
    else:
        parts = [mean_part(one, codes, pair.n_groups) for one, codes in zip(columns, pair.codes, strict=True)]
        yield "attention", metrics, contrast(*parts)
    sides = zip(columns, (first, second), pair.codes, strict=True)
    if all(len(np.unique(side.label)) == 2 and np.isfinite(side.label).all() for side in (first, second)):
        parts = [auc_part(one, side.label == 1, codes, pair.n_groups) for one, side, codes in sides]
        yield "head AUC", metrics, contrast(*parts)
    else:
        notes.append(f"{pair.dataset}: no AUC of heads is compared, because a side does not have both labels")


def _shape(side: Side) -> str:
    return f"{len(side.places[0])} layers of {len(side.places[1])} heads"


def _head_frame(
    pair: Pair, kind: str, metrics: tuple[str, ...], found: Contrast, *, level: float, n_permutations: int, seed: int
) -> pl.DataFrame:
    layers, heads = pair.first.places
    index = np.indices((len(layers), len(heads), len(metrics))).reshape(3, -1)
    lower, upper = found.interval(level)
    least = 0.0 if kind == "head AUC" else -np.inf
    p_max = found.p_max(n_draws=n_permutations, seed=seed)
    frame = pl.DataFrame(
        {
            "dataset": pair.dataset,
            "kind": kind,
            "layer": np.asarray(layers)[index[0]],
            "head": np.asarray(heads)[index[1]],
            "metric": np.asarray(metrics)[index[2]],
            "first": found.first,
            "second": found.second,
            "difference": found.difference,
            "lower": np.maximum(lower, -1.0 if least == 0.0 else -np.inf),
            "upper": np.minimum(upper, 1.0 if least == 0.0 else np.inf),
            "p": found.p,
            "p_max": p_max,
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    without = pl.col("lower").is_null()
    why = (
        pl.when(pl.col("difference").is_null())
        .then(pl.lit(_UNDEFINED))
        .when(without & (pl.col("difference") == 0))
        .then(pl.lit(_SAME))
        .when(without)
        .then(pl.lit(_FEW))
        .when(pl.col("p_max").is_null())
        .then(pl.lit("no draws were requested"))
    )
    return conform(frame.with_columns(reason=why), COMPARISON_HEADS)


def _strongest(frame: pl.DataFrame, kind: str) -> Row:
    """Return the head with the smallest corrected p-value; of equals, the one with the largest difference."""
    size = pl.col("difference").abs()
    ranked = frame.with_columns(_size=size).sort(
        "p_max", "_size", "layer", "head", "metric", descending=[False, True, False, False, False], nulls_last=True
    )
    row = ranked.row(0, named=True)
    what = f"layer {row['layer']}, head {row['head']}, {row['metric']} (largest of {frame.height})"
    numbers = {name: row[name] for name in ("first", "second", "difference", "lower", "upper", "reason")}
    p = row["p_max"] if row["p_max"] is not None else (1.0 if row["difference"] == 0 else None)
    return {"kind": kind, "what": what, **numbers, "p": p}
