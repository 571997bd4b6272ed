"""Figures of objects, drawn by either library: what `plot` of a study, run, surface, direction or monitor returns.

plot_study(study, "early", library="plotly")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from foretell.errors import ForetellError, InputError
from foretell.showing.figures.course_figures import course_figure
from foretell.showing.figures.figure import Figure
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.figures.token_figures import token_figure
from foretell.showing.notebook.object_figures import overview_figure, run_heads_figure
from foretell.showing.report_data import ReportData, StudyLike
from foretell.storage.surfaces import Surface

__all__ = [
    "check_library",
    "draw_with",
    "plot_heads",
    "plot_named",
    "plot_study",
    "plot_surface",
    "thumbnail_of_surface",
]

_LIBRARIES = ("matplotlib", "plotly")
_SHORT = {
    "heads": "map-auc",
    "roc": "roc-single-metrics",
    "forest": "roc-forest",
    "layers": "hidden-layers",
    "direction": "direction-by-layer",
}
"""Shorter names of a study's figures."""
_OVERVIEW = "overview"


def draw_with(library: str, figure: Figure) -> Any:
    """Return a figure drawn by a library.

    Args:
        library: "matplotlib" or "plotly".
        figure: What to draw.

    Raises:
        InputError: There is no such library, or it does not draw this kind of figure.
    """
    check_library(library)
    if library == "plotly":
        from foretell.showing.draw_plotly.one_figure import one_figure

        return one_figure(figure)
    from foretell.showing.draw_matplotlib import to_matplotlib
    from foretell.showing.notebook.notebook_canvas import shown_in_notebooks

    return shown_in_notebooks(to_matplotlib.draw(figure))


def check_library(library: str) -> None:
    """Refuse a library that does not draw, before anything is computed.

    Raises:
        InputError: There is no such library.
    """
    if library not in _LIBRARIES:
        raise InputError(f"there is no library {library!r}: choose among {', '.join(_LIBRARIES)}")


def plot_study(study: StudyLike, name: str | None, *, library: str) -> Any:
    """Return one figure of a study.

    Args:
        study: A study; what is not computed yet is computed.
        name: Name of the figure, or a shorter one; None: what each signal tells of each behaviour.
        library: "matplotlib" or "plotly".

    Raises:
        InputError: The study has no such figure (the message lists those it has), or there is no such library.
    """
    check_library(library)
    data = ReportData.from_study(study)
    if name is None or name == _OVERVIEW:
        return draw_with(library, overview_figure(data))
    found = {figure.words.name: figure for figure in study_figures(data)}
    figure = found.get(name) or found.get(_SHORT.get(name, ""))
    if figure is None:
        names = [_OVERVIEW, *(short for short, long in _SHORT.items() if long in found), *found]
        raise InputError(f"the study has no figure {name!r}: choose among {', '.join(names)}")
    return draw_with(library, figure)


def plot_surface(surface: Surface, name: str, *, library: str, z_limit: float | None) -> Any:
    """Return one figure of a surface; see `foretell.Surface.plot`."""
    check_library(library)
    if name == "tokens":
        return draw_with(library, token_figure(surface, z_limit=z_limit))
    if name == "course":
        course = course_figure(surface)
        if course is None:
            raise InputError('the surface has no course: make it with `foretell.surface`, or plot "surfaces"')
        return draw_with(library, course)
    names = ("surfaces", "flat")
    if name not in names:
        raise InputError(f"a surface has no figure {name!r}: choose among surfaces, flat, tokens, course")
    return draw_with(library, surface_figures(surface, z_limit=z_limit)[names.index(name)])


def thumbnail_of_surface(surface: Surface) -> bytes | None:
    """Return a small png of a surface; None where it cannot be drawn, as where an answer has no token."""
    from foretell.showing.draw_matplotlib import to_matplotlib

    try:
        canvas = to_matplotlib.draw(surface_figures(surface)[0])
    except ForetellError:
        return None
    return to_matplotlib.render(canvas, "png", dots_per_inch=72)


def plot_heads(means: pl.DataFrame, metric: str, *, by: str, library: str) -> Any:
    """Return a map of heads; see `foretell.Run.plot_heads`."""
    return draw_with(library, run_heads_figure(means, metric, by=by))


def plot_named(figures: Mapping[str, Any], name: str, what: str, *, library: str) -> Any:
    """Return the figure that a function of that name makes.

    Args:
        figures: Functions without arguments, by the names of their figures.
        name: One of them.
        what: Of what they are, such as "a direction".
        library: "matplotlib" or "plotly".

    Raises:
        InputError: There is no such figure or library.
    """
    check_library(library)
    if name not in figures:
        raise InputError(f"{what} has no figure {name!r}: choose among {', '.join(figures)}")
    return draw_with(library, figures[name]())
