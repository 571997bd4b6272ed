"""Small surfaces as bars: one or two tokens, or one or two layers, span no sheet that could be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from foretell.showing.figures.figure import SurfacePanel
from foretell.showing.untrusted import token_label

__all__ = ["BarSet", "SurfaceBars", "bars_of", "is_small"]

_SMALLEST = 3
"""Defined layers and tokens that a sheet needs; a strip between two of them is all but invisible from the side."""


@dataclass(frozen=True, eq=False)
class BarSet:
    """Bars of one token over the layers, or of one layer over the tokens."""

    label: str
    x: Float[np.ndarray, " bar"]
    layer: Int[np.ndarray, " bar"]
    """Row of each bar in the panel's values."""
    token: Int[np.ndarray, " bar"]


@dataclass(frozen=True, eq=False)
class SurfaceBars:
    """Where the bars of a small surface stand; their heights are the panel's values."""

    x_label: str
    ticks: tuple[str, ...]
    """Label of every whole number on the x axis, from 0."""
    width: float
    sets: tuple[BarSet, ...]
    """Empty where nothing is defined."""


def is_small(panel: SurfacePanel) -> bool:
    """Whether fewer than three layers or three tokens of an answer have a score."""
    return bool(min(len(each) for each in _defined(panel)) < _SMALLEST)


def bars_of(panel: SurfacePanel, layers: tuple[int, ...]) -> SurfaceBars:
    """Return the bars of an answer: along the axis with more scores, one set for each place of the other.

    Args:
        panel: The answer.
        layers: Layer of each row of its values.
    """
    rows, columns = _defined(panel)
    over_layers = len(rows) >= len(columns)
    along, across = (rows, columns) if over_layers else (columns, rows)
    tokens = tuple(token_label(token, length=14) for token in panel.tokens)
    named = tuple(str(layer) for layer in layers)
    width = 0.84 / max(len(across), 1)
    sets = []
    for index, place in enumerate(across):
        fixed = np.full(len(along), place)
        label = f"token {place}: “{tokens[place]}”" if over_layers else f"layer {named[place]}"
        x = along + (index - (len(across) - 1) / 2) * width
        sets.append(BarSet(label, x, *((along, fixed) if over_layers else (fixed, along))))
    return SurfaceBars("Layer" if over_layers else "Token", named if over_layers else tokens, width, tuple(sets))


def _defined(panel: SurfacePanel) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " column"]]:
    """Return the rows and the columns that have a score."""
    known = np.isfinite(panel.values)
    return np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
