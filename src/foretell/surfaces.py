"""The activity surface as plain data: one question, any number of answers, one scale.

It knows neither how activity was read nor how it will be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.schema import ACTIVITY, conform

__all__ = ["AnswerActivity", "Surface"]


@dataclass(frozen=True)
class AnswerActivity:
    """How far the hidden states lean along a direction while one answer is written."""

    title: str
    """Short name, such as "false answer"."""
    answer: str
    tokens: tuple[str, ...]
    """Text of each generated token."""
    activity: Float[np.ndarray, "layer token"]
    """Calibrated score; nan where a layer has none."""
    mean_logprob: float | None
    """Mean log-probability (nats) of the answer's tokens."""


@dataclass(frozen=True)
class Surface:
    """Activity of several answers to one question along one direction."""

    question: str
    concept: str
    scale: str
    """"z" (standard deviations over calibration tokens), "raw" or "cosine"."""
    model: str
    layers: tuple[int, ...]
    answers: tuple[AnswerActivity, ...]

    def table(self) -> pl.DataFrame:
        """Return the numbers behind the picture in the columns of the activity table."""
        frames = [
            pl.DataFrame(
                {
                    "id": f"answer-{index}",
                    "layer": np.repeat(self.layers, len(answer.tokens)),
                    "position": np.tile(np.arange(len(answer.tokens)), len(self.layers)),
                    "concept": self.concept,
                    "activity": answer.activity.ravel().astype(np.float64),
                }
            )
            for index, answer in enumerate(self.answers)
        ]
        joined = pl.concat(frames).with_columns(pl.col("activity").fill_nan(None))
        return conform(joined, ACTIVITY)
