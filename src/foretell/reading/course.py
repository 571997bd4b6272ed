"""Activity along an answer beside what directions drawn at random do on the very same tokens.

Random directions have no calibration of their own. On scale z each is standardised, layer by layer, over all tokens
shown; so is nothing else, which makes their band a picture of how much any direction moves along these answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from foretell.surfaces import AnswerActivity, Course

__all__ = ["SCALES", "Scale", "course"]

Scale = Literal["z", "raw", "cosine"]
"""Unit of an activity: standard deviations over calibration tokens, projection, or cosine."""

SCALES: tuple[Scale, ...] = ("z", "raw", "cosine")


def course(
    answers: Sequence[AnswerActivity],
    states: Sequence[Float[np.ndarray, "layer _ width"]],
    layers: Sequence[int],
    *,
    scale: Scale,
    n_random: int,
    seed: int,
) -> Course:
    """Return each answer's activity averaged over layers, with the 5th to 95th percentile of random directions.

    Args:
        answers: Answers with their activity at every layer.
        states: Hidden states of each answer's tokens.
        layers: Layers to average over.
        scale: Unit of the activity.
        n_random: Random directions per layer; 0 gives an empty band.
        seed: Their draw.
    """
    mean = tuple(tuple(answer.activity[list(layers)].mean(axis=0, dtype=float).tolist()) for answer in answers)
    if not n_random:
        return Course(tuple(layers), mean, (), (), 0)
    generator = np.random.default_rng(seed)
    total = 0.0
    for layer in layers:
        joined = np.concatenate([state[layer] for state in states]).astype(np.float64)
        drawn = generator.normal(size=(joined.shape[1], n_random))
        projection = joined @ (drawn / np.linalg.norm(drawn, axis=0))
        if scale == "z":
            spread = projection.std(axis=0)
            projection = (projection - projection.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
        elif scale == "cosine":
            projection /= np.linalg.norm(joined, axis=1, keepdims=True)
        total = total + projection / len(layers)
    lower, upper = np.quantile(np.asarray(total), (0.05, 0.95), axis=1)
    ends = np.cumsum([state.shape[1] for state in states])[:-1]
    return Course(
        tuple(layers),
        mean,
        tuple(tuple(part.tolist()) for part in np.split(lower, ends)),
        tuple(tuple(part.tolist()) for part in np.split(upper, ends)),
        n_random,
    )
