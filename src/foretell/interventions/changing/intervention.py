"""What is changed in a model: the output of heads, what they see of a segment, or the states along a direction.

HeadIntervention(((3, 5),))                         # the output of one head is replaced
HeadIntervention(((3, 5),), segment="query")        # that head does not see the query
DirectionIntervention("lying", 14, vector, vector)  # what lies along the vector is removed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

__all__ = ["ABLATIONS", "Ablation", "DirectionIntervention", "Head", "HeadIntervention", "Intervention"]

Ablation = Literal["zero", "mean", "resample"]
"""What takes the place of a head's output, or of the projection on a direction: nothing, its mean over tokens of
training conversations, or that of the same position of another training conversation."""
ABLATIONS: tuple[Ablation, ...] = ("zero", "mean", "resample")
Head: TypeAlias = tuple[int, int]
"""Layer and query head, both from 0."""


@dataclass(frozen=True)
class HeadIntervention:
    """Heads whose output is replaced at every token, or which do not see a segment."""

    heads: tuple[Head, ...]
    segment: str | None = None
    """Its keys are hidden from every token but a token's own key; None: the output is replaced."""

    @property
    def kind(self) -> str:
        """What is done, in words."""
        return "heads ablated" if self.segment is None else "segment masked"

    @property
    def name(self) -> str:
        """The component, in words."""
        first = self.heads[0]
        named = f"layer {first[0]} head {first[1]}" if len(self.heads) == 1 else f"{len(self.heads)} heads together"
        return named if self.segment is None else f"{named}, {self.segment} masked"


@dataclass(frozen=True, eq=False)
class DirectionIntervention:
    """States after a block whose part along a direction is replaced, or to which a direction is added."""

    concept: str
    layer: int
    read: Float[np.ndarray, " width"]
    """Unit vector; the projection on it is replaced."""
    written: Float[np.ndarray, " width"]
    """Unit vector along which the state is changed by as much: `read` itself, or a random one as a control."""
    dose: float | None = None
    """Standard deviations that are added; None: the projection is replaced."""
    length: float = 0.0
    """Length of what is added."""

    @property
    def kind(self) -> str:
        """What is done, in words."""
        return "direction removed" if self.dose is None else "direction added"

    @property
    def name(self) -> str:
        """The component, in words."""
        done = "removed" if self.dose is None else f"{self.dose:+g} sd added"
        return f"{self.concept}, layer {self.layer} {done}"


Intervention: TypeAlias = HeadIntervention | DirectionIntervention
