"""Fit, evaluate and apply directions: combines `foretell.reading` and `foretell.stats`.

found = judge_directions(model, fact_pairs(), methods=("mean-difference", "logistic"))
found.tables["direction_choice"]  # best layer, chosen without the topics on which it is evaluated
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from foretell.conversations.builtin import builtin_facts
from foretell.conversations.pairs import ContrastPair, one_spelling, pairs_from_facts, same_text
from foretell.directions.activations.paired import TokenChoice, kept_activations
from foretell.directions.activations.stored import MEMORY_BYTES
from foretell.directions.checked_numbers import distinct_layers, finite_numbers, whole_number
from foretell.directions.controls import transfer_scores
from foretell.directions.cross_validation import leave_topic_out, require_topics, topic_folds
from foretell.directions.direction import Direction
from foretell.directions.evidence import Controls, DirectionEvidence, judge, separation_table
from foretell.directions.fit import direction_of
from foretell.directions.steering import steered_odds
from foretell.directions.topics import distinct_topics, text_codes
from foretell.errors import InputError
from foretell.reading.models.load import Model
from foretell.stats.directions.dose_response import dose_response
from foretell.stats.directions.estimators import Method, method_named, methods_named
from foretell.stats.directions.null_band import agreement, transfer_matrix
from foretell.stats.directions.surface_means import compared_with_held_out, mean_surface
from foretell.storage.surfaces import Surface, difference

__all__ = [
    "Controls",
    "DirectionEvidence",
    "JudgedDirections",
    "companion_surfaces",
    "fact_pairs",
    "fit_and_judge",
    "judge",
    "judge_directions",
    "split_topics",
    "steer",
    "transfer_between",
    "with_held_out_comparison",
]


@dataclass(frozen=True)
class JudgedDirections:
    """Directions of several methods, fitted on all pairs, with the evidence for each on held-out topics."""

    directions: Mapping[str, Direction]
    evidence: Mapping[str, DirectionEvidence]
    agreement: pl.DataFrame
    """Cosines between the methods' directions."""

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """Tables of all methods by the names of `foretell.schema.tables`, with a column `method`."""
        first = next(iter(self.evidence.values()))
        joined = {
            name: pl.concat(
                [found.tables[name].with_columns(method=pl.lit(method)) for method, found in self.evidence.items()]
            )
            for name in first.tables
        }
        return {**joined, "direction_agreement": self.agreement}


def fact_pairs(*, per_topic: int | None = None) -> list[ContrastPair]:
    """Return the built-in facts as contrast pairs for "lying": the false answer is the positive one.

    Args:
        per_topic: Number of facts per topic, the first ones; None: all.

    Example:
        >>> len(fact_pairs(per_topic=2)) == 2 * len({pair.topic for pair in fact_pairs()})
        True
    """
    per_topic = None if per_topic is None else whole_number(per_topic, "per_topic", least=1)
    seen: dict[str, int] = {}
    kept = []
    for fact in builtin_facts():
        seen[fact.topic] = seen.get(fact.topic, 0) + 1
        if per_topic is None or seen[fact.topic] <= per_topic:
            kept.append(fact)
    return pairs_from_facts(kept)


