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

from foretell.storage.surfaces import AnswerActivity, Course

__all__ = ["Scale", "banded", "course", "course_ends", "in_unit"]

Scale = Literal["z", "raw", "cosine"]
"""Unit of an activity: standard deviations over calibration tokens, projection, or cosine."""

_ENDS = (0.05, 0.95)


def course(
    answers: Sequence[AnswerActivity],
    ends: Sequence[Float[np.ndarray, "end _"]],
    layers: Sequence[int],
    *,
    n_random: int,
) -> Course:
    """Return each answer's activity averaged over layers, with what `course_ends` found for it; none without draws."""
    mean = tuple(tuple(answer.activity[list(layers)].mean(axis=0, dtype=float).tolist()) for answer in answers)
    if not n_random:
        return Course(tuple(layers), mean, (), (), 0)
    lower, upper = (tuple(tuple(end[side].tolist()) for end in ends) for side in (0, 1))
    return Course(tuple(layers), mean, lower, upper, n_random)


def course_ends(drawn: Float[np.ndarray, "draw layer token"], layers: Sequence[int]) -> Float[np.ndarray, "end token"]:
    """Return 5th and 95th percentile of random directions' activity averaged over layers; nan without any."""
    if not len(drawn) or not len(layers):
        return np.full((len(_ENDS), drawn.shape[2]), np.nan)
    return np.asarray(np.quantile(drawn[:, list(layers)].mean(axis=1), _ENDS, axis=0))


def banded(answer: AnswerActivity, drawn: Float[np.ndarray, "draw layer token"]) -> AnswerActivity:
    """Return the answer with the 5th and 95th percentile of random directions at every layer and token."""
    if not len(drawn):
        return answer
    lower, upper = np.quantile(drawn, _ENDS, axis=0)
    undefined = ~np.isfinite(answer.activity)
    lower[undefined] = upper[undefined] = np.nan
    return replace(answer, null_lower=lower, null_upper=upper)


def in_unit(
    projection: Float[np.ndarray, "*draw layer token"],
    mean: Float[np.ndarray, "*draw layer"],
    standard_deviation: Float[np.ndarray, "*draw layer"],
    length: Float[np.ndarray, "layer token"],
    *,
    scale: Scale,
) -> Float[np.ndarray, "*draw layer token"]:
    """Return projections of hidden states in the unit of a surface; nan in layers without a standard deviation.

    Args:
        projection: On unit vectors.
        mean: Of the projections of the calibration tokens.
        standard_deviation: Of the same.
        length: Of the hidden states.
        scale: The unit.
    """
    known = np.broadcast_to(np.isfinite(mean)[..., None] & (standard_deviation > 0.0)[..., None], projection.shape)
    if scale == "raw":
        return np.where(known, projection, np.nan)
    centred, unit = (
        (projection - mean[..., None], standard_deviation[..., None]) if scale == "z" else (projection, length)
    )
    unit = np.broadcast_to(unit, projection.shape)
    return np.asarray(np.divide(centred, unit, out=np.full(projection.shape, np.nan), where=known & (unit > 0.0)))
