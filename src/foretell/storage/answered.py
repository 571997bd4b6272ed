"""What was read of each sample, as arrays: what a run's tables are made of.

It knows nothing of how the numbers were read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from foretell.conversations.conversation import Conversation
from foretell.schema.tables import SEGMENTS
from foretell.storage.state_choice import PooledStates

__all__ = ["Answered", "Reading", "Unread"]

_GENERATED = SEGMENTS.index("generated")


@dataclass(frozen=True)
class Answered:
    """The signals of one sample's answer."""

    token_ids: Int[np.ndarray, " token"]
    segments: Int[np.ndarray, " token"]
    """Code of each token's segment, 0 to 4 in the order of `SEGMENTS`."""
    layers: tuple[int, ...]
    """Blocks that attend; the layer axis of mass and lift."""
    mass: Float[np.ndarray, "layer head segment"]
    lift: Float[np.ndarray, "layer head segment"]
    """nan where the segment holds no token."""
    contribution: Float[np.ndarray, "layer head segment"]
    """nan where it was not asked for, or where the values are not seen."""
    entropy: Float[np.ndarray, "layer head"]
    """Of each head's weights (nats); nan where it was not asked for."""
    lookback: Float[np.ndarray, "layer head"]
    """Lookback ratio; nan where a row sees no context."""
    checkpoints: Mapping[int, tuple[Float[np.ndarray, "layer head segment"], Float[np.ndarray, "layer head"]]]
    """Mass and lookback ratio after the first 1, 2, 4, 8, ... generated tokens."""
    activity: Float[np.ndarray, "block generated direction"]
    """nan in layers whose direction is undefined."""
    logprob: Float[np.ndarray, " generated"]
    token_entropy: Float[np.ndarray, " generated"]
    """Of each token's distribution (nats); nan where it was not asked for."""
    margin: Float[np.ndarray, " generated"]
    """Probability of the likeliest token minus that of the second; nan where entropies were not asked for."""
    truncated: bool | None
    """Whether a generated answer ended at the token limit; None for a given answer."""
    hidden: PooledStates
    """Hidden states of the layers that were asked for."""
    row_mass: Float[np.ndarray, "layer head generated segment"] | None = None
    """The mass of every row in half precision; None where it was not asked for."""
    row_previous: Float[np.ndarray, "layer head generated"] | None = None
    """The weight of every row on the token before it, likewise."""

    @property
    def answer_ids(self) -> Int[np.ndarray, " generated"]:
        """Token ids of the answer."""
        return np.asarray(self.token_ids[self.segments == _GENERATED])


@dataclass(frozen=True)
class Reading:
    """One sample with the signals of its answer."""

    conversation: Conversation
    answer: str
    token_texts: tuple[str, ...]
    signals: Answered
    reason: str | None = None
    """Why its numbers are undefined, see `foretell.jobs.finite`; then it has tokens and no more."""


@dataclass(frozen=True)
class Unread:
    """A sample that could not be read, and why."""

    conversation: Conversation
    answer: str | None
    reason: str
