"""Directions fitted in the reading wing and judged in the testing wing: the room above both.

    found = judge_directions(model, fact_pairs(), methods=("mean-difference", "logistic"))
    found.tables["direction_choice"]  # best layer, chosen without the topics it is judged on

It computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from foretell.conversations.builtin import builtin_facts
from foretell.directions.against_chance import Controls, DirectionEvidence, judge, separated
from foretell.errors import InputError
from foretell.reading.activations.paired import TokenChoice, read_activations, states_needed
from foretell.reading.activations.stored import MEMORY_BYTES, room_for
from foretell.reading.directions.controls import transfer_scores
from foretell.reading.directions.cross_validation import leave_topic_out, require_topics, topic_folds
from foretell.reading.directions.direction import Direction
from foretell.reading.directions.estimators import Method, method_named
from foretell.reading.directions.fit import direction_of
from foretell.reading.directions.pairs import ContrastPair, pairs_from_facts
from foretell.reading.directions.steering import steered_odds
from foretell.reading.models.load import Model
from foretell.stats.directions.dose_response import dose_response
from foretell.stats.directions.null_band import agreement, transfer_matrix
from foretell.stats.directions.surface_means import mean_surface, standing
from foretell.storage.surfaces import Surface, difference

__all__ = [
    "Controls",
    "DirectionEvidence",
    "JudgedDirections",
    "fact_pairs",
    "fit_and_judge",
    "heldout_half",
    "judge",
    "judge_directions",
    "placed",
    "shown_beside",
    "steer",
    "transfer_between",
]


@dataclass(frozen=True)
class JudgedDirections:
    """Directions of several methods, fitted on all pairs, and how each does on topics it was not fitted on."""

    directions: Mapping[str, Direction]
    evidence: Mapping[str, DirectionEvidence]
    agreement: pl.DataFrame
    """Cosines between the methods' directions."""

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """All methods' tables together, by the names of `foretell.schema.tables`; `directions` names the method too."""
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
        per_topic: Keep only the first so many facts of each topic; None keeps all.

    Example:
        >>> len(fact_pairs(per_topic=2)) == 2 * len({pair.topic for pair in fact_pairs()})
        True
    """
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
    methods: Sequence[str | Method] = ("mean-difference",),
    concept: str = "lying",
    tokens: TokenChoice = "mean",
    controls: Controls | None = None,
    memory_bytes: int = MEMORY_BYTES,
    seed: int = 0,
    progress: bool | None = None,
) -> JudgedDirections:
    """Fit directions on all pairs, and say whether what they show is real, from one reading of the model.

    Per method and layer: AUC with interval on topics the direction was not fitted on, beside the answer's
    log-probability and its length; the same for directions drawn at random and for directions fitted on shuffled
    answers; the best layer chosen without the topics it is judged on; and every topic's own direction judged on every
    other topic.

    The hidden states of all pairs are kept (`foretell.reading.activations.stored.state_bytes` says how much that is),
    in a temporary file where they take more than `memory_bytes`. Everything is fitted and judged a layer at a time,
    which takes a few times the states of one layer.

    Args:
        model: A loaded model.
        pairs: Contrast pairs of two topics or more; three for choosing a layer.
        methods: Names or functions, see `foretell.reading.directions.estimators`.
        concept: What higher activity means.
        tokens: Hidden states that stand for an answer; with "every" a pair counts as many times as its shorter answer
            has tokens.
        controls: How much is spent on chance; None is `Controls()` with `seed`.
        memory_bytes: Memory that the hidden states of all layers may take.
        seed: Choice of calibration tokens and all draws.
        progress: Show bars; None shows them on a terminal only.

    Raises:
        InputError: Fewer than two topics, an unknown method, or neither memory nor the temporary disk has room.
    """
    require_topics(pairs)
    named = [method_named(method) for method in methods]
    chosen = controls or Controls(seed=seed)
    with room_for(states_needed(model, pairs, tokens), memory_bytes=memory_bytes) as folder:
        read = read_activations(model, pairs, tokens=tokens, folder=folder, seed=seed, progress=progress)
        directions = {
            name: direction_of(model, pairs, read, (name, find), concept=concept, seed=seed) for name, find in named
        }
        return JudgedDirections(
            directions,
            {
                name: judge(pairs, read, (name, find), concept=concept, controls=chosen, progress=progress)
                for name, find in named
            },
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
    """Does a direction of one set of pairs hold on another, such as stated pairs on instructed ones?

    The layer is chosen on the set that was fitted on. A set is judged on its own pairs by directions that were fitted
    without their topics.

    Args:
        model: A loaded model.
        sets: Pairs by the name of their set; equal topics of two sets are left out together.
        method: As in `fit_direction`.
        concept: What higher activity means.
        tokens: As in `fit_direction`.
        n_folds: Folds that topics are dealt into.
        memory_bytes: As in `judge_directions`.
        seed: Choice of calibration tokens.
        progress: Show bars; None shows them on a terminal only.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_TRANSFER`, one row per fitted and judged set.

    Raises:
        InputError: Fewer than two sets, an empty one, or an unknown method.
    """
    if len(sets) < 2 or not all(sets.values()):
        raise InputError("give two sets of pairs or more, each with a pair or more")
    named = method_named(method)
    pairs = [pair for own in sets.values() for pair in own]
    parts = np.repeat(np.arange(len(sets)), [len(own) for own in sets.values()])
    folds = topic_folds(pairs, n_folds)
    with room_for(states_needed(model, pairs, tokens), memory_bytes=memory_bytes) as folder:
        read = read_activations(model, pairs, tokens=tokens, folder=folder, seed=seed, progress=progress)
        layers = [
            transfer_scores(read.layer(layer), parts, named, folds=folds, progress=False)
            for layer in range(model.n_layers)
        ]
    return transfer_matrix(np.concatenate(layers, axis=-1), parts, list(sets), concept=concept, method=named[0])


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
    """Does the direction act? Add it while the model reads both answers, and see how their odds move.

    Args:
        model: The model the direction was fitted on.
        direction: What to add.
        pairs: Contrast pairs of topics that the direction was not fitted on.
        layers: Blocks after which it is added, such as those that `judge_directions` chose.
        doses: Multiples of the direction's standard deviation, shared evenly among the layers; below 0 takes it away.
            Only a dose that is given with its opposite tells what the direction does and not just any push.
        n_random: Random directions of the same length for control.
        fitted_topics: Allow pairs of topics that the direction was fitted on.
        seed: Draw of the random directions.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The columns of `foretell.schema.tables.STEERING`: per dose the shift of log P(positive) - log P(negative) with
        its interval, for the direction and for random directions, and the part of it that depends on the dose's sign.

    Raises:
        InputError: A pair's topic was fitted on, the direction belongs to another model or has no vector at a layer,
            or there is nothing to steer with.
    """
    seen = sorted({pair.topic for pair in pairs} & set(direction.source.topics))
    if seen and not fitted_topics:
        raise InputError(
            f'the direction was fitted on the topic "{seen[0]}", so its pairs are no test: give pairs of other topics'
        )
    odds = steered_odds(
        model, direction, pairs, layers=layers, doses=doses, n_random=n_random, seed=seed, progress=progress
    )
    return dose_response(odds.base, odds.shifted, odds.random, doses, concept=direction.concept)


def placed(surface: Surface, evidence: DirectionEvidence) -> Surface:
    """Return a surface that knows where its answers stand among the held-out answers that a direction was judged on.

    Args:
        surface: Answers on scale z; on another scale it is returned as it is.
        evidence: What `judge_directions` found of the direction; the layers are those it chose.
    """
    layers = evidence.chosen_layers
    if surface.scale != "z" or not layers:
        return surface
    return replace(surface, standing=standing(surface, evidence.scores, layers=layers))


def shown_beside(surface: Surface) -> dict[str, Surface]:
    """Return what is worth showing beside a surface: the difference of two answers, the mean of three or more.

    Example:
        >>> shown_beside(Surface("?", "lying", "z", "tiny", (0,), ()))
        {}
    """
    n_answers = len(surface.answers)
    if n_answers == 2:
        return {"difference": difference(surface)}
    return {"mean": mean_surface(surface)} if n_answers > 2 else {}


def heldout_half(pairs: Sequence[ContrastPair]) -> tuple[list[ContrastPair], list[ContrastPair]]:
    """Return pairs to fit on and pairs to steer: two halves that share no topic.

    Raises:
        InputError: There is one topic only.
    """
    require_topics(pairs)
    half = topic_folds(pairs, 2)
    sides = ([pair for pair, code in zip(pairs, half, strict=True) if code == side] for side in (0, 1))
    first, second = sides
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
    """Fit a direction on all pairs, and judge it by directions that were fitted without the topic they score.

    The model is read once for both.

    Args:
        model: A loaded model.
        pairs: Contrast pairs of two topics or more.
        concept: What higher activity means.
        method: Name of a method, see `foretell.reading.directions.estimators`.
        memory_bytes: As in `judge_directions`.
        seed: Choice of calibration tokens where not all fit.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The direction, and the columns of `foretell.schema.tables.DIRECTIONS`: held-out AUC per layer, beside the
        answer's log-probability and its length.

    Raises:
        InputError: Fewer than two topics, or an unknown method.
    """
    require_topics(pairs)
    named = method_named(method)
    with room_for(states_needed(model, pairs, "mean"), memory_bytes=memory_bytes) as folder:
        read = read_activations(model, pairs, tokens="mean", folder=folder, seed=seed, progress=progress)
        direction = direction_of(model, pairs, read, named, concept=concept, seed=seed)
        return direction, separated(leave_topic_out(pairs, *named, read), concept)
