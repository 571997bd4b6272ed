"""Texts of similar length in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from foretell.jobs.batches import planned_parts
from foretell.reading.chat.rendered import Rendered

__all__ = ["batched"]


def batched(rendered: Sequence[Rendered], *, budget: int, extra: int = 0) -> Iterator[list[int]]:
    """Yield places of texts of similar length whose padded batch stays within a budget of tokens.

    Args:
        rendered: The texts.
        budget: Padded tokens in one batch; a longer text is a batch of its own.
        extra: Tokens that each will have more.
    """
    lengths = [len(one.token_ids) + extra for one in rendered]
    order = sorted(range(len(rendered)), key=lambda place: -lengths[place])
    for part in planned_parts(order, order, [lengths[place] for place in order], budget=budget):
        yield list(part.items)
