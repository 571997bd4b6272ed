"""Fitting directions to contrast pairs, and scoring pairs by directions fitted without their topic.

Sign rule: on the training pairs the positive answers' mean projection is above that of the negative answers, so
higher always means more of the concept. Scale rule: mean and standard deviation per layer of the projections of the
calibration tokens, which are all answer tokens of the training pairs, both answers.

    direction = fit_direction(model, pairs_from_facts(foretell.builtin_facts()))
    scores = heldout_scores(model, pairs)  # one row per answer and layer
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl

from foretell.conversations.pairs import ContrastPair, one_spelling
from foretell.directions.activations.paired import (
    CALIBRATION_BYTES,
    Activations,
    AnswerFacts,
    TokenChoice,
    kept_activations,
    stream_activations,
)
from foretell.directions.activations.state_rounding import state_rounding
from foretell.directions.activations.stored import MEMORY_BYTES
from foretell.directions.components import RunningComponent
from foretell.directions.contrasts import Contrast, Fitted, calibrated, fit_rows, oriented
from foretell.directions.cross_validation import leave_topic_out, require_topics
from foretell.directions.direction import Direction, DirectionSource
from foretell.directions.random_directions import random_scale
from foretell.directions.topics import distinct_topics
from foretell.reading.chat.chat_template import template_fingerprint
from foretell.reading.models.fingerprints import weights_fingerprint
from foretell.reading.models.load import Model
from foretell.stats.directions.estimators import Method, mean_difference, method_named, paired_component

__all__ = ["direction_of", "fit_direction", "heldout_scores"]


def fit_direction(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    method: str | Method = "mean-difference",
    concept: str = "lying",
    tokens: TokenChoice = "mean",
    batch_tokens: int = 4096,
    calibration_bytes: int = CALIBRATION_BYTES,
    memory_bytes: int = MEMORY_BYTES,
    seed: int = 0,
    progress: bool | None = None,
) -> Direction:
    """Find the direction along which hidden states differ between the two answers of contrast pairs.

    With the mean difference and the paired component only running sums are kept, so thousands of pairs of a wide model
    fit in memory; other methods store the chosen hidden states, in a file if they are many.

    Args:
        model: A loaded model.
        pairs: Contrast pairs; the positive answers show more of the concept.
        method: Name of a built-in method (`foretell.stats.directions.estimators.METHODS`), or a function from
            positive and negative rows `(row, layer, width)` to vectors `(layer, width)`.
        concept: What higher activity means.
        tokens: Hidden states that represent an answer: its "last" token, the "mean" over its tokens, or "every" token.
        batch_tokens: Padded tokens in one batch.
        calibration_bytes: Bound on the memory of the calibration tokens; the direction says how many there were.
        memory_bytes: Memory for the hidden states, for methods that need all of them; more is stored in a temporary
            file.
        seed: Choice of calibration pairs where not all fit.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The direction, its sign and scale fixed by the rules above.

    Raises:
        InputError: No pairs, an unknown method or choice of tokens, vectors of another shape, an answer whose hidden
            states are not finite, or too little disk space for what a method needs.

    Undefined:
        Layers are `nan` with a reason where both answers have the same hidden states, the sides do not differ on
        average by more than rounding (pairs together with the same pairs exchanged), a method has too few pairs, or
        projections are constant.
    """
    name, find = method_named(method)
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "calibration_bytes": calibration_bytes, "seed": seed}
    options |= {"tokens": tokens, "progress": progress}
    if find in (mean_difference, paired_component):
        sums = Contrast()
        # With every token a pair has as many rows as its shorter answer has tokens, which is known only after reading.
        component = RunningComponent(model.n_layers, n_rows=len(pairs) if tokens != "every" else sys.maxsize)
        sinks = (sums,) if find is mean_difference else (sums, component)
        facts = stream_activations(model, pairs, sinks, **options)
        if find is mean_difference:
            # Its length does not matter, so a sum serves as well as the mean.
            found = np.stack([sums.difference[layer] for layer in range(model.n_layers)])
        else:
            found = component.vectors()
        rounding = state_rounding(model.dtype)
        fitted = calibrated(*oriented(found, sums, rounding=rounding), facts.calibration, rounding=rounding)
        return _direction(model, pairs, fitted, facts, concept=concept, method=name, tokens=tokens, seed=seed)
    with kept_activations(model, pairs, memory_bytes=memory_bytes, **options) as activations:
        return direction_of(model, pairs, activations, (name, find), concept=concept, seed=seed)


def direction_of(
    model: Model,
    pairs: Sequence[ContrastPair],
    activations: Activations,
    named: tuple[str, Method],
    *,
    concept: str = "lying",
    seed: int = 0,
) -> Direction:
    """Return the direction that a method finds in activations that were read already, with this seed."""
    name, find = named
    facts, tokens = activations.facts, activations.tokens
    fitted = fit_rows(name, find, activations.hidden, facts.calibration, rounding=facts.rounding)
    return _direction(model, pairs, fitted, facts, concept=concept, method=name, tokens=tokens, seed=seed)


def heldout_scores(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    method: str | Method = "mean-difference",
    tokens: TokenChoice = "mean",
    batch_tokens: int = 4096,
    calibration_bytes: int = CALIBRATION_BYTES,
    memory_bytes: int = MEMORY_BYTES,
    seed: int = 0,
    progress: bool | None = None,
) -> pl.DataFrame:
    """Score every answer with a direction fitted and calibrated on all topics but its own.

    The model is read once; each topic is left out in turn. Scores are comparable between topics because each fold's
    scores are standard deviations over the calibration tokens of its training topics.

    Args:
        model: A loaded model.
        pairs: Contrast pairs of two topics or more.
        method: As in `fit_direction`.
        tokens: As in `fit_direction`; an answer's score is that of the same tokens.
        batch_tokens: Padded tokens in one batch.
        calibration_bytes: Bound on the memory of the calibration tokens.
        memory_bytes: Memory for the hidden states; more is stored in a temporary file.
        seed: Choice of calibration pairs where not all fit.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        One row per pair, side and layer: `id`, `topic` (topics that share a text as one), `side`,
        `is_positive`, `layer`, `score`, `mean_logprob` (nats per token), `n_tokens` and `reason`.

    Raises:
        InputError: Fewer than two topics, no pairs, two pairs of one id, or an unknown method.

    Warns:
        SharedTextWarning: Two topics share a text, and are held out together.

    Undefined:
        `score` is null in layers where the fold's direction is undefined; `reason` says why.
    """
    name, find = method_named(method)
    pairs = distinct_topics(pairs)
    require_topics(pairs)
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "calibration_bytes": calibration_bytes, "seed": seed}
    options |= {"tokens": tokens, "progress": progress}
    with kept_activations(model, pairs, memory_bytes=memory_bytes, **options) as activations:
        return leave_topic_out(pairs, name, find, activations)


def _direction(
    model: Model,
    pairs: Sequence[ContrastPair],
    fitted: Fitted,
    facts: AnswerFacts,
    *,
    concept: str,
    method: str,
    tokens: TokenChoice,
    seed: int,
) -> Direction:
    source = DirectionSource(
        method=method,
        tokens=tokens,
        model=model.name,
        fingerprint=weights_fingerprint(model.model),
        template=template_fingerprint(model.tokenizer),
        n_pairs=len(pairs),
        topics=tuple(sorted({pair.topic for pair in one_spelling(pairs)})),
        n_calibration_pairs=len(np.unique(facts.calibration_pair)),
        n_calibration_tokens=len(facts.calibration_pair),
        seed=seed,
        version=version("foretell"),
    )
    vectors = fitted.vectors.astype(np.float32)
    random = random_scale(facts.calibration, seed=seed, rounding=facts.rounding)
    return Direction(concept, vectors, fitted.mean, fitted.standard_deviation, fitted.reasons, source, random)
