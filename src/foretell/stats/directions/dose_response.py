"""Effect of steering: shift of the log-odds of two answers by dose, compared with random directions of equal length.

A shift has two components. The even one is equal for a dose and its opposite: adding any vector makes the model less
confident. The odd one changes its sign with the dose and is specific to the direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.special import stdtrit

from foretell.schema.tables import STEERING, conform

__all__ = ["dose_response"]

_DIRECTED = ("directed", "directed_lower", "directed_upper", "directed_p")
_NO_OPPOSITE = "the log-odds are not finite at the opposite dose"
_NO_CONTROL = "the log-odds of random directions are not finite at this dose or its opposite, so there is no p-value"


def dose_response(
    base: Float[np.ndarray, " pair"],
    shifted: Float[np.ndarray, "dose pair"],
    random: Float[np.ndarray, "draw dose pair"],
    doses: Sequence[float],
    *,
    concept: str,
    level: float = 0.95,
) -> pl.DataFrame:
    """Shift of the log-odds of the positive answers by dose, for the direction and for random directions.

    Args:
        base: Log-odds (nats) of the positive over the negative answer without steering.
        shifted: The same with the direction added.
        random: The same with random directions added.
        doses: The doses.
        concept: Concept of the direction.
        level: Coverage of the intervals, Student's over pairs; for random directions over pairs' means of all draws.

    Returns:
        The columns of `foretell.schema.tables.STEERING`, with a dose of 0 for both kinds.

    Undefined:
        No interval with fewer than two pairs; the reason says so. No directed shift without the opposite dose. Null
        with a reason at a dose at which the odds of a pair are not finite, because a mean over the others would be of
        other pairs than at other doses.

    Example:
        >>> odds = np.zeros(3)
        >>> dose_response(odds, odds[None] + 1, odds[None, None], [2.0], concept="lying")["shift"].to_list()
        [0.0, 1.0, 0.0, 0.0]
    """
    shifted, random = (np.where(np.isfinite(odds), odds, np.nan) for odds in (shifted, random))
    rows = []
    for kind, draws in (("direction", shifted[None]), ("random", random)):
        if not len(draws):
            continue
        nothing = np.broadcast_to(base, (len(draws), 1, len(base)))
        every = np.concatenate([draws, nothing], axis=1)
        for index in np.argsort([*doses, 0.0], kind="stable"):
            dose = float([*doses, 0.0][index])
            moved = _moved(base, every[:, index], level)
            opposite = [place for place, other in enumerate(doses) if other == -dose != 0.0]
            found: dict[str, float | None] = {}
            if opposite:
                control = (random[:, index] - random[:, opposite[0]]).mean(axis=1) / 2.0
                own = (shifted[index] - shifted[opposite[0]]) / 2.0
                found = _directed(own, control, level) if kind == "direction" else _spread(control)
                if found["directed"] is None:
                    moved["reason"] = moved["reason"] or _NO_OPPOSITE
                elif len(control) and not np.isfinite(control).all():
                    moved["reason"] = moved["reason"] or _NO_CONTROL
            rows.append({"kind": kind, "dose": dose, **moved, **found})
    frame = pl.DataFrame(rows, infer_schema_length=None).unique(["kind", "dose"], keep="first", maintain_order=True)
    return conform(frame.with_columns(concept=pl.lit(concept)), STEERING)


def _directed(
    odds: Float[np.ndarray, " pair"], control: Float[np.ndarray, " draw"], level: float
) -> dict[str, float | None]:
    """Return the odd component of the shift, and its p-value against random directions."""
    if not np.isfinite(odds).all():
        return dict.fromkeys(_DIRECTED)
    estimate, lower, upper = _student(odds, level)
    known = len(control) > 0 and bool(np.isfinite(control).all())
    p_value = float((1 + (np.abs(control) >= abs(estimate)).sum()) / (1 + len(control))) if known else None
    return {"directed": estimate, "directed_lower": lower, "directed_upper": upper, "directed_p": p_value}


def _spread(control: Float[np.ndarray, " draw"]) -> dict[str, float | None]:
    """Return mean and range of the odd component of random directions."""
    if not np.isfinite(control).all():
        return dict.fromkeys(_DIRECTED[:3])
    lowest, highest = float(control.min()), float(control.max())
    return {"directed": float(control.mean()), "directed_lower": lowest, "directed_upper": highest}


def _student(values: Float[np.ndarray, " pair"], level: float) -> tuple[float, float | None, float | None]:
    """Return a mean with Student's interval."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return mean, None, None
    margin = float(stdtrit(n - 1, 0.5 + level / 2) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - margin, mean + margin


def _moved(base: np.ndarray, odds: Float[np.ndarray, "draw pair"], level: float) -> dict[str, Any]:
    n = len(base)
    known = np.isfinite(odds - base).all(axis=0)
    if not known.all():
        reason = f"the log-odds of {n - int(known.sum())} of {n} pairs are not finite at this dose"
        return {"n_draws": len(odds), "n_pairs": n, "reason": reason}
    shift, lower, upper = _student((odds - base).mean(axis=0), level)
    by_draw = (odds - base).mean(axis=1)
    return {
        "n_draws": len(odds),
        "log_odds": float(odds.mean()),
        "shift": shift,
        "shift_lower": lower,
        "shift_upper": upper,
        "draw_lower": float(by_draw.min()),
        "draw_upper": float(by_draw.max()),
        "flipped": float((np.sign(odds) != np.sign(base)).mean()),
        "n_pairs": n,
        "reason": None if n > 1 else "one pair has no interval",
    }
