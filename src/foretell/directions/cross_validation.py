"""Scores of answers by directions that never saw their topic.

Topics are dealt into folds; without a number of folds every topic is a fold of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.conversations.pairs import SIDES, ContrastPair
from foretell.directions.activations.paired import Activations, AnswerFacts
from foretell.directions.contrasts import fit_rows
from foretell.errors import InputError
from foretell.stats.directions.estimators import Method

__all__ = [
    "HeldOut",
    "held_out_scores",
    "joined_layers",
    "leave_topic_out",
    "require_topics",
    "score_table",
    "topic_folds",
]


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


@dataclass(frozen=True)
class HeldOut:
    """What directions say of answers of topics that they were not fitted on."""

    scores: Float[np.ndarray, "pair side layer"]
    """Standard deviations over the calibration tokens of the training topics; nan where undefined."""
    folds: Int[np.ndarray, " pair"]
    reasons: tuple[tuple[str | None, ...], ...]
    """Per fold and layer: why there is no score."""


def held_out_scores(name: str, find: Method, activations: Activations, folds: Int[np.ndarray, " pair"]) -> HeldOut:
    """Score both answers of each pair by a direction fitted and calibrated without the pair's fold.

    Args:
        name: What the method is called.
        find: The method.
        activations: What was read of the pairs.
        folds: Fold of each pair, codes from 0.
    """
    facts = activations.facts
    n_layers = activations.hidden.shape[2]
    scores = np.full((len(folds), len(SIDES), n_layers), np.nan)
    reasons = []
    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        chosen = np.flatnonzero(~held_out[facts.calibration_pair])
        fitted = fit_rows(
            name, find, activations.hidden[~held_out[activations.row_pair]], facts.calibration, chosen=chosen
        )
        for pair in np.flatnonzero(held_out):
            rows = activations.hidden[activations.row_pair == pair].mean(axis=0, dtype=np.float64)
            projection = np.einsum("slw,lw->sl", rows, fitted.vectors)
            scores[pair] = (projection - fitted.mean) / fitted.standard_deviation
        reasons.append(fitted.reasons)
    return HeldOut(scores, folds, tuple(reasons))


def joined_layers(parts: Sequence[HeldOut]) -> HeldOut:
    """Return the scores of single layers as those of all of them."""
    scores = np.concatenate([part.scores for part in parts], axis=2)
    reasons = tuple(
        tuple(reason for part in parts for reason in part.reasons[fold]) for fold in range(len(parts[0].reasons))
    )
    return HeldOut(scores, parts[0].folds, reasons)


def score_table(
    pairs: Sequence[ContrastPair], facts: AnswerFacts, found: HeldOut, *, layers: Sequence[int] | None = None
) -> pl.DataFrame:
    """Return scores as the table that `heldout_scores` describes, in the order of `pairs`.

    Args:
        pairs: Contrast pairs.
        facts: What was read of their answers.
        found: Their scores.
        layers: Name of each layer; None counts from 0.
    """
    n_layers = found.scores.shape[2]
    n_answers = len(pairs) * len(SIDES)
    per_answer = pl.DataFrame(
        {
            "id": [pair.id for pair in pairs for _ in SIDES],
            "topic": [pair.topic for pair in pairs for _ in SIDES],
            "side": list(SIDES) * len(pairs),
            "is_positive": [True, False] * len(pairs),
            "mean_logprob": facts.mean_logprob.reshape(n_answers),
            "n_tokens": facts.n_tokens.reshape(n_answers),
        }
    )
    names = pl.DataFrame({"layer": np.array(range(n_layers) if layers is None else layers, dtype=np.int32)})
    reasons = [reason for fold in found.folds for _ in SIDES for reason in found.reasons[fold]]
    scored = per_answer.join(names, how="cross", maintain_order="left_right").with_columns(
        pl.Series("score", found.scores.reshape(-1)).fill_nan(None), pl.Series("reason", reasons, dtype=pl.String)
    )
    return scored.select("id", "topic", "side", "is_positive", "layer", "score", "mean_logprob", "n_tokens", "reason")


def leave_topic_out(pairs: Sequence[ContrastPair], name: str, find: Method, activations: Activations) -> pl.DataFrame:
    """Score both answers of each pair by a direction fitted without its topic, a layer in memory at a time.

    Args:
        pairs: Contrast pairs.
        name: What the method is called.
        find: The method.
        activations: What was read of the pairs.

    Returns:
        The table described at `foretell.directions.fit.heldout_scores`, in the order of `pairs`.
    """
    folds = topic_folds(pairs)
    n_layers = activations.hidden.shape[2]
    found = [held_out_scores(name, find, activations.layer(layer), folds) for layer in range(n_layers)]
    return score_table(pairs, activations.facts, joined_layers(found))
