"""A batch that fails is tried again in halves, down to one item, whose failure is its result.

It knows nothing of models: memory is freed by whoever gives the function.

    results = attempt(samples, read, free=free_memory)      # one per sample: what was read, or a Failure
    summary_of(reasons)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from foretell.errors import ForetellError

__all__ = ["Failure", "attempt", "summary_of"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_MEMORY = re.compile(
    r"out ?of ?memory|(can't|cannot|could not|unable to|failed to) allocate|not enough memory|alloc_failed",
    re.IGNORECASE,
)
"""What libraries say in a plain `RuntimeError` when memory is at its end."""
_DEVICE = re.compile(r"^(CUDA|HIP|MPS|XPU) error|device-side assert|unspecified launch failure|illegal memory access")
"""After such an error a device computes nothing more in this process, so it says nothing of the sample."""


@dataclass(frozen=True)
class Failure:
    """Why one item could not be worked on."""

    reason: str


def attempt(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]], *, free: Callable[[], object]
) -> list[Result | Failure]:
    """Return the result of every item, or why there is none.

    A batch that fails is worked on in two halves, and these in the same way. What is the matter with the work as a
    whole is raised as it comes: an error that foretell raises by itself, of the system (a full disk), of a device that
    computes nothing more, and a stop by the user.

    Args:
        items: A batch.
        work: Returns one result per item. How items are batched must not change a result.
        free: Called before every further try.
    """
    try:
        return list(work(items))
    except (ForetellError, OSError):
        raise
    except Exception as error:
        if _DEVICE.search(str(error)) and not _is_memory(error):
            raise
        # The error itself holds the frames that failed, and with them what they had allocated.
        reason = _reason(error)
    free()
    if len(items) == 1:
        return [Failure(reason)]
    middle = (len(items) + 1) // 2
    return [result for half in (items[:middle], items[middle:]) for result in attempt(half, work, free=free)]


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _MEMORY.search(f"{type(error).__name__} {error}") is not None


def _reason(error: Exception) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:200]
    if _is_memory(error):
        return f"out of memory: with this sample alone ({said or type(error).__name__})"
    return f"model error: {type(error).__name__}: {said}" if said else f"model error: {type(error).__name__}"


def summary_of(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Count reasons by their kind (what they say before a colon, or that numbers are not finite), the commonest first.

    Returns:
        The first reason of each kind and how many there are; where they differ, it is called an example.

    Example:
        >>> summary_of(["too long: 600 tokens", "too long: 700 tokens", "the answer has no tokens"])
        [('too long: 600 tokens, for example', 2), ('the answer has no tokens', 1)]
    """
    by_kind: dict[str, Counter[str]] = {}
    for reason in reasons:
        kind = "not finite" if "are not finite" in reason else reason.partition(": ")[0]
        by_kind.setdefault(kind, Counter())[reason] += 1
    lines = [
        (next(iter(of_kind)) + (", for example" if len(of_kind) > 1 else ""), of_kind.total())
        for of_kind in by_kind.values()
    ]
    return sorted(lines, key=lambda line: -line[1])
