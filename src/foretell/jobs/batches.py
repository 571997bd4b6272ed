"""Batches of similar length, planned over a whole set, so that a part of the work has one name wherever it is done.

parts = planned_parts(samples, prompts, lengths, budget=4096)
parts[0].name                                  # part-00000
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Part", "planned_parts"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part(Generic[Item]):
    """A batch, and the name that it has in the run."""

    name: str
    items: tuple[Item, ...]


def planned_parts(
    items: Sequence[Item], prompts: Sequence[Hashable], lengths: Sequence[int], *, budget: int
) -> tuple[Part[Item], ...]:
    """Return batches whose padded size stays within a budget; what has one prompt comes together.

    Args:
        items: What is worked on, longest first.
        prompts: What each item begins with; an item that shares with no other has its own.
        lengths: Tokens of each item, at most.
        budget: Padded tokens in one batch; a longer item is a batch of its own.

    Example:
        >>> [part.items for part in planned_parts([1, 2, 3], "aba", [5, 4, 4], budget=10)]
        [(1, 3), (2,)]
    """
    places: dict[Hashable, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(place)
    groups = [group for group in places.values() if len(group) > 1]
    alone = [group[0] for group in places.values() if len(group) == 1]
    batches = []
    for group in [*groups, alone]:
        start = 0
        while start < len(group):
            stop = start + max(1, budget // max(1, lengths[group[start]]))
            batches.append(group[start:stop])
            start = stop
    return tuple(Part(f"part-{number:05d}", tuple(items[at] for at in one)) for number, one in enumerate(batches))
