"""Answers as coloured text: the activity of each token, averaged over layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from foretell.errors import InputError
from foretell.showing.figures.figure import TokenFigure, TokenPanel, Words
from foretell.showing.figures.palette import ColourScale
from foretell.showing.figures.surfaces.surface_figures import answer_title, default_limit, layers_text, scale_label
from foretell.storage.surfaces import AnswerActivity, Surface

__all__ = ["token_figure"]


def token_figure(
    surface: Surface,
    *,
    layers: Sequence[int] | None = None,
    z_limit: float | None = None,
    scale: ColourScale = "green-red",
    name: str = "tokens",
) -> TokenFigure:
    """Return every answer as text with tokens coloured by activity, on the scale of the surface.

    Args:
        surface: One question with its answers.
        layers: One layer, or several to average; None: those of the surface's course, else all.
        z_limit: As in `foretell.showing.figures.surfaces.surface_figures.surface_figures`.
        scale: Colours from low to high.
        name: File name without extension.

    Raises:
        InputError: There is no answer, or the surface has no such layer.

    Undefined:
        A token has no colour where a layer has no activity.
    """
    if not surface.answers:
        raise InputError("the surface holds no answer")
    z_limit = default_limit(surface) if z_limit is None else z_limit
    chosen = _chosen(surface, layers)
    panels = tuple(_panel(surface, index, chosen) for index in range(len(surface.answers)))
    values = np.concatenate([panel.values for panel in panels])
    below, above = int((values < -z_limit).sum()), int((values > z_limit).sum())
    n_outside = int(sum(panel.outside.sum() for panel in panels))
    banded = panels[0].null_lower is not None
    what = f"mean over layers {layers_text(chosen)}" if len(chosen) > 1 else f"layer {chosen[0]}"
    clipped = f" {below + above} of {len(values)} tokens are beyond ±{z_limit:g} and have the colour of the limit."
    missing = int(np.isnan(values).sum())
    words = Words(
        name,
        _title(surface.concept, n_outside, len(values), banded=banded),
        f"Each token of the answer is coloured by its activity, {what} of {surface.model} "
        f"({scale_label(surface)}; higher is more of “{surface.concept}”)."
        f"{clipped if below + above else ''}"
        f"{f' {missing} tokens have no activity and no colour.' if missing else ''}"
        + (
            f" Underlined: {n_outside} of {len(values)} tokens are outside the 5th to 95th percentile of random "
            "directions."
            if banded
            else ""
        ),
        f"The tokens of {len(panels)} answers, coloured by activity.",
        how=f"Red tokens are more of “{surface.concept}” than usual, "
        f"{'green' if scale == 'green-red' else 'blue'} ones less.",
        sources={name.replace("tokens", "activity", 1): surface.table()},
        section="surfaces",
    )
    return TokenFigure(
        words=words,
        question=surface.question,
        panels=panels,
        z_limit=z_limit,
        z_label=f"Activity ({scale_label(surface)})",
        scale=scale,
        extend="both" if below and above else "min" if below else "max" if above else "neither",
    )


def _title(concept: str, n_outside: int, n: int, *, banded: bool) -> str:
    if not banded:
        return f"The words of the answers show where “{concept}” is active"
    return f"{n_outside} of {n} tokens are outside the band of random directions for “{concept}”"


def _chosen(surface: Surface, layers: Sequence[int] | None) -> tuple[int, ...]:
    if layers is None:
        return surface.layers if surface.course is None else surface.course.layers
    absent = [layer for layer in layers if layer not in surface.layers]
    if absent or not len(layers):
        raise InputError(f"the surface has layers {surface.layers[0]} to {surface.layers[-1]}; give some of them")
    return tuple(layers)


def _panel(surface: Surface, index: int, chosen: tuple[int, ...]) -> TokenPanel:
    answer, course = surface.answers[index], surface.course
    rows = [surface.layers.index(layer) for layer in chosen]
    lower = upper = None
    if course is not None and chosen == course.layers and course.n_random:
        lower, upper = np.array(course.null_lower[index]), np.array(course.null_upper[index])
    elif len(rows) == 1:
        lower, upper = (_row(ends, rows[0]) for ends in (answer.null_lower, answer.null_upper))
    # The band of a mean over layers cannot be computed from the bands of the layers.
    return TokenPanel(answer_title(answer), answer.tokens, _mean(answer, rows), lower, upper)


def _mean(answer: AnswerActivity, rows: list[int]) -> Float[np.ndarray, " token"]:
    return np.asarray(answer.activity[rows].mean(axis=0, dtype=np.float64))


def _row(ends: Float[np.ndarray, "layer token"] | None, row: int) -> Float[np.ndarray, " token"] | None:
    return None if ends is None else ends[row]
