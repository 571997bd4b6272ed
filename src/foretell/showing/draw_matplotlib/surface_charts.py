"""Activity surfaces, drawn with matplotlib: any number of answers on one scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_rgba
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch
from matplotlib.text import Text
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from foretell.showing.draw_matplotlib.canvas import HEADING, colour_map, drawable, drawn_lines, set_labels, thinned
from foretell.showing.draw_matplotlib.paper_width import paper_width
from foretell.showing.draw_matplotlib.small_surfaces import draw_small_surface
from foretell.showing.figures.figure import SurfaceFigure, SurfacePanel
from foretell.showing.figures.palette import COLOUR_SCALES, INTERVAL, NULL_BAND, UNDEFINED_COLOUR
from foretell.showing.figures.surfaces.surface_bars import is_small
from foretell.showing.figures.surfaces.surface_camera import BOX
from foretell.showing.untrusted import token_label, wrapped

__all__ = ["draw_surfaces"]

_BAR_WIDTH = 1.15
_TITLE_HEIGHT, _FOOT_HEIGHT = 0.75, 0.3
_SHEET, _SHEET_MESH = 0.02, 0.3
"""Opacity of a sheet and of its mesh."""
_SHEET_TILES = 11
"""Maximal number of tiles of a sheet along each axis: a coarse mesh does not cover the surface's colours."""


