"""How far adding a direction moves the odds of two answers, beside random directions of the same length.

dose_response(base, shifted, random, doses, concept="lying")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.special import stdtrit

from foretell.schema import STEERING, conform

__all__ = ["dose_response"]


def dose_response(
    base: Float[np.ndarray, " pair"],
    shifted: Float[np.ndarray, "dose pair"],
    random: Float[np.ndarray, "draw dose pair"],
    doses: Sequence[float],
    *,
    concept: str,
    level: float = 0.95,
) -> pl.DataFrame:
    """How much more the model prefers the positive answers with each dose, and how much random directions do.

    Args:
        base: Log-odds (nats) of the positive over the negative answer with nothing added.
        shifted: With the direction added.
        random: With random directions added.
        doses: What was added.
        concept: What the direction stands for.
        level: Coverage of the intervals, Student's over pairs; for random directions over pairs' means of all draws.

    Returns:
        The columns of `foretell.schema.STEERING`, with a dose of 0 for both kinds.

    Undefined:
        No interval with fewer than two pairs; the reason says so.

    Example:
        >>> odds = np.zeros(3)
        >>> dose_response(odds, odds[None] + 1, odds[None, None], [2.0], concept="lying")["shift"].to_list()
        [0.0, 1.0, 0.0, 0.0]
    """
    rows = []
    for kind, draws in (("direction", shifted[None]), ("random", random)):
        if not len(draws):
            continue
        nothing = np.broadcast_to(base, (len(draws), 1, len(base)))
        every = np.concatenate([draws, nothing], axis=1)
        for index in np.argsort([*doses, 0.0], kind="stable"):
            dose = float([*doses, 0.0][index])
            rows.append({"kind": kind, "dose": dose, **_moved(base, every[:, index], level)})
    frame = pl.DataFrame(rows, infer_schema_length=None).unique(["kind", "dose"], keep="first", maintain_order=True)
    return conform(frame.with_columns(concept=pl.lit(concept)), STEERING)


def _moved(base: np.ndarray, odds: Float[np.ndarray, "draw pair"], level: float) -> dict[str, Any]:
    shift = (odds - base).mean(axis=0)
    n = len(base)
    margin = float(stdtrit(n - 1, 0.5 + level / 2) * shift.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    by_draw = (odds - base).mean(axis=1)
    return {
        "n_draws": len(odds),
        "log_odds": float(odds.mean()),
        "shift": float(shift.mean()),
        "shift_lower": None if margin is None else float(shift.mean()) - margin,
        "shift_upper": None if margin is None else float(shift.mean()) + margin,
        "draw_lower": float(by_draw.min()),
        "draw_upper": float(by_draw.max()),
        "flipped": float((np.sign(odds) != np.sign(base)).mean()),
        "n_pairs": n,
        "reason": None if n > 1 else "one pair has no interval",
    }