def judge_directions(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    methods: str | Method | Sequence[str | Method] = ("mean-difference",),
    concept: str = "lying",
    tokens: TokenChoice = "mean",
    controls: Controls | None = None,
    memory_bytes: int = MEMORY_BYTES,
    seed: int = 0,
    progress: bool | None = None,
) -> JudgedDirections:
    """Fit directions on all pairs and evaluate them on held-out topics, with one pass of the model over the pairs.

    Per method and layer: AUC with interval on topics the direction was not fitted on, next to the answer's
    log-probability and length; the same for random directions and for directions fitted on shuffled answers; the best
    layer chosen without the topics on which it is evaluated; and the direction of each topic evaluated on each other
    topic.

    The hidden states of all pairs are stored (`foretell.directions.activations.stored.state_bytes` gives their size),
    in a temporary file if they exceed `memory_bytes`. Layers are fitted and evaluated one by one, which takes a few
    times the memory of the states of one layer.

    Args:
        model: A loaded model.
        pairs: Contrast pairs of two topics or more; three for choosing a layer.
        methods: Names or functions, see `foretell.stats.directions.estimators`; one given twice is fitted once, and
            functions of one name are numbered.
        concept: Concept of the direction.
        tokens: Hidden states that represent an answer; with "every" a pair counts as many times as its shorter answer
            has tokens.
        controls: Control experiments; None is `Controls()` with `seed`.
        memory_bytes: Memory for the hidden states of all layers.
        seed: Random seed.
        progress: Show bars; None shows them on a terminal only.

    Raises:
        InputError: Fewer than two topics, two pairs of one id, an unknown method, an answer whose hidden states are not
            finite, or not enough memory and temporary disk space.

    Warns:
        SharedTextWarning: Two topics share a text, and are held out together.
    """
    named = methods_named(methods)
    held_out = distinct_topics(pairs)
    require_topics(held_out)
    options: dict[str, Any] = {"memory_bytes": memory_bytes, "seed": seed, "progress": progress}
    judging: dict[str, Any] = {"concept": concept, "controls": controls or Controls(seed=seed), "progress": progress}
    judging["texts"] = text_codes(held_out)
    with kept_activations(model, pairs, tokens=tokens, **options) as read:
        directions = {
            name: direction_of(model, pairs, read, (name, find), concept=concept, seed=seed) for name, find in named
        }
        return JudgedDirections(
            directions,
            {name: judge(held_out, read, (name, find), **judging) for name, find in named},
            agreement({name: direction.vectors for name, direction in directions.items()}, concept=concept),
        )


def transfer_between(
    model: Model,
    sets: Mapping[str, Sequence[ContrastPair]],
    *,
    method: str | Method = "mean-difference",
    concept: str = "lying",
    tokens: TokenChoice = "mean",
    n_folds: int = 5,
    memory_bytes: int = MEMORY_BYTES,
    seed: int = 0,
    progress: bool | None = None,
) -> pl.DataFrame:
    """Transfer of directions between sets of pairs, such as stated and instructed ones.

    The layer is chosen on the training set. A set is evaluated on its own pairs by directions fitted without their
    topics.

    Args:
        model: A loaded model.
        sets: Pairs by the name of their set; equal topics of two sets are held out together, and a text of two sets is
            always scored by a direction that was fitted without it.
        method: As in `fit_direction`.
        concept: Concept of the direction.
        tokens: As in `fit_direction`.
        n_folds: Folds of topics.
        memory_bytes: As in `judge_directions`.
        seed: Random seed.
        progress: Show bars; None shows them on a terminal only.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_TRANSFER`, one row per training and evaluated set.

    Raises:
        InputError: Fewer than two sets, an empty one, or an unknown method.

    Warns:
        SharedTextWarning: Two topics share a text, and are held out together.
    """
    if len(sets) < 2 or not all(sets.values()):
        raise InputError("give two sets of pairs or more, each with a pair or more")
    named = method_named(method)
    # Two sets may use the same ids.
    pairs = distinct_topics([replace(pair, id=f"{name}/{pair.id}") for name, own in sets.items() for pair in own])
    texts = text_codes(pairs)
    codes = np.repeat(np.arange(len(sets)), [len(own) for own in sets.values()])
    folds = topic_folds(pairs, n_folds)
    options: dict[str, Any] = {"memory_bytes": memory_bytes, "seed": seed, "progress": progress}
    with kept_activations(model, pairs, tokens=tokens, **options) as read:
        layers = [
            transfer_scores(read.layer(layer), codes, named, folds=folds, texts=texts)
            for layer in range(model.n_layers)
        ]
    return transfer_matrix(np.concatenate(layers, axis=-1), codes, list(sets), concept=concept, method=named[0])