def draw_surfaces(figure: SurfaceFigure) -> Canvas:
    """Draw the answers side by side, as surfaces or as flat maps."""
    whole = paper_width()
    n_columns = min(len(figure.panels), 3 if len(figure.panels) == 3 else 2)
    if whole is not None:
        n_columns = 1 if whole < 4 else min(n_columns, 2)
    n_rows = math.ceil(len(figure.panels) / n_columns)
    most_tokens = max(len(panel.tokens) for panel in figure.panels)
    width = 5.9 if figure.shape == "surface" else 4.9
    height = 5.7 if figure.shape == "surface" else 1.6 + 0.135 * min(most_tokens, 60)
    foot = _FOOT_HEIGHT if figure.band_label else 0.0
    size = (width * n_columns + _BAR_WIDTH, height * n_rows + _TITLE_HEIGHT + foot)
    canvas = Canvas(figsize=size)
    colours = colour_map(figure.scale, COLOUR_SCALES[figure.scale]).with_extremes(bad=UNDEFINED_COLOUR)
    limits = Normalize(-figure.z_limit, figure.z_limit)
    if whole is None:
        _heading(canvas, figure, size)
    columns = _text_columns(width)
    n_lines = max(len(_answer_lines(panel, columns)) for panel in figure.panels) if whole is None else 0
    text_height = 0.3 + 0.155 * n_lines
    for index, panel in enumerate(figure.panels):
        left = (index % n_columns) * width / size[0]
        bottom = (foot + (n_rows - 1 - index // n_columns) * height) / size[1]
        box = (left, bottom, width / size[0], height / size[1])
        _panel_words(canvas, panel, box, size)
        if figure.shape == "surface":
            _surface(canvas, figure, panel, (box, text_height / size[1]), colours=colours, limits=limits)
        else:
            _flat(canvas, figure, panel, (box, text_height / size[1]), (colours, limits, size))
    if figure.band_label:
        entry = Patch(facecolor=to_rgba(NULL_BAND, 0.35), edgecolor=NULL_BAND, label=drawable(figure.band_label))
        canvas.legend(handles=[entry], loc="lower left", bbox_to_anchor=(0.2 / size[0], 0.0), fontsize=8.5)
    bar_axes = canvas.add_axes((1 - 0.85 / size[0], 0.16, 0.17 / size[0], 0.6))
    bar = canvas.colorbar(ScalarMappable(limits, colours), cax=bar_axes, extend=figure.extend, extendfrac=0.05)
    bar.set_label(drawable(figure.z_label), parse_math=False)
    bar.set_ticks(np.linspace(-figure.z_limit, figure.z_limit, 5).tolist())
    if whole is not None:
        _shrink(canvas, whole)
    return canvas


def _shrink(canvas: Canvas, width: float) -> None:
    """Make a drawing as wide as a column, with letters that can still be read."""
    scale = width / canvas.get_figwidth()
    canvas.set_size_inches(width, canvas.get_figheight() * scale)
    for text in canvas.findobj(Text):
        text.set_fontsize(max(5.0, float(text.get_fontsize()) * scale))
    for axes in canvas.axes:
        if axes.name == "3d":
            axes.tick_params(axis="y", pad=-4)


def _heading(canvas: Canvas, figure: SurfaceFigure, size: tuple[float, float]) -> None:
    lettering: tuple[tuple[str, float, dict[str, Any]], ...] = (
        (figure.question, 0.12, {"fontsize": 13, "fontweight": "bold"}),
        (figure.words.title, 0.42, {"fontsize": 9.5, "color": "#4b5563"}),
    )
    for text, below_top, font in lettering:
        canvas.text(
            0.3 / size[0],
            1 - below_top / size[1],
            drawn_lines(text, width=int(size[0] * 8.5), lines=1),
            va="top",
            parse_math=False,
            gid=HEADING,
            **font,
        )


def _text_columns(inches: float) -> int:
    return int(inches * 12.2)


def _answer_lines(panel: SurfacePanel, columns: int) -> tuple[str, ...]:
    return wrapped(drawable(panel.answer), width=columns, lines=4)


def _panel_words(
    canvas: Canvas, panel: SurfacePanel, box: tuple[float, float, float, float], size: tuple[float, float]
) -> None:
    """Write a panel's title and answer above it."""
    left, bottom, width, height = box
    columns = _text_columns(width * size[0])
    lines = _answer_lines(panel, columns)
    top = bottom + height - 0.05 / size[1]
    x = left + 0.3 / size[0]
    title = drawn_lines(panel.title, width=int(columns * 0.85), lines=1)
    canvas.text(x, top, title, va="top", fontsize=10.5, fontweight="bold", parse_math=False)
    if paper_width() is not None:
        return
    canvas.text(
        x, top - 0.2 / size[1], drawable("\n".join(lines)), va="top", fontsize=8.5, linespacing=1.25, parse_math=False
    )


def _surface(
    canvas: Canvas,
    figure: SurfaceFigure,
    panel: SurfacePanel,
    place: tuple[tuple[float, float, float, float], float],
    *,
    colours: Colormap,
    limits: Normalize,
) -> None:
    (left, bottom, width, height), text_height = place
    if is_small(panel):
        inner = (left + 0.12 * width, bottom + 0.2 * height, 0.84 * width, 0.78 * height - text_height)
        draw_small_surface(canvas.add_axes(inner), figure, panel, lambda z: colours(limits(z)))
        return
    axes: Any = canvas.add_axes((left, bottom + 0.02, width, height - text_height - 0.02), projection="3d")
    n_tokens = len(panel.tokens)
    _solids(axes, figure, panel, lambda z: colours(limits(z)))
    axes.view_init(elev=figure.camera[0], azim=figure.camera[1])
    # With a higher elevation the box extends further down.
    axes.set_box_aspect(BOX, zoom=1.12 - 0.008 * (figure.camera[0] - 30.0))
    axes.set(zlim=(-figure.z_limit, figure.z_limit), xlim=(figure.layers[0], figure.layers[-1] or 1))
    axes.set_ylim(0, max(n_tokens - 1, 1))
    # The lowest tick would overlap the last token's label.
    axes.set_zticks(np.linspace(-figure.z_limit, figure.z_limit, 9)[1:])
    places = thinned(n_tokens, 12)
    labels = [token_label(drawable(panel.tokens[index]), length=14) for index in places]
    set_labels(axes, "y", places, labels, fontsize=6.5, ha="left", va="center", rotation_mode="anchor")
    axes.tick_params(axis="y", pad=-3)
    axes.tick_params(axis="x", pad=-2, labelsize=7.5)
    axes.tick_params(axis="z", pad=0, labelsize=7.5)
    axes.set_xlabel("Layer", labelpad=0)
    axes.set_ylabel("Token", labelpad=16)
    axes.set_zlabel("")  # the colour bar has the label, and one here would overlap the next panel
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.97, 0.975, 0.98, 1.0))
        axis._axinfo["grid"].update(color="#d9dde3", linewidth=0.6)


