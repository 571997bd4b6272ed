"""Scores of control directions, from the same activations as those of a fitted direction.

Directions drawn at random, directions fitted on shuffled answers, directions fitted for choosing a layer, and
directions fitted on one set of pairs and used on another. Every score is a projection less the mean, over the standard
deviation, of the training answers' projections, so that scores of different folds can be pooled; signs are fixed on
training pairs, as those of a real direction are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from foretell.directions.activations.paired import Activations, answer_states
from foretell.directions.contrasts import found_vectors
from foretell.stats.directions.estimators import Method

__all__ = ["nested_scores", "random_scores", "scored", "shuffled_scores", "transfer_scores"]


def random_scores(
    activations: Activations, folds: Int[np.ndarray, " pair"], *, n_draws: int, seed: int | tuple[int, ...]
) -> Float[np.ndarray, "draw pair side layer"]:
    """Score every answer along random directions, uniform on the sphere, their signs fixed as a fitted one's.

    Args:
        activations: Activations of the pairs.
        folds: Fold of each pair; the sign that a fold is scored with comes from the other folds.
        n_draws: Directions per layer.
        seed: Draws.

    Undefined:
        nan in layers whose states are all alike.
    """
    states = answer_states(activations)
    n_pairs, n_sides, n_layers, width = states.shape
    scores = np.empty((n_draws, n_pairs, n_sides, n_layers), dtype=np.float32)
    generator = np.random.default_rng(seed)
    for layer in range(n_layers):
        drawn = generator.normal(size=(width, n_draws)).astype(np.float32)
        drawn /= np.linalg.norm(drawn, axis=0)
        projection = (states[:, :, layer] @ drawn).astype(np.float64)
        for train in _without_each(folds):
            gap = (projection[train, 0] - projection[train, 1]).mean(axis=0)
            signed = projection * np.where(gap < 0.0, -1.0, 1.0)
            scores[..., layer][:, ~train] = np.moveaxis(_standardised(signed, signed[train])[~train], -1, 0)
    return scores


def shuffled_scores(
    activations: Activations,
    folds: Int[np.ndarray, " pair"],
    named: tuple[str, Method],
    *,
    n_draws: int,
    seed: int,
) -> Float[np.ndarray, "draw pair side layer"]:
    """Score every answer by directions fitted after each training pair's answers were exchanged with chance one half.

    A method that does not use the labels, such as the paired component, finds the same line again and only its sign is
    left to chance.

    Args:
        activations: What was read.
        folds: Fold of each pair.
        named: The method's name and function.
        n_draws: Times the answers are exchanged anew.
        seed: Exchanges.
    """
    states = answer_states(activations)
    generator = np.random.default_rng(seed)
    scores = np.empty((n_draws, *states.shape[:3]), dtype=np.float32)
    for draw in range(n_draws):
        exchanged = (generator.random(len(states)) < 0.5)[activations.row_pair]
        hidden = np.where(exchanged[:, None, None, None], activations.hidden[:, ::-1], activations.hidden)
        for train in _without_each(folds):
            rows = hidden[train[activations.row_pair]]
            vectors, _ = found_vectors(*named, rows, rounding=activations.facts.rounding)
            scores[draw, ~train] = scored(states[~train], vectors, states[train])
    return scores


def nested_scores(
    activations: Activations,
    folds: Int[np.ndarray, " pair"],
    named: tuple[str, Method],
) -> tuple[Float[np.ndarray, "fold pair side layer"], Float[np.ndarray, "pair side layer"]]:
    """Score answers for choosing a layer without the fold that the choice is evaluated on; folds count from 0.

    Returns:
        Per left-out fold, scores of all other folds by directions fitted without both; and scores of every fold by
        directions fitted without it.

    Undefined:
        nan in the left-out fold itself; with two folds, everywhere in the first array.
    """
    states = answer_states(activations)
    n_folds = int(folds.max()) + 1
    inner = np.full((n_folds, *states.shape[:3]), np.nan)
    outer = np.full(states.shape[:3], np.nan)
    couples = [(one, other) for one in range(n_folds) for other in range(one, n_folds)]
    for one, other in couples:
        train = (folds != one) & (folds != other)
        if not train.any():
            continue
        rows = activations.hidden[train[activations.row_pair]]
        vectors, _ = found_vectors(*named, rows, rounding=activations.facts.rounding)
        found = scored(states, vectors, states[train])
        if one == other:
            outer[folds == one] = found[folds == one]
        else:
            inner[one, folds == other] = found[folds == other]
            inner[other, folds == one] = found[folds == one]
    return inner, outer


def transfer_scores(
    activations: Activations,
    parts: Int[np.ndarray, " pair"],
    named: tuple[str, Method],
    *,
    n_folds: int = 5,
    folds: Int[np.ndarray, " pair"] | None = None,
    texts: Int[np.ndarray, " pair"] | None = None,
) -> Float[np.ndarray, "train pair side layer"]:
    """Score all answers by directions fitted on one part each; a part's own pairs by folds of that part.

    Args:
        activations: What was read.
        parts: Part of each pair (topic, data set), codes from 0.
        named: The method's name and function.
        n_folds: Folds of a part's own pairs, assigned in their order.
        folds: Fold of each pair, codes from 0, for evaluating a part on its own pairs; None makes `n_folds`.
        texts: Codes that pairs with a text in common share, see `foretell.directions.topics.text_codes`: these are in
            one fold, also if they are of another part. None: no text occurs twice.

    Undefined:
        nan for the own pairs of a part of a single pair.
    """
    states = answer_states(activations)
    n_parts = int(parts.max()) + 1
    texts = np.arange(len(parts)) if texts is None else texts
    scores = np.full((n_parts, *states.shape[:3]), np.nan)
    for part in range(n_parts):
        own = np.flatnonzero(parts == part)
        fold = _folds_of_texts(texts, own, n_folds if folds is None else folds[own])
        for judged in (-1, *np.unique(fold[own]).tolist()):
            train = (parts == part) & (fold != judged)
            if not train.any():
                continue
            rows = activations.hidden[train[activations.row_pair]]
            vectors, _ = found_vectors(*named, rows, rounding=activations.facts.rounding)
            at = fold == judged
            scores[part, at] = scored(states[at], vectors, states[train])
    return scores


def _folds_of_texts(
    texts: Int[np.ndarray, " pair"], own: Int[np.ndarray, " own"], folds: int | Int[np.ndarray, " own"]
) -> Int[np.ndarray, " pair"]:
    """Return the fold of each pair that says what a part's own pairs say, and -1 for all others."""
    codes, first = np.unique(texts[own], return_index=True)
    in_order = np.argsort(np.argsort(first))  # texts in the order of the pairs
    of_text = in_order % folds if isinstance(folds, int) else folds[first]
    fold = np.full(len(texts), -1)
    shared = np.isin(texts, codes)
    fold[shared] = of_text[np.searchsorted(codes, texts[shared])]
    return fold


def scored(
    states: Float[np.ndarray, "pair side layer width"],
    vectors: Float[np.ndarray, "layer width"],
    training: Float[np.ndarray, "train side layer width"],
) -> Float[np.ndarray, "pair side layer"]:
    """Return projections of states, standardised by those of the training answers."""
    return _standardised(_projected(states, vectors), _projected(training, vectors))


def _projected(states: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    projection = np.empty(states.shape[:3])
    for layer in range(states.shape[2]):
        projection[:, :, layer] = states[:, :, layer] @ vectors[layer].astype(np.float32)
    return projection


def _standardised(projection: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Standardise `(pair, side, ...)` by the pairs and sides of the reference."""
    deviation = reference.std(axis=(0, 1))
    centred = projection - reference.mean(axis=(0, 1))
    return np.asarray(np.divide(centred, deviation, out=np.full(centred.shape, np.nan), where=deviation > 0.0))


def _without_each(folds: np.ndarray) -> Iterator[np.ndarray]:
    for fold in np.unique(folds):
        yield np.asarray(folds != fold)
