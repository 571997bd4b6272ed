"""How well a direction tells positive from negative statements on topics it was not fitted on.

found = separation(table, concept="lying", baselines=("mean_logprob",))
found.filter(pl.col("measure") == "score").sort("auc")
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.errors import TableError
from foretell.schema.tables import DIRECTIONS, conform, empty
from foretell.stats.auc.fold_auc import shared_fits
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
        pair: `(statement,)` names of what belongs together, such as the question.

    Undefined:
        nan where no name holds both.

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
    """How well scores along a direction separate statements, per layer, beside what needs no direction.

    Every score must come from a direction that was fitted on other topics than its statement's. The true statement of
    a pair is often also the likelier or the longer one, which is what the baselines are for. Baselines keep
    their sign too: an AUC below one half means that positive statements score lower.

    The directions of all topics were fitted on nearly the same statements, so what one reaches says little about what
    another table of as many statements would have given: the interval of a score is widened for it, as that of any
    held-out score (docs/concepts/held-out-intervals.md). Baselines were fitted on nothing.

    Args:
        table: One row per statement and layer: `id`, `topic`, `is_positive` (boolean or 0 / 1), `layer`, `score` (null
            where undefined), the baselines' columns, constant within a statement, and the column `pair` if named.
        concept: What the direction stands for.
        baselines: Columns to judge beside the score, such as mean_logprob and n_tokens.
        pair: Column with the name of what belongs together, such as the question; its statements are kept together in
            the intervals. None: statements stand alone and there is no accuracy of pairs.
        n_fits: Directions that the topics were dealt to, each fitted on all the other topics; None: one per topic.
        level: Coverage of the intervals.

    Returns:
        The columns of `foretell.schema.tables.DIRECTIONS`.

    Raises:
        TableError: A column is missing.

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
    fits = table.get_column("topic").n_unique() if n_fits is None else n_fits
    inflation = shared_fits(max(fits, 1))
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
    """Return one measure's numbers on the statements that have it."""
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
    reasons = [area.reason, "no column names what belongs together" if pair is None else None]
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
