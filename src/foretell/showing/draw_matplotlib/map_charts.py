"""Layer x head maps, drawn with matplotlib."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas

from foretell.showing.draw_matplotlib.canvas import (
    colour_map,
    drawable,
    empty_panel,
    grid,
    outer_labels,
    set_labels,
    thinned,
    write,
)
from foretell.showing.draw_matplotlib.paper_width import paper_width
from foretell.showing.figures.figure import MapFigure, MapPanel
from foretell.showing.figures.palette import DIVERGING

__all__ = ["draw_maps"]


def draw_maps(figure: MapFigure) -> Canvas:
    """Draw the maps: layers from left to right, heads from top to bottom."""
    n_layers = max(panel.values.shape[0] for panel in figure.panels)
    n_heads = max(panel.values.shape[1] for panel in figure.panels)
    width = float(np.clip(0.11 * n_layers + 0.7, 2.8, 5.0))
    height = float(np.clip(0.11 * n_heads + 0.9, 1.7, 4.2))
    canvas, every = grid(
        len(figure.panels), n_columns=figure.n_columns, width=width, height=height, title=figure.words.title, narrow=3
    )
    colours = colour_map("diverging", DIVERGING).with_extremes(bad="#c9cdd4")
    limits = Normalize(figure.centre - figure.limit, figure.centre + figure.limit)
    for axes, panel in zip(every, figure.panels, strict=True):
        write(axes, title=panel.title, width=int(9 * width))
        if panel.note is not None:
            empty_panel(axes, panel.note)
            continue
        axes.imshow(panel.values.T, cmap=colours, norm=limits, aspect="auto", interpolation="nearest")
        _marks(axes, panel)
        for axis, names in (("x", panel.layers), ("y", panel.heads)):
            places = thinned(len(names), 10 if paper_width() is None else 6)
            set_labels(axes, axis, places, [str(names[place]) for place in places])
        write(axes, x_label="Layer", y_label="Head")
    if len({(panel.layers, panel.heads) for panel in figure.panels}) == 1:
        outer_labels(every, [panel.note is None for panel in figure.panels])
    bar = canvas.colorbar(ScalarMappable(limits, colours), ax=every, shrink=0.8, aspect=30, pad=0.02)
    bar.set_label(drawable(figure.value_label), parse_math=False)
    bar.outline.set_visible(False)
    return canvas


def _marks(axes: Axes, panel: MapPanel) -> None:
    layer, head = np.nonzero(panel.marked)
    if layer.size:
        axes.scatter(layer, head, s=26, facecolors="none", edgecolors="white", linewidths=2.2)
        axes.scatter(layer, head, s=26, facecolors="none", edgecolors="black", linewidths=1.0)