def steer(
    model: Model,
    direction: Direction,
    pairs: Sequence[ContrastPair],
    *,
    layers: Sequence[int],
    doses: Sequence[float] = (-2.0, -1.0, 1.0, 2.0),
    n_random: int = 9,
    fitted_topics: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> pl.DataFrame:
    """Add a direction to the residual stream and measure the shift of the log-odds of both answers.

    Args:
        model: The model the direction was fitted on.
        direction: The direction to add.
        pairs: Contrast pairs of topics that the direction was not fitted on.
        layers: Blocks after which it is added, such as those that `judge_directions` chose; one given twice counts
            once, as does a dose.
        doses: Multiples of the direction's standard deviation, divided evenly among the layers; negative doses subtract
            it. The directed effect needs each dose together with its opposite.
        n_random: Random directions of the same length as controls.
        fitted_topics: Allow pairs of topics that the direction was fitted on.
        seed: Random seed of the random directions.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The columns of `foretell.schema.tables.STEERING`: per dose the shift of log P(positive) - log P(negative) with
        its interval, for the direction and for random directions, and its component that changes sign with the dose.

    Raises:
        InputError: The direction was fitted on a pair's topic or on another model, has no vector at a layer, there is
            no layer or dose, or a pair's log-odds are not finite without steering.

    Undefined:
        Null with a reason at doses that pass what the model's precision holds.
    """
    layers, doses = distinct_layers(layers), finite_numbers(doses, "doses")
    n_random, seed = whole_number(n_random, "n_random", least=0), whole_number(seed, "seed", least=0)
    fitted = {same_text(topic) for topic in direction.source.topics}
    seen = sorted({pair.topic for pair in one_spelling(pairs) if same_text(pair.topic) in fitted})
    if seen and not fitted_topics:
        raise InputError(f'the direction was fitted on the topic "{seen[0]}": give pairs of other topics')
    odds = steered_odds(
        model, direction, pairs, layers=layers, doses=doses, n_random=n_random, seed=seed, progress=progress
    )
    return dose_response(odds.base, odds.shifted, odds.random, odds.doses, concept=direction.concept)


def with_held_out_comparison(surface: Surface, evidence: DirectionEvidence) -> Surface:
    """Return a surface with the ranks of its answers among the held-out answers of the evidence.

    Args:
        surface: Answers on scale z; on another scale it is returned unchanged.
        evidence: Evidence for the direction from `judge_directions`; its chosen layers are used.
    """
    layers = evidence.chosen_layers
    if surface.scale != "z" or not layers:
        return surface
    return replace(surface, held_out=compared_with_held_out(surface, evidence.scores, layers=layers))


def companion_surfaces(surface: Surface) -> dict[str, Surface]:
    """Return derived surfaces to show with a surface: the difference of two answers, the mean of three or more.

    Example:
        >>> companion_surfaces(Surface("?", "lying", "z", "tiny", (0,), ()))
        {}
    """
    n_answers = len(surface.answers)
    if n_answers == 2:
        return {"difference": difference(surface)}
    return {"mean": mean_surface(surface)} if n_answers > 2 else {}


def split_topics(pairs: Sequence[ContrastPair]) -> tuple[list[ContrastPair], list[ContrastPair]]:
    """Split pairs into two halves that share no topic and no text: one to fit on, one to steer.

    Raises:
        InputError: There is one topic only, or two pairs of one id.

    Warns:
        SharedTextWarning: Two topics share a text, and are in the same half.
    """
    pairs = one_spelling(pairs)
    halved = distinct_topics(pairs)
    if len({pair.topic for pair in halved}) == 1:
        raise InputError(
            "a direction is fitted on half of the topics and steers the others: give pairs of two topics or more; "
            f'all {len(pairs)} have the topic "{halved[0].topic}"'
        )
    half = topic_folds(halved, 2)
    first, second = ([pair for pair, code in zip(pairs, half, strict=True) if code == side] for side in (0, 1))
    return first, second


def fit_and_judge(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    concept: str = "lying",
    method: str | Method = "mean-difference",
    memory_bytes: int = MEMORY_BYTES,
    seed: int = 0,
    progress: bool | None = None,
) -> tuple[Direction, pl.DataFrame]:
    """Fit a direction on all pairs, and evaluate it by leave-one-topic-out cross-validation, in one pass of the model.

    Args:
        model: A loaded model.
        pairs: Contrast pairs of two topics or more.
        concept: Concept of the direction.
        method: Name of a method, see `foretell.stats.directions.estimators`.
        memory_bytes: As in `judge_directions`.
        seed: Random seed.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The direction, and the columns of `foretell.schema.tables.DIRECTIONS`: held-out AUC per layer, and of the
        answer's log-probability and length.

    Raises:
        InputError: Fewer than two topics, two pairs of one id, an unknown method, or an answer whose hidden states are
            not finite.

    Warns:
        SharedTextWarning: Two topics share a text, and are held out together.
    """
    named = method_named(method)
    held_out = distinct_topics(pairs)
    require_topics(held_out)
    options: dict[str, Any] = {"memory_bytes": memory_bytes, "seed": seed, "progress": progress}
    with kept_activations(model, pairs, tokens="mean", **options) as read:
        direction = direction_of(model, pairs, read, named, concept=concept, seed=seed)
        return direction, separation_table(leave_topic_out(held_out, *named, read), concept)
