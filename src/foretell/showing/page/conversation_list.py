"""The browsable list of conversations: its data in compressed chunks, which the page's script unpacks when it is seen.

Colours are whole hundredths (or thousandths) of a number per token, so that ten thousand answers fit into one page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from foretell.showing.figures.palette import COLOUR_SCALES, ink_on, mixed
from foretell.showing.page.held_out_ranks import RANK
from foretell.showing.page.packed import packed, plain_columns
from foretell.showing.run_conversations import COLOURED, SCORE

__all__ = ["ConversationList", "conversation_list"]

_CHUNK = 500
_MOST_BYTES = 8_000_000
"""Of all chunks together, so that a page stays below 15 MB."""

_STEPS = 32
_LIMITS: Mapping[str, tuple[float, float, int]] = {
    "log-probability": (0.0, -6.0, 100),
    "activity": (-2.0, 2.0, 100),
    "mass": (0.0, 1.0, 1000),
}
"""Values at the green and at the red end, and how finely they are kept, by the first word."""


@dataclass(frozen=True)
class ConversationList:
    """What the page needs of the list."""

    n: int
    """Conversations of the run."""
    n_listed: int
    chunks: tuple[str, ...]
    """Compressed."""
    settings: Mapping[str, Any]
    """Names of scores and colourings, and the colours."""
    datasets: tuple[str, ...]
    behaviours: tuple[str, ...]
    has_ranks: bool = False
    """Whether some scores are held-out ranks."""


def conversation_list(conversations: pl.DataFrame | None) -> ConversationList | None:
    """Return the list of a run's conversations; None without any.

    Conversations are listed in their order until the page would become too large.

    Args:
        conversations: As `foretell.showing.run_conversations.run_conversations` makes them.
    """
    if conversations is None or conversations.is_empty():
        return None
    scores = [name for name in conversations.columns if name.startswith(SCORE)]
    colours = [name for name in conversations.columns if name.startswith(COLOURED)]
    chunks: list[str] = []
    listed, size = 0, 0
    for start in range(0, conversations.height, _CHUNK):
        part = conversations.slice(start, _CHUNK)
        chunk = packed(_plain(part, scores, colours), level=5)
        size += len(chunk)
        if chunks and size > _MOST_BYTES:
            break
        chunks.append(chunk)
        listed += part.height
    settings = {
        "scores": [name.removeprefix(SCORE) for name in scores],
        "colourings": [_colouring(name.removeprefix(COLOURED)) for name in colours],
        "steps": _colour_steps(),
        "datasets": _named(conversations, "dataset"),
        "behaviours": _named(conversations, "behaviour"),
    }
    return ConversationList(
        n=conversations.height,
        n_listed=listed,
        chunks=tuple(chunks),
        settings=settings,
        datasets=_named(conversations, "dataset"),
        behaviours=_named(conversations, "behaviour"),
        has_ranks=any(name.startswith(f"{SCORE}{RANK}") for name in scores),
    )


def _named(frame: pl.DataFrame, column: str) -> tuple[str, ...]:
    return tuple(frame[column].drop_nulls().unique(maintain_order=True).to_list())


def _limits(name: str) -> tuple[float, float, int]:
    return _LIMITS.get(name.split(" ", maxsplit=1)[0], (-2.0, 2.0, 100))


def _colouring(name: str) -> dict[str, Any]:
    low, high, divisor = _limits(name)
    return {"name": name, "low": low, "high": high, "divisor": divisor}


def _colour_steps() -> list[list[str]]:
    """Return background and text colour from the green to the red end."""
    papers = [mixed(COLOUR_SCALES["green-red"], step / _STEPS) for step in range(_STEPS + 1)]
    return [[paper, ink_on(paper)] for paper in papers]


def _plain(part: pl.DataFrame, scores: Sequence[str], colours: Sequence[str]) -> dict[str, Any]:
    """Return some conversations as JSON values, column by column."""
    texts = part.select(
        "id", "dataset", "behaviour", "behavior_label", "label_source", "label_reason", "reason", "answer"
    )
    plain = dict(zip(texts.columns, plain_columns(texts), strict=True))
    tokens = part["tokens"].to_list() if "tokens" in part.columns else [None] * part.height
    whole = []
    for name in colours:
        divisor = _limits(name.removeprefix(COLOURED))[2]
        rounded = part.select(pl.col(name).list.eval((pl.element().cast(pl.Float64) * divisor).round(0)))
        whole.append(
            [None if one is None else [_whole(value) for value in one] for one in rounded.to_series().to_list()]
        )
    return plain | {
        "messages": [_messages(text) for text in part["messages"].to_list()],
        "tokens": tokens,
        "scores": plain_columns(part.select(scores)),
        "colours": whole,
    }


def _whole(value: float | None) -> int | None:
    return None if value is None or value != value or abs(value) == float("inf") else int(value)


def _messages(text: str | None) -> list[list[str]]:
    """Return role and content of each message of a stored conversation."""
    try:
        stored = json.loads(text or "[]")
        return [[str(one.get("role", "")), str(one.get("content", ""))] for one in stored]
    except (ValueError, AttributeError, TypeError):
        return [["", str(text)]]
