"""Scores of answers by directions that never saw their topic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from foretell.errors import InputError
from foretell.reading.activations import Activations
from foretell.reading.contrasts import Fitted, fit_rows
from foretell.reading.methods import Method
from foretell.reading.pairs import SIDES, ContrastPair

__all__ = ["leave_topic_out", "require_topics"]


def require_topics(pairs: Sequence[ContrastPair]) -> None:
    """Refuse pairs of a single topic, which leave nothing to fit on.

    Raises:
        InputError: There is one topic only.
    """
    if len({pair.topic for pair in pairs}) == 1:
        raise InputError("held-out scores need pairs of two topics or more: each topic is scored without itself")


def leave_topic_out(pairs: Sequence[ContrastPair], name: str, find: Method, activations: Activations) -> pl.DataFrame:
    """Score both answers of each pair by a direction fitted and calibrated without the pair's topic.

    Returns:
        The table described at `foretell.reading.fitting.heldout_scores`, in the order of `pairs`.
    """
    topics = np.array([pair.topic for pair in pairs])
    facts = activations.facts
    folds = []
    for topic in np.unique(topics):
        held_out = np.flatnonzero(topics == topic)
        rows = activations.hidden[~np.isin(activations.row_pair, held_out)]
        chosen = np.flatnonzero(~np.isin(facts.calibration_pair, held_out))
        fitted = fit_rows(name, find, rows, facts.calibration, chosen=chosen)
        folds.append(_fold_table(pairs, held_out, fitted, activations))
    return pl.concat(folds).sort("pair", maintain_order=True).drop("pair")


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
