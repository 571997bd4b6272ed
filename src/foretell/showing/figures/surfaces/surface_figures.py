"""The activity of several answers side by side, on one scale, as surfaces and as flat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from foretell.errors import InputError
from foretell.showing.figures.figure import SurfaceFigure, SurfacePanel, Words
from foretell.showing.figures.palette import ColourScale
from foretell.showing.figures.surfaces.surface_bars import is_small
from foretell.showing.figures.surfaces.surface_camera import best_camera
from foretell.showing.figures.titles import level_of_answers
from foretell.showing.rounding import number_text
from foretell.storage.surfaces import AnswerActivity, Surface

__all__ = ["answer_title", "default_limit", "layers_text", "scale_label", "surface_figures"]

_SCALE_LABELS = {
    "z": "standard deviations",
    "raw": "raw projection",
    "cosine": "cosine",
}


def surface_figures(
    surface: Surface,
    *,
    z_limit: float | None = None,
    scale: ColourScale = "green-red",
    null_band: bool = True,
    name: str = "activity",
) -> tuple[SurfaceFigure, SurfaceFigure]:
    """Return the surfaces of all answers, and the same values as flat maps.

    Args:
        surface: One question with its answers.
        z_limit: Scores beyond plus or minus this limit are clipped and counted, in the units of the surface; None is 2
            on scale z, and otherwise the largest score, so that nothing is clipped.
        scale: Colours from low to high.
        null_band: Draw the band of random directions as two sheets, if the surface has it.
        name: Prefix of the file names.

    Raises:
        InputError: There is no answer, an answer has no token, or the limit is not positive.
    """
    if not surface.answers:
        raise InputError("the surface holds no answer")
    if z_limit is None:
        z_limit = default_limit(surface)
    if not (np.isfinite(z_limit) and z_limit > 0):
        raise InputError(f"z_limit must be a positive number, not {z_limit}")
    empty = [answer.title for answer in surface.answers if not answer.tokens]
    if empty:
        raise InputError(f"{', '.join(empty)}: an answer of zero tokens has no surface")
    panels = tuple(
        SurfacePanel(
            title=answer_title(answer),
            answer=answer.answer,
            tokens=answer.tokens,
            values=answer.activity,
            lower=answer.lower,
            upper=answer.upper,
            null_lower=answer.null_lower if null_band else None,
            null_upper=answer.null_upper if null_band else None,
        )
        for answer in surface.answers
    )
    wide = [np.clip(panel.values, -z_limit, z_limit) / z_limit for panel in panels if not is_small(panel)]
    camera = best_camera(wide)
    return (
        _figure(surface, panels, z_limit=z_limit, scale=scale, name=name, shape="surface", camera=camera),
        _figure(surface, panels, z_limit=z_limit, scale=scale, name=f"{name}-flat", shape="flat", camera=camera),
    )


def scale_label(surface: Surface) -> str:
    """Return the unit of a surface.

    Example:
        >>> scale_label(Surface("?", "lying", "z", "tiny", (0,), ()))
        'standard deviations'
    """
    return _SCALE_LABELS.get(surface.scale, surface.scale)


def layers_text(layers: Sequence[int]) -> str:
    """Return layers as text, consecutive ones as a range.

    Example:
        >>> layers_text((3, 4, 5)), layers_text((3, 5))
        ('3 to 5', '3, 5')
    """
    if len(layers) > 2 and tuple(layers) == tuple(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]} to {layers[-1]}"
    return ", ".join(str(layer) for layer in layers)


def default_limit(surface: Surface) -> float:
    """Return 2 on scale z, else the largest score rounded up to two digits."""
    if surface.scale == "z":
        return 2.0
    sizes = np.concatenate([np.abs(answer.activity).ravel() for answer in surface.answers])
    largest = float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    if largest == 0.0:
        return 1.0
    step = 10.0 ** (np.floor(np.log10(largest)) - 1)
    return float(np.ceil(largest / step) * step)


def answer_title(answer: AnswerActivity) -> str:
    """Return an answer's title with its mean log-probability, which is the baseline of any direction."""
    if answer.mean_logprob is None:
        return answer.title
    return f"{answer.title} (mean log-probability {number_text(answer.mean_logprob, digits=2)})"


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
    values = np.concatenate([panel.values.ravel() for panel in panels])
    below, above = int((values < -z_limit).sum()), int((values > z_limit).sum())
    cells = int(np.isfinite(values).sum())
    missing = values.size - cells
    unit = scale_label(surface)
    sides = [f"{n} are {side}" for n, side in ((below, f"below −{z_limit:g}"), (above, f"above {z_limit:g}")) if n]
    clipped = (
        f" Of {cells} scores, {' and '.join(sides)}; they are clipped to the limit."
        if sides
        else f" All {cells} scores are within ±{z_limit:g}; none is clipped."
    )
    gaps = f" {missing} scores are undefined and not drawn." if missing else ""
    solid = shape == "surface"
    ends = " Grey sheets: 95 % interval of the mean at each point." if solid and panels[0].lower is not None else ""
    small = sum(map(is_small, panels)) if solid else 0
    bars = (
        f" {'An answer' if small == 1 else f'{small} answers'} with fewer than three tokens or layers "
        f"{'is' if small == 1 else 'are'} drawn as bars; lines stand for the sheets."
        if small
        else ""
    )
    band = _band_label(surface) if solid and panels[0].null_lower is not None else ""
    sheets = f" {_band_words(surface, panels, band)}" if band else ""
    extend: Literal["neither", "min", "max", "both"] = (
        "both" if below and above else "min" if below else "max" if above else "neither"
    )
    known = any(answer.mean_logprob is not None for answer in surface.answers)
    likely = " Log-probabilities are in nats per token." if known else ""
    words = Words(
        name,
        level_of_answers(surface) if solid else f"The same activity along “{surface.concept}” as flat maps",
        f"One point per layer and generated token of {surface.model}: the projection of the hidden state on the "
        f"direction “{surface.concept}” ({unit}; higher is more of the concept). All panels have the same "
        f"scale.{clipped}{gaps}{ends}{sheets}{bars}{likely}",
        f"Activity {'surfaces' if shape == 'surface' else 'maps'} over layers {surface.layers[0]} to "
        f"{surface.layers[-1]} for {len(panels)} answers to one question.",
        how=f"{'Height and colour are' if solid else 'Colour is'} the activity at a layer and token: red is more of "
        f"the concept, {'green' if scale == 'green-red' else 'blue'} less.",
        sources={name.removesuffix("-flat"): surface.table()},
        section="surfaces",
        folded=not solid,
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
        band_label=band,
    )


def _band_label(surface: Surface) -> str:
    n_random = surface.course.n_random if surface.course is not None else 0
    return f"{n_random or ''} random directions, 5th to 95th percentile".strip()


def _band_words(surface: Surface, panels: tuple[SurfacePanel, ...], label: str) -> str:
    """Describe the sheets, and how many scores are outside of them."""
    outside = inside = 0
    for panel in panels:
        if panel.null_lower is not None and panel.null_upper is not None:
            known = np.isfinite(panel.values)
            beyond = (panel.values < panel.null_lower) | (panel.values > panel.null_upper)
            outside, inside = outside + int(beyond[known].sum()), inside + int((~beyond)[known].sum())
    scaled = ", each calibrated on the same tokens" if surface.scale == "z" else ""
    return f"Blue sheets: {label}{scaled}; {outside / max(outside + inside, 1):.0%} of the scores are outside."
