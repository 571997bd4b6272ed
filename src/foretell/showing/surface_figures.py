"""The activity of several answers side by side on one scale, as surfaces and as flat maps."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from foretell.errors import InputError
from foretell.showing.figures import SurfaceFigure, SurfacePanel, Words
from foretell.showing.palette import ColourScale
from foretell.showing.rounding import number_text
from foretell.surfaces import AnswerActivity, Surface

__all__ = ["best_camera", "surface_figures"]

_SCALE_LABELS = {
    "z": "standard deviations",
    "raw": "raw projection",
    "cosine": "cosine",
}
_AZIMUTHS = (-65.0, -55.0, -45.0, -35.0, 35.0, 45.0, 55.0)
_ELEVATION = 30.0
_RAY_STEPS = 24


def surface_figures(
    surface: Surface,
    *,
    z_limit: float | None = None,
    scale: ColourScale = "green-red",
    name: str = "activity",
) -> tuple[SurfaceFigure, SurfaceFigure]:
    """Return the surfaces of all answers and the same numbers as flat maps.

    Args:
        surface: One question with its answers.
        z_limit: Scores beyond plus or minus this are drawn at the limit and counted, in the units of the surface; None
            is 2 on scale z, and elsewhere the largest score, so that nothing is clipped.
        scale: Colours from low to high.
        name: Start of the file names.

    Raises:
        InputError: There is no answer, an answer has no token, or the limit is not positive.
    """
    if not surface.answers:
        raise InputError("the surface holds no answer")
    if z_limit is None:
        z_limit = _default_limit(surface)
    if not (np.isfinite(z_limit) and z_limit > 0):
        raise InputError(f"z_limit must be a positive number, not {z_limit}")
    empty = [answer.title for answer in surface.answers if not answer.tokens]
    if empty:
        raise InputError(f"{', '.join(empty)}: an answer of zero tokens has no surface")
    panels = tuple(
        SurfacePanel(
            title=_title(answer),
            answer=answer.answer,
            tokens=answer.tokens,
            values=answer.activity,
            n_below=int((answer.activity < -z_limit).sum()),
            n_above=int((answer.activity > z_limit).sum()),
            lower=answer.lower,
            upper=answer.upper,
        )
        for answer in surface.answers
    )
    camera = best_camera([np.clip(panel.values, -z_limit, z_limit) / z_limit for panel in panels])
    return (
        _figure(surface, panels, z_limit=z_limit, scale=scale, name=name, shape="surface", camera=camera),
        _figure(surface, panels, z_limit=z_limit, scale=scale, name=f"{name}-flat", shape="flat", camera=camera),
    )


def _default_limit(surface: Surface) -> float:
    """Return 2 on scale z, else the largest score rounded up to two digits."""
    if surface.scale == "z":
        return 2.0
    sizes = np.concatenate([np.abs(answer.activity).ravel() for answer in surface.answers])
    largest = float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    if largest == 0.0:
        return 1.0
    step = 10.0 ** (np.floor(np.log10(largest)) - 1)
    return float(np.ceil(largest / step) * step)


def _title(answer: AnswerActivity) -> str:
    """Return an answer's title with its log-probability, the baseline that any direction must be held against."""
    if answer.mean_logprob is None:
        return answer.title
    return f"{answer.title} (mean log-probability {number_text(answer.mean_logprob, digits=2)} nats per token)"


def _figure(
    surface: Surface,
    panels: tuple[SurfacePanel, ...],
    *,
    z_limit: float,
    scale: ColourScale,
    name: str,
    shape: Literal["surface", "flat"],
    camera: tuple[float, float],
) -> SurfaceFigure:
    below, above = sum(panel.n_below for panel in panels), sum(panel.n_above for panel in panels)
    cells = sum(int(np.isfinite(panel.values).sum()) for panel in panels)
    missing = sum(int((~np.isfinite(panel.values)).sum()) for panel in panels)
    unit = _SCALE_LABELS.get(surface.scale, surface.scale)
    sides = [f"{n} lie {side}" for n, side in ((below, f"below −{z_limit:g}"), (above, f"above {z_limit:g}")) if n]
    clipped = (
        f" Of {cells} scores, {' and '.join(sides)}; they are drawn at the limit."
        if sides
        else f" All {cells} scores lie within ±{z_limit:g}; none is clipped."
    )
    gaps = f" {missing} scores are undefined and left open." if missing else ""
    sheets = surface.answers[0].lower is not None and shape == "surface"
    ends = " Grey sheets: 95 % interval of the mean at each point." if sheets else ""
    extend: Literal["neither", "min", "max", "both"] = (
        "both" if below and above else "min" if below else "max" if above else "neither"
    )
    words = Words(
        name,
        f"Activity along “{surface.concept}” while answering",
        f"One point per layer and generated token of {surface.model}; the score is the hidden state's lean along the "
        f"direction “{surface.concept}” ({unit}; higher is more of it). All panels share one "
        f"scale.{clipped}{gaps}{ends}",
        f"Activity {'surfaces' if shape == 'surface' else 'maps'} over layers {surface.layers[0]} to "
        f"{surface.layers[-1]} for {len(panels)} answers to one question.",
    )
    return SurfaceFigure(
        words=words,
        question=surface.question,
        panels=panels,
        layers=surface.layers,
        z_limit=z_limit,
        z_label=f"Activity ({unit})",
        shape=shape,
        camera=camera,
        scale=scale,
        extend=extend,
    )


def best_camera(heights: list[Float[np.ndarray, "..."]]) -> tuple[float, float]:
    """Return elevation and azimuth, in degrees, of the view in which the surfaces hide least of themselves.

    A point is hidden where the surface rises above the line from it to the eye. Only views from the front are tried,
    so that layers run from left to right and the tokens' labels stay readable.

    Args:
        heights: `(layer, token)` arrays scaled to -1 to 1; nan hides nothing.

    Example:
        >>> best_camera([np.zeros((4, 5))])
        (30.0, -55.0)
    """
    preferred = sorted(_AZIMUTHS, key=lambda azimuth: abs(azimuth + 55.0))
    hidden = {azimuth: sum(_hidden_share(height, azimuth) for height in heights) for azimuth in preferred}
    best = min(preferred, key=lambda azimuth: round(hidden[azimuth], 2))
    return _ELEVATION, best


def _hidden_share(height: Float[np.ndarray, "layer token"], azimuth: float) -> float:
    """Return the share of a surface's points that it hides from an eye at `azimuth`, on a box of 1 x 1 x 0.75."""
    box = np.nan_to_num(height, nan=-1.0) * 0.375
    n_layers, n_tokens = box.shape
    x, y = np.meshgrid(np.linspace(0, 1, n_layers), np.linspace(0, 1, n_tokens), indexing="ij")
    towards = np.array([np.cos(np.deg2rad(azimuth)), np.sin(np.deg2rad(azimuth))])
    rise = np.tan(np.deg2rad(_ELEVATION))
    hidden = np.zeros(box.shape, dtype=bool)
    for distance in np.linspace(0.04, 1.2, _RAY_STEPS):
        at_x, at_y = x + distance * towards[0], y + distance * towards[1]
        inside = (at_x >= 0) & (at_x <= 1) & (at_y >= 0) & (at_y <= 1)
        row = np.clip(np.rint(at_x * (n_layers - 1)), 0, n_layers - 1).astype(int)
        column = np.clip(np.rint(at_y * (n_tokens - 1)), 0, n_tokens - 1).astype(int)
        hidden |= inside & (box[row, column] > box + distance * rise + 0.02)
    return float(hidden.mean())