def _solids(axes: Any, figure: SurfaceFigure, panel: SurfacePanel, paint: Callable[[np.ndarray], Any]) -> None:
    """Draw the surface and its sheets as one collection of tiles, so that they are sorted by depth together."""
    limit = figure.z_limit
    z = np.clip(panel.values, -limit, limit)
    tiles, heights, lone = _tiles(z, np.array(figure.layers), np.arange(z.shape[1]))
    faces, edges = [paint(heights)], [np.tile((0.0, 0.0, 0.0, 0.12), (len(tiles), 1))]
    every = [tiles]
    for ends, colour in (
        (panel.lower, INTERVAL),
        (panel.upper, INTERVAL),
        (panel.null_lower, NULL_BAND),
        (panel.null_upper, NULL_BAND),
    ):
        if ends is not None:
            rows, columns = (_coarse(n) for n in ends.shape)
            coarse = np.clip(ends, -limit, limit)[np.ix_(rows, columns)]
            sheet, _, _ = _tiles(coarse, np.array(figure.layers)[rows], columns)
            every.append(sheet)
            faces.append(np.tile(to_rgba(colour, _SHEET), (len(sheet), 1)))
            edges.append(np.tile(to_rgba(colour, _SHEET_MESH), (len(sheet), 1)))
    if sum(len(group) for group in every):
        collection = Poly3DCollection(
            np.concatenate(every), facecolors=np.concatenate(faces), edgecolors=np.concatenate(edges), linewidths=0.3
        )
        axes.add_collection3d(collection, autolim=False)
    if lone.any():
        layer, token = np.nonzero(lone)
        axes.scatter(np.array(figure.layers)[layer], token, z[lone], c=paint(z[lone]), s=14)


def _coarse(n_points: int) -> Int[np.ndarray, " kept"]:
    """Return evenly spaced indices out of `n_points`, including the first and the last."""
    return np.unique(np.linspace(0, n_points - 1, min(n_points, _SHEET_TILES + 1)).round().astype(np.int64))


def _tiles(
    z: Float[np.ndarray, "layer token"], layers: Int[np.ndarray, " layer"], tokens: Int[np.ndarray, " token"]
) -> tuple[Float[np.ndarray, "tile 4 3"], Float[np.ndarray, " tile"], Bool[np.ndarray, "layer token"]]:
    """Return the tiles between defined neighbouring points, their mean heights, and the points in no tile."""
    x, y = np.meshgrid(layers.astype(float), tokens.astype(float), indexing="ij")
    points = np.stack([x, y, z], axis=-1)
    before, after = slice(None, -1), slice(1, None)
    around = ((before, before), (after, before), (after, after), (before, after))
    corners = np.stack([points[place] for place in around], axis=2)
    whole = np.isfinite(corners[..., 2]).all(axis=2)
    within = np.zeros(z.shape, dtype=bool)
    for place in around:
        within[place] |= whole
    return corners[whole], corners[whole][..., 2].mean(axis=1), np.isfinite(z) & ~within


def _flat(
    canvas: Canvas,
    figure: SurfaceFigure,
    panel: SurfacePanel,
    place: tuple[tuple[float, float, float, float], float],
    paint: tuple[Colormap, Normalize, tuple[float, float]],
) -> None:
    (left, bottom, width, height), text_height = place
    colours, limits, size = paint
    axes: Axes = canvas.add_axes(
        (
            left + 1.15 / size[0],
            bottom + 0.5 / size[1],
            width - 1.4 / size[0],
            height - text_height - 0.62 / size[1],
        )
    )
    axes.imshow(panel.values.T, cmap=colours, norm=limits, aspect="auto", interpolation="nearest")
    for axis, names, most in (
        ("x", [str(layer) for layer in figure.layers], 16),
        ("y", [token_label(drawable(token), length=16) for token in panel.tokens], 60),
    ):
        places = thinned(len(names), most)
        set_labels(axes, axis, places, [names[place] for place in places], fontsize=7)
    axes.set_xlabel("Layer")
    axes.tick_params(length=2)
