"""What is read of every conversation of a run, and when reading stops."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from foretell.errors import InputError, UnfinishedError
from foretell.jobs.readable_direction import FittedDirection
from foretell.schema.tables import SEGMENTS
from foretell.storage.location.disk_space import run_bytes
from foretell.storage.state_choice import StateChoice

__all__ = ["Answers", "Sampling", "Settings", "stop_at_first"]

Answers = Literal["given", "generate"]
_GENERATED = SEGMENTS.index("generated")


@dataclass(frozen=True)
class Sampling:
    """How answers are generated."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    """0 takes the likeliest token; above 0 samples."""
    top_p: float = 1.0
    """Sample only from the likeliest tokens that hold this much probability."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if not 0.0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be 0 (greedy) or above, not {self.temperature}")
        if not 0.0 < self.top_p <= 1.0:
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p}")


@dataclass(frozen=True)
class Settings:
    """What is read of every conversation of a run."""

    answers: Answers
    directions: tuple[FittedDirection, ...]
    sampling: Sampling
    batch_tokens: int
    detail: bool
    rows: bool
    states: StateChoice | None
    strict: bool
    """Stop at the first sample that cannot be read."""

    @property
    def given(self) -> bool:
        """Whether answers are given."""
        return self.answers == "given"

    @property
    def job(self) -> dict[str, Any]:
        """The part of a job that they are, as plain JSON."""
        return {
            "sampling": None if self.given else asdict(self.sampling),
            "batch_tokens": self.batch_tokens,
            "detail": self.detail,
            # A run without them is the same job as one made before they could be asked for.
            **({"rows": True} if self.rows else {}),
            **({"hidden": asdict(self.states)} if self.states else {}),
            "directions": [
                {"concept": one.concept, "vectors": hashlib.sha256(one.vectors.tobytes()).hexdigest()}
                for one in self.directions
            ],
        }

    def least_bytes(
        self, segments: Sequence[Int[np.ndarray, " _token"]], *, n_layers: int, n_heads: int, width: int
    ) -> int:
        """Return the space on a disk that reading these texts takes at least."""
        generated = [max(1, int((one == _GENERATED).sum())) for one in segments]
        lengths = [len(one) for one in segments]
        tables = run_bytes(
            lengths,
            generated,
            n_layers=n_layers,
            n_heads=n_heads,
            detail=self.detail,
            rows=self.rows,
            n_directions=len(self.directions),
        )
        return tables + (0 if self.states is None else self.states.n_bytes(generated, width))


def stop_at_first(samples: Iterable[tuple[str, str | None]]) -> None:
    """Refuse to go on after a sample that could not be read.

    Args:
        samples: Ids, and why each could not be read; None of those that were.

    Raises:
        UnfinishedError: One could not.
    """
    for name, reason in samples:
        if reason is not None:
            raise UnfinishedError(
                f"conversation {name!r} cannot be read: {reason} (without --strict, in Python strict=False, it is kept "
                "with this reason and the others are read)"
            )
