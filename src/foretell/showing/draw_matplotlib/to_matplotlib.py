"""Draw figures with matplotlib: png at 200 dots per inch, svg and pdf, with identical bytes for identical values.

Only matplotlib's object interface is used, so that the caller's pyplot state is not changed.

    from foretell.showing.draw_matplotlib import to_matplotlib
    png = to_matplotlib.render(to_matplotlib.draw(figure), "png")
"""

from __future__ import annotations

import io
import math
from typing import Literal

import foretell.showing.draw_matplotlib.any_backend  # noqa: F401 - before matplotlib itself

# isort: split
import numpy as np
from matplotlib.figure import Figure as Canvas
from PIL import Image

from foretell.showing.draw_matplotlib.bar_charts import draw_bars
from foretell.showing.draw_matplotlib.canvas import HEADING, paper_style
from foretell.showing.draw_matplotlib.curve_charts import draw_curves
from foretell.showing.draw_matplotlib.dot_charts import draw_dots
from foretell.showing.draw_matplotlib.map_charts import draw_maps
from foretell.showing.draw_matplotlib.paper_width import Style, width_of
from foretell.showing.draw_matplotlib.surface_charts import draw_surfaces
from foretell.showing.draw_matplotlib.token_charts import draw_tokens
from foretell.showing.figures.figure import BarFigure, CurveFigure, DotFigure, Figure, MapFigure, SurfaceFigure

__all__ = ["DOTS_PER_INCH", "draw", "heading_share", "render", "still"]

DOTS_PER_INCH = 200
"""Resolution of png files."""

_STILL_COLOURS = (24, 48, 96, 192)
_VISIBLE, _MOST_OFF = 32, 0.006
"""How far a channel may be off (of 255), and the share of pixels that may be off by more."""

Format = Literal["png", "svg", "pdf"]


def draw(figure: Figure, *, style: Style = "page") -> Canvas:
    """Return the figure drawn on a matplotlib canvas without a window.

    Args:
        figure: The figure.
        style: "page", with its title; "column" or "two-column", 3.25 or 6.75 inches wide for a paper, in small letters
            and without the title, which belongs to the caption.
    """
    with width_of(style), paper_style():
        canvas = _drawn(figure)
        if (engine := canvas.get_layout_engine()) is not None:
            engine.execute(canvas)
            canvas.set_layout_engine("none")  # compute the layout once, not for every file format
        return canvas


def _drawn(figure: Figure) -> Canvas:
    if isinstance(figure, CurveFigure):
        return draw_curves(figure)
    if isinstance(figure, DotFigure):
        return draw_dots(figure)
    if isinstance(figure, BarFigure):
        return draw_bars(figure)
    if isinstance(figure, MapFigure):
        return draw_maps(figure)
    return draw_surfaces(figure) if isinstance(figure, SurfaceFigure) else draw_tokens(figure)


def render(canvas: Canvas, kind: Format, *, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Return a drawn canvas as the bytes of an image file, without timestamps or program names.

    Args:
        canvas: The result of `draw`.
        kind: Picture format.
        dots_per_inch: Resolution of a png.
    """
    metadata: dict[Format, dict[str, None]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    buffer = io.BytesIO()
    with paper_style():
        canvas.savefig(buffer, format=kind, dpi=dots_per_inch, metadata=metadata[kind])
    return buffer.getvalue()


def heading_share(canvas: Canvas) -> float:
    """Return which share of the height of a drawn canvas its heading takes; 0 if it has none."""
    headings = [text for text in canvas.texts if text.get_gid() == HEADING and text.get_text()]
    ends = [text.get_window_extent().y0 - 1 for text in headings]  # hinting moves letters by less than a pixel
    return 1.0 - min(ends, default=canvas.bbox.height) / canvas.bbox.height


def still(png: bytes, *, scale: float = 0.5, below: float = 0.0) -> bytes:
    """Return a smaller picture as WebP, for the page.

    Lines and text are kept sharp in as few colours as they need; a surface takes less room with all of its colours.

    Args:
        png: The picture.
        scale: Pixels in each direction, as a share of those of the picture.
        below: Share of the height that is left out at the top.
    """
    with Image.open(io.BytesIO(png)) as image:
        part = image.convert("RGB").crop((0, math.ceil(below * image.height), *image.size))
        small = part.resize([round(size * scale) for size in part.size], Image.Resampling.BOX)
    buffer, n_colours = io.BytesIO(), _fewest_colours(small)
    if n_colours is None:
        small.save(buffer, "webp", quality=55, method=3)
    else:
        _in_colours(small, n_colours).save(buffer, "webp", lossless=True, quality=100, method=4)
    return buffer.getvalue()


def _fewest_colours(image: Image.Image) -> int | None:
    """Return in how few colours hardly any pixel looks different; None where it needs many."""
    sample = image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST)
    exact = np.asarray(sample, dtype=np.int16)
    for n_colours in _STILL_COLOURS:
        off = np.abs(np.asarray(_in_colours(sample, n_colours), dtype=np.int16) - exact).max(axis=2)
        if np.mean(off > _VISIBLE) < _MOST_OFF:
            return n_colours
    return None


def _in_colours(image: Image.Image, n_colours: int) -> Image.Image:
    return image.quantize(n_colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
