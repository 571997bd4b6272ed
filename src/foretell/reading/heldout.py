"""Scores of answers by directions that never saw their topic.

Topics are dealt into folds; without a number of folds every topic is a fold of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Int

from foretell.errors import InputError
from foretell.reading.activations import Activations
from foretell.reading.contrasts import Fitted, fit_rows
from foretell.reading.methods import Method
from foretell.reading.pairs import SIDES, ContrastPair

__all__ = ["leave_topic_out", "require_topics", "topic_folds"]


def require_topics(pairs: Sequence[ContrastPair]) -> None:
    """Refuse pairs of a single topic, which leave nothing to fit on.

    Raises:
        InputError: There is one topic only.
    """
    if len({pair.topic for pair in pairs}) == 1:
        raise InputError("held-out scores need pairs of two topics or more: each topic is scored without itself")


def topic_folds(pairs: Sequence[ContrastPair], n_folds: int | None = None) -> Int[np.ndarray, " pair"]:
    """Return the fold of each pair: whole topics, the largest first, each into the fold with the fewest pairs.

    Args:
        pairs: Contrast pairs.
        n_folds: Folds at most, at least 2; None makes every topic a fold.

    Raises:
        InputError: Fewer than two folds were asked for.

    Example:
        >>> pairs = [ContrastPair(name, name, "?", "a", "b") for name in "xyz"]
        >>> topic_folds(pairs, 2).tolist()
        [0, 1, 0]
    """
    if n_folds is not None and n_folds < 2:
        raise InputError(f"n_folds must be at least 2, not {n_folds}")
    topics, code, sizes = np.unique([pair.topic for pair in pairs], return_inverse=True, return_counts=True)
    if n_folds is None or n_folds >= len(topics):
        return np.asarray(code.reshape(-1))
    fold, filled = np.empty(len(topics), dtype=np.int64), np.zeros(n_folds, dtype=np.int64)
    for topic in np.argsort(-sizes, kind="stable"):
        fold[topic] = int(np.argmin(filled))
        filled[fold[topic]] += sizes[topic]
    return np.asarray(fold[code.reshape(-1)])


def leave_topic_out(
    pairs: Sequence[ContrastPair],
    name: str,
    find: Method,
    activations: Activations,
    *,
    folds: Int[np.ndarray, " pair"] | None = None,
) -> pl.DataFrame:
    """Score both answers of each pair by a direction fitted and calibrated without the pair's topic.

    Args:
        pairs: Contrast pairs.
        name: What the method is called.
        find: The method.
        activations: What was read of the pairs.
        folds: Fold of each pair (`topic_folds`), fitted without all of its topics; None: each topic by itself.

    Returns:
        The table described at `foretell.reading.fitting.heldout_scores`, in the order of `pairs`.
    """
    codes = topic_folds(pairs) if folds is None else folds
    facts = activations.facts
    tables = []
    for fold in np.unique(codes):
        held_out = np.flatnonzero(codes == fold)
        rows = activations.hidden[~np.isin(activations.row_pair, held_out)]
        chosen = np.flatnonzero(~np.isin(facts.calibration_pair, held_out))
        fitted = fit_rows(name, find, rows, facts.calibration, chosen=chosen)
        tables.append(_fold_table(pairs, held_out, fitted, activations))
    return pl.concat(tables).sort("pair", maintain_order=True).drop("pair")


def _fold_table(
    pairs: Sequence[ContrastPair], held_out: np.ndarray, fitted: Fitted, activations: Activations
) -> pl.DataFrame:
    facts = activations.facts
    n_layers = len(fitted.mean)
    score = np.empty((len(held_out), len(SIDES), n_layers))
    for index, pair in enumerate(held_out):
        rows = activations.hidden[activations.row_pair == pair].mean(axis=0, dtype=np.float64)
        projection = np.einsum("slw,lw->sl", rows, fitted.vectors)
        score[index] = (projection - fitted.mean) / fitted.standard_deviation
    n_answers = len(held_out) * len(SIDES)
    per_answer = pl.DataFrame(
        {
            "pair": np.repeat(held_out, len(SIDES)),
            "id": [pairs[pair].id for pair in held_out for _ in SIDES],
            "topic": [pairs[pair].topic for pair in held_out for _ in SIDES],
            "side": list(SIDES) * len(held_out),
            "is_positive": [True, False] * len(held_out),
            "mean_logprob": facts.mean_logprob[held_out].reshape(n_answers),
            "n_tokens": facts.n_tokens[held_out].reshape(n_answers),
        }
    )
    per_layer = pl.DataFrame(
        {"layer": np.arange(n_layers, dtype=np.int32), "reason": pl.Series(fitted.reasons, dtype=pl.String)}
    )
    joined = per_answer.join(per_layer, how="cross", maintain_order="left_right")
    scored = joined.with_columns(pl.Series("score", score.reshape(-1)).fill_nan(None))
    columns = ("pair", "id", "topic", "side", "is_positive", "layer", "score", "mean_logprob", "n_tokens", "reason")
    return scored.select(columns)
