"""Cross-validated scores of answers: each is scored by a direction fitted without its topic.

Topics are assigned to folds; without a number of folds every topic is its own fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.conversations.pairs import SIDES, ContrastPair
from foretell.directions.activations.paired import Activations, AnswerFacts, answer_states
from foretell.directions.checked_numbers import whole_number
from foretell.directions.contrasts import fit_rows
from foretell.errors import InputError
from foretell.stats.directions.estimators import Method

__all__ = [
    "HeldOut",
    "held_out_scores",
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
        raise InputError(
            "held-out scores need pairs of two topics or more, because each topic is scored without itself; "
            f'all {len(pairs)} pairs have the topic "{pairs[0].topic}"'
        )


def topic_folds(pairs: Sequence[ContrastPair], n_folds: int | None = None) -> Int[np.ndarray, " pair"]:
    """Return the fold of each pair: whole topics, the largest first, each into the fold with the fewest pairs.

    Args:
        pairs: Contrast pairs.
        n_folds: Folds at most, at least 2; None makes every topic a fold.

    Raises:
        InputError: `n_folds` is less than two.

    Example:
        >>> pairs = [ContrastPair(name, name, "?", "a", "b") for name in "xyz"]
        >>> topic_folds(pairs, 2).tolist()
        [0, 1, 0]
    """
    n_folds = None if n_folds is None else whole_number(n_folds, "n_folds", least=2)
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
    """Scores of answers of topics that the directions were not fitted on."""

    scores: Float[np.ndarray, "pair side layer"]
    """Standard deviations over the calibration tokens of the training topics; nan where undefined."""
    folds: Int[np.ndarray, " pair"]
    reasons: tuple[tuple[str | None, ...], ...]
    """Per fold and layer: why there is no score."""


def held_out_scores(name: str, find: Method, activations: Activations, folds: Int[np.ndarray, " pair"]) -> HeldOut:
    """Score both answers of each pair by a direction fitted and calibrated without the pair's fold.

    One layer is in memory at a time.
    """
    n_folds, n_layers = int(folds.max()) + 1, activations.hidden.shape[2]
    scores = np.full((len(folds), len(SIDES), n_layers), np.nan)
    reasons: list[list[str | None]] = [[] for _ in range(n_folds)]
    for layer in range(n_layers):
        one = activations.layer(layer)
        states = answer_states(one)[:, :, 0]
        for fold in range(n_folds):
            held_out = folds == fold
            chosen = np.flatnonzero(~held_out[one.facts.calibration_pair])
            fitted = fit_rows(
                name,
                find,
                one.hidden[~held_out[one.row_pair]],
                one.facts.calibration,
                chosen=chosen,
                rounding=one.facts.rounding,
            )
            projection = np.einsum("psw,w->ps", states[held_out], fitted.vectors[0])
            scores[held_out, :, layer] = (projection - fitted.mean) / fitted.standard_deviation
            reasons[fold] += fitted.reasons
    return HeldOut(scores, folds, tuple(map(tuple, reasons)))


def score_table(
    pairs: Sequence[ContrastPair], facts: AnswerFacts, found: HeldOut, *, layers: Sequence[int] | None = None
) -> pl.DataFrame:
    """Return scores as the table that `heldout_scores` describes, in the order of `pairs`.

    `layers` names each layer; None counts from 0.
    """
    n_layers = found.scores.shape[2]
    n_answers = len(pairs) * len(SIDES)
    per_answer = pl.DataFrame(
        {
            "id": [pair.id for pair in pairs for _ in SIDES],
            "topic": [pair.topic for pair in pairs for _ in SIDES],
            "side": list(SIDES) * len(pairs),
            "is_positive": [True, False] * len(pairs),
            "mean_logprob": pl.Series(facts.mean_logprob.reshape(n_answers)).fill_nan(None),
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
    """Score both answers of each pair by a direction fitted without its topic.

    Returns:
        The table described at `foretell.directions.fit.heldout_scores`, in the order of `pairs`.
    """
    return score_table(pairs, activations.facts, held_out_scores(name, find, activations, topic_folds(pairs)))
