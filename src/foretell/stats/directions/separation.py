"""Separation of positive and negative statements by a direction, on topics it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.errors import TableError
from foretell.schema.tables import DIRECTIONS, conform, empty
from foretell.stats.auc.fold_auc import nadeau_bengio_factor
from foretell.stats.auc.intervals import auc_interval
from foretell.stats.auc.roc import pooled_auc
from foretell.stats.folds import group_codes

__all__ = ["pair_accuracy", "separation"]


def pair_accuracy(
    score: Float[np.ndarray, " statement"], label: Int[np.ndarray, " statement"], pair: np.ndarray
) -> tuple[float, int]:
    """Share of pairs in which the positive statement scores higher, ties one half, and the number of pairs.

    Every positive statement is paired with every negative one of the same name.

    Args:
        score: `(statement,)`, finite.
        label: `(statement,)`, 1 positive, 0 negative.
        pair: `(statement,)` names of pairs, such as the question.

    Undefined:
        nan where no pair has both labels.

    Example:
        >>> pair_accuracy(np.array([1.0, 0.0, 0.0, 2.0]), np.array([1, 0, 1, 0]), np.array(["a", "a", "b", "b"]))
        (0.5, 2)
    """
    codes = group_codes(pair)
    order = np.argsort(codes, kind="stable")
    wins, pairs = 0.0, 0
    for members in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        gap = np.subtract.outer(score[members][label[members] == 1], score[members][label[members] == 0])
        wins += float((gap > 0).sum() + 0.5 * (gap == 0).sum())
        pairs += gap.size
    return (wins / pairs if pairs else float("nan")), pairs


def separation(
    table: pl.DataFrame,
    *,
    concept: str,
    baselines: Sequence[str] = (),
    pair: str | None = None,
    n_fits: int | None = None,
    level: float = 0.95,
) -> pl.DataFrame:
    """AUC of scores along a direction per layer, next to the AUC of baselines.

    Every score must be from a direction that was fitted without the statement's topic. The true statement of a pair is
    often also the more likely or the longer one; the baselines measure this. The sign of a baseline is kept: an AUC
    below one half means that positive statements score lower.

    The directions of all topics are fitted on overlapping training sets, and the interval of a score is corrected for
    it (docs/concepts/held-out-intervals.md). Baselines are not fitted.

    Args:
        table: One row per statement and layer: `id`, `topic`, `is_positive` (boolean or 0 / 1), `layer`, `score` (null
            where undefined), the baselines' columns, constant within a statement, and the column `pair` if named.
        concept: Concept of the direction.
        baselines: Baseline columns, such as mean_logprob and n_tokens.
        pair: Column with the pair of a statement, such as the question; intervals are clustered by pair. None:
            statements are independent, and there is no accuracy of pairs.
        n_fits: Number of folds of topics, each with a direction fitted on all other topics; None: one per topic.
        level: Coverage of the intervals.

    Returns:
        The columns of `foretell.schema.tables.DIRECTIONS`.

    Raises:
        TableError: A column is missing, or an id stands for two statements of a layer.

    Undefined:
        Null with `reason` where one class is missing among the statements with a score.

    Example:
        >>> rows = {"id": ["a", "b"], "topic": ["x", "x"], "is_positive": [True, False], "layer": [0, 0]}
        >>> separation(pl.DataFrame({**rows, "score": [2.0, 1.0]}), concept="lying")["auc"].to_list()
        [1.0]
    """
    wanted = ["id", "topic", "is_positive", "layer", "score", *baselines, *([pair] if pair else [])]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise TableError(f'table of scores: column "{missing[0]}" is missing; it has: {", ".join(table.columns)}')
    ordered = table.select(wanted).sort("layer", "id")
    twice = ordered.filter(ordered.select("id", "layer").is_duplicated())
    if twice.height:
        raise TableError(
            f'table of scores: the id "{twice["id"][0]}" stands for two statements at layer {twice["layer"][0]}; '
            "ids must differ"
        )
    fits = table.get_column("topic").n_unique() if n_fits is None else n_fits
    inflation = nadeau_bengio_factor(max(fits, 1))
    rows = [
        {"measure": "score", "layer": layer, **_judged(part, "score", pair, level, inflation=inflation)}
        for (layer,), part in ordered.group_by("layer", maintain_order=True)
    ]
    statements = ordered.unique("id", keep="first", maintain_order=True)
    rows += [{"measure": name, "layer": None, **_judged(statements, name, pair, level)} for name in baselines]
    if not rows:
        return empty(DIRECTIONS)
    frame = pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.lit(concept).alias("concept"))
    return conform(frame, DIRECTIONS)


def _judged(
    part: pl.DataFrame, column: str, pair: str | None, level: float, *, inflation: float = 1.0
) -> dict[str, float | int | str | None]:
    """Return the statistics of one column on the statements with a finite value."""
    finite = part.filter(pl.col(column).cast(pl.Float64).is_finite())
    score = finite.get_column(column).cast(pl.Float64).to_numpy()
    label = finite.get_column("is_positive").cast(pl.Int64).to_numpy()
    group = None if pair is None else finite.get_column(pair).cast(pl.String).fill_null("").to_numpy()
    topic = finite.get_column("topic").cast(pl.String).fill_null("").to_numpy()
    if not len(score):
        return {"n": 0, "n_pairs": 0, "reason": "no statement has a finite value"}
    area = auc_interval(score, label, group=group, inflation=inflation, level=level)
    within, _ = pooled_auc(score, label, topic, group=group, level=level)
    accuracy, n_pairs = (None, 0) if group is None else pair_accuracy(score, label, group)
    reasons = [area.reason, "no column with pairs is given" if pair is None else None]
    return {
        "auc": area.estimate,
        "auc_lower": area.lower,
        "auc_upper": area.upper,
        "auc_within_topics": within.estimate,
        "pair_accuracy": None if accuracy is None or np.isnan(accuracy) else accuracy,
        "n": len(score),
        "n_pairs": n_pairs,
        "reason": "; ".join(reason for reason in reasons if reason) or None,
    }
