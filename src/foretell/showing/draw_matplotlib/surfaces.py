"""Activity surfaces on paper: any number of answers on one scale with one colour bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure as Canvas

from foretell.showing.draw_matplotlib.canvas import colour_map, drawable, set_labels, thinned
from foretell.showing.figures import SurfaceFigure, SurfacePanel
from foretell.showing.palette import COLOUR_SCALES
from foretell.showing.untrusted import token_label, wrapped

__all__ = ["draw_surfaces"]

_BAR_WIDTH = 1.15
_TITLE_HEIGHT = 0.75


def draw_surfaces(figure: SurfaceFigure) -> Canvas:
    """Return the answers side by side, as surfaces or as flat maps."""
    n_columns = min(len(figure.panels), 3 if len(figure.panels) == 3 else 2)
    n_rows = math.ceil(len(figure.panels) / n_columns)
    most_tokens = max(len(panel.tokens) for panel in figure.panels)
    width = 5.9 if figure.shape == "surface" else 4.9
    height = 5.7 if figure.shape == "surface" else 1.6 + 0.135 * min(most_tokens, 60)
    size = (width * n_columns + _BAR_WIDTH, height * n_rows + _TITLE_HEIGHT)
    canvas = Canvas(figsize=size)
    colours = colour_map(figure.scale, COLOUR_SCALES[figure.scale]).with_extremes(bad="#e5e7eb")
    limits = Normalize(-figure.z_limit, figure.z_limit)
    _heading(canvas, figure, size)
    columns = _text_columns(width)
    text_height = 0.3 + 0.155 * max(len(_answer_lines(panel, columns)) for panel in figure.panels)
    for index, panel in enumerate(figure.panels):
        left = (index % n_columns) * width / size[0]
        bottom = (n_rows - 1 - index // n_columns) * height / size[1]
        box = (left, bottom, width / size[0], height / size[1])
        _panel_words(canvas, panel, box, size)
        if figure.shape == "surface":
            _surface(canvas, figure, panel, (box, text_height / size[1]), colours=colours, limits=limits)
        else:
            _flat(canvas, figure, panel, (box, text_height / size[1]), (colours, limits, size))
    bar_axes = canvas.add_axes((1 - 0.85 / size[0], 0.16, 0.17 / size[0], 0.6))
    bar = canvas.colorbar(ScalarMappable(limits, colours), cax=bar_axes, extend=figure.extend, extendfrac=0.05)
    bar.set_label(drawable(figure.z_label), parse_math=False)
    bar.set_ticks(np.linspace(-figure.z_limit, figure.z_limit, 5).tolist())
    return canvas


def _heading(canvas: Canvas, figure: SurfaceFigure, size: tuple[float, float]) -> None:
    lettering: tuple[tuple[str, float, dict[str, Any]], ...] = (
        (figure.question, 0.12, {"fontsize": 13, "fontweight": "bold"}),
        (figure.words.title, 0.42, {"fontsize": 9.5, "color": "#4b5563"}),
    )
    for text, below_top, font in lettering:
        lines = wrapped(text, width=int(size[0] * 8.5), lines=1)
        canvas.text(
            0.3 / size[0],
            1 - below_top / size[1],
            drawable("\n".join(lines)),
            va="top",
            parse_math=False,
            **font,
        )


def _text_columns(inches: float) -> int:
    return int(inches * 12.2)


def _answer_lines(panel: SurfacePanel, columns: int) -> tuple[str, ...]:
    return wrapped(panel.answer, width=columns, lines=4)


def _panel_words(
    canvas: Canvas, panel: SurfacePanel, box: tuple[float, float, float, float], size: tuple[float, float]
) -> None:
    """Write a panel's title and answer at its top."""
    left, bottom, width, height = box
    columns = _text_columns(width * size[0])
    lines = _answer_lines(panel, columns)
    top = bottom + height - 0.05 / size[1]
    x = left + 0.3 / size[0]
    title = wrapped(panel.title, width=int(columns * 0.85), lines=1)
    canvas.text(x, top, drawable("".join(title)), va="top", fontsize=10.5, fontweight="bold", parse_math=False)
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
    axes: Any = canvas.add_axes(
        (left, bottom + 0.02, width, height - text_height - 0.02), projection="3d", computed_zorder=False
    )
    n_tokens = len(panel.tokens)
    x, y = np.meshgrid(np.array(figure.layers, dtype=float), np.arange(n_tokens, dtype=float), indexing="ij")
    z = np.clip(panel.values, -figure.z_limit, figure.z_limit)
    defined = np.isfinite(z).all(axis=1)
    if defined.sum() > 1 and n_tokens > 1:
        _sheet(axes, panel.lower, figure.z_limit, (x, y))
        axes.plot_surface(
            x[defined],
            y[defined],
            z[defined],
            cmap=colours,
            norm=limits,
            rstride=1,
            cstride=1,
            linewidth=0.15,
            edgecolor=(0, 0, 0, 0.25),
            antialiased=True,
            shade=False,
        )
        _sheet(axes, panel.upper, figure.z_limit, (x, y))
    else:
        seen = np.isfinite(z)
        axes.scatter(x[seen], y[seen], z[seen], c=z[seen], cmap=colours, norm=limits, s=14)
    axes.view_init(elev=figure.camera[0], azim=figure.camera[1])
    axes.set_box_aspect((1.15, 1.35, 0.7), zoom=1.12)
    axes.set(zlim=(-figure.z_limit, figure.z_limit), xlim=(figure.layers[0], figure.layers[-1] or 1))
    axes.set_ylim(0, max(n_tokens - 1, 1))
    # The lowest tick would stand on the last token's label.
    axes.set_zticks(np.linspace(-figure.z_limit, figure.z_limit, 9)[1:])
    places = thinned(n_tokens, 16)
    labels = [token_label(panel.tokens[index], length=14) for index in places]
    align = "left" if figure.camera[1] < 0 else "right"
    set_labels(axes, "y", places, labels, fontsize=6.5, ha=align, va="center", rotation_mode="anchor")
    axes.tick_params(axis="y", pad=-3)
    axes.tick_params(axis="x", pad=-2, labelsize=7.5)
    axes.tick_params(axis="z", pad=0, labelsize=7.5)
    axes.set_xlabel("Layer", labelpad=0)
    axes.set_zlabel("")  # the colour bar names the axis, and a label here runs into the next panel
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.97, 0.975, 0.98, 1.0))
        axis._axinfo["grid"].update(color="#d9dde3", linewidth=0.6)


def _sheet(
    axes: Any,
    ends: Float[np.ndarray, "layer token"] | None,
    limit: float,
    at: tuple[Float[np.ndarray, "layer token"], Float[np.ndarray, "layer token"]],
) -> None:
    """Draw one end of an interval as a thin grey sheet, where it is defined."""
    if ends is None:
        return
    defined = np.isfinite(ends).all(axis=1)
    height = np.clip(ends, -limit, limit)[defined]
    axes.plot_surface(at[0][defined], at[1][defined], height, color="#6b7280", alpha=0.06, linewidth=0, shade=False)


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
        ("y", [token_label(token, length=16) for token in panel.tokens], 60),
    ):
        places = thinned(len(names), most)
        set_labels(axes, axis, places, [names[place] for place in places], fontsize=7)
    axes.set_xlabel("Layer")
    axes.tick_params(length=2)
