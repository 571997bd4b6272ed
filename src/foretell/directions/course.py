"""Activity along an answer, with the activity of random directions on the same tokens.

A random direction is one vector, used at every layer, with its own scale from the same calibration tokens as the fitted
direction. Its sign is arbitrary, so its band is the range of activity that *any* direction reaches on these tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from foretell.directions.random_directions import RandomScale
from foretell.storage.surfaces import AnswerActivity, Course

__all__ = ["Scale", "banded", "course", "random_activity"]

Scale = Literal["z", "raw", "cosine"]
"""Unit of an activity: standard deviations over calibration tokens, projection, or cosine."""

_ENDS = (0.05, 0.95)


def course(
    answers: Sequence[AnswerActivity], drawn: Sequence[Float[np.ndarray, "draw layer _"]], layers: Sequence[int]
) -> Course:
    """Return each answer's activity averaged over layers, with the 5th to 95th percentile of random directions."""
    chosen = list(layers)
    mean = tuple(tuple(answer.activity[chosen].mean(axis=0, dtype=float).tolist()) for answer in answers)
    if not drawn or not len(drawn[0]):
        return Course(tuple(layers), mean, (), (), 0)
    ends = [np.quantile(draws[:, chosen].mean(axis=1), _ENDS, axis=0) for draws in drawn]
    lower, upper = (tuple(tuple(end[side].tolist()) for end in ends) for side in (0, 1))
    return Course(tuple(layers), mean, lower, upper, len(drawn[0]))


def banded(answer: AnswerActivity, drawn: Float[np.ndarray, "draw layer token"]) -> AnswerActivity:
    """Return the answer with the 5th and 95th percentile of random directions at every layer and token."""
    if not len(drawn):
        return answer
    lower, upper = np.quantile(drawn, _ENDS, axis=0)
    undefined = ~np.isfinite(answer.activity)
    lower[undefined] = upper[undefined] = np.nan
    return replace(answer, null_lower=lower, null_upper=upper)


def random_activity(
    random: RandomScale, states: Float[np.ndarray, "layer token width"], *, scale: Scale, n_draws: int
) -> Float[np.ndarray, "draw layer token"]:
    """Return the activity of random directions on the tokens of one answer, in the unit of the surface."""
    if scale == "z":
        return random.activity(states, n_draws=n_draws)
    projection = random.projection(states, n_draws=n_draws)
    return projection if scale == "raw" else np.asarray(projection / np.linalg.norm(states, axis=-1))
