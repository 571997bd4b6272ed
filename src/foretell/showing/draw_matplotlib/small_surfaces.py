"""Small surfaces as bars, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from foretell.showing.draw_matplotlib.canvas import drawable, empty_panel, legend, set_labels, thinned, write
from foretell.showing.figures.figure import SurfaceFigure, SurfacePanel
from foretell.showing.figures.palette import INTERVAL, NULL_BAND
from foretell.showing.figures.surfaces.surface_bars import bars_of

__all__ = ["draw_small_surface"]

_HATCHES = ("", "////")


def draw_small_surface(
    axes: Axes, figure: SurfaceFigure, panel: SurfacePanel, paint: Callable[[np.ndarray], Any]
) -> None:
    """Draw an answer of few tokens or layers as bars, with the colours and limits of the surfaces.

    Args:
        axes: Where to draw.
        figure: The scale and the layers.
        panel: The answer.
        paint: Colours of scores.
    """
    bars, limit = bars_of(panel, figure.layers), figure.z_limit
    if not bars.sets:
        empty_panel(axes, "the activity has no value at any layer and token")
        return
    axes.grid(visible=True, axis="y")
    axes.axhline(0.0, color="#6b7280", linewidth=0.8)
    for index, each in enumerate(bars.sets):
        heights = np.clip(panel.values[each.layer, each.token], -limit, limit)
        hatch = _HATCHES[index % 2]
        axes.bar(
            each.x,
            heights,
            bars.width,
            color=paint(heights),
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            label=each.label if len(bars.sets) > 1 else None,
        )
        for colour, low, high in (
            (INTERVAL, panel.lower, panel.upper),
            (NULL_BAND, panel.null_lower, panel.null_upper),
        ):
            if low is not None and high is not None:
                ends = (np.clip(end[each.layer, each.token], -limit, limit) for end in (low, high))
                axes.vlines(each.x, *ends, color=colour, linewidth=1.4, alpha=0.8)
    axes.set_ylim(-1.04 * limit, 1.04 * limit)
    places = thinned(len(bars.ticks), 16)
    set_labels(axes, "x", places, [drawable(bars.ticks[place]) for place in places], fontsize=7.5)
    axes.set_xlim(-0.6, len(bars.ticks) - 0.4)
    write(axes, x_label=bars.x_label)
    legend(axes)
