"""How long a text may be, as a model's configuration says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["n_positions", "too_long"]


def n_positions(config: Any) -> int | None:
    """Return how many tokens a model has positions for, stretched ones included; None where nothing limits them.

    Args:
        config: Of its text decoder.
    """
    known = getattr(config, "max_position_embeddings", None)
    if not isinstance(known, int) or known < 1:
        return None
    limit, rope = known, getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for one in (rope, *rope.values()):  # by kind of layer in some models
        if isinstance(one, Mapping):
            if "dynamic" in {one.get("rope_type"), one.get("type")}:
                return None
            original = one.get("original_max_position_embeddings") or known
            limit = max(limit, int((one.get("factor") or 1.0) * original))
    return limit


def too_long(n_tokens: int, n_new: int, limit: int | None) -> str | None:
    """Return why a text does not fit a model's positions; None where it does.

    Args:
        n_tokens: Of the text.
        n_new: That may be generated after it.
        limit: The model's positions; None: any number.
    """
    if limit is None or n_tokens + n_new <= limit:
        return None
    new = f" and up to {n_new} new ones" if n_new else ""
    return f"too long: {n_tokens} tokens{new}, and the model has {limit} positions"
