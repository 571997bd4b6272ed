"""A matplotlib figure that shows itself in a notebook.

IPython draws figures only after `pyplot` was imported there, which chooses a backend for the whole session.
"""

from __future__ import annotations

from foretell.showing.draw_matplotlib import to_matplotlib

# isort: split
from matplotlib.figure import Figure

__all__ = ["NotebookCanvas", "shown_in_notebooks"]

_DOTS_PER_INCH = 96


class NotebookCanvas(Figure):
    """A figure with a png of itself."""

    def _repr_png_(self) -> bytes:
        return to_matplotlib.render(self, "png", dots_per_inch=_DOTS_PER_INCH)


def shown_in_notebooks(canvas: Figure) -> NotebookCanvas:
    """Return the same figure as one that shows itself."""
    # the class adds a method and no state
    canvas.__class__ = NotebookCanvas
    assert isinstance(canvas, NotebookCanvas)  # noqa: S101 - for type checkers
    return canvas
