"""Activity along answers beside random directions, where the answers stand among known ones, and steering curves.

Every sentence repeats numbers that came with the surface or the table; nothing is estimated here.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from foretell.showing.figures.figure import Curve, CurveFigure, CurvePanel, Level, Words
from foretell.showing.figures.surface_figures import layers_text
from foretell.showing.figures.table_cells import column
from foretell.showing.rounding import number_text
from foretell.storage.surfaces import Standing, Surface

__all__ = ["course_figure", "standing_text", "steering_figure"]


def course_figure(surface: Surface, *, name: str = "course") -> CurveFigure | None:
    """Return the activity along each answer, mean over the chosen layers, with the band of random directions.

    Args:
        surface: One question with its answers.
        name: File name without extension.

    Returns:
        One panel per answer, or None where the surface has no course.
    """
    course = surface.course
    if course is None or not course.mean:
        return None
    panels = []
    for index, answer in enumerate(surface.answers):
        x, y = np.arange(len(answer.tokens), dtype=float), np.array(course.mean[index])
        curves = [Curve(surface.concept, x, y, tone=1, marker=0)]
        if course.n_random:
            lower, upper = np.array(course.null_lower[index]), np.array(course.null_upper[index])
            middle = (lower + upper) / 2
            curves.append(Curve("random directions", x, middle, tone=0, dash=1, lower=lower, upper=upper))
        levels = (Level(f"mean {number_text(float(y.mean()), digits=2)}", float(y.mean()), dash=2),)
        panels.append(CurvePanel(answer.title, tuple(curves), levels))
    values = np.concatenate(
        [np.array(line) for group in (course.mean, course.null_lower, course.null_upper) for line in group]
    )
    margin = 0.06 * float(values.max() - values.min() or 1.0)
    null = (
        f" The shaded band holds the 5th to 95th percentile of {course.n_random} directions drawn at random"
        + (
            ", each one vector with a scale of its own from the same calibration tokens."
            if surface.scale == "z"
            else "."
        )
        if course.n_random
        else ""
    )
    words = Words(
        name,
        f"Activity along “{surface.concept}”, token by token",
        f"Mean over layers {layers_text(course.layers)} of {surface.model} at each token of the answer.{null}"
        f" {standing_text(surface.standing, surface.concept)}".rstrip(),
        f"Activity over token position for {len(panels)} answers, with a band of random directions.",
    )
    y_range = (float(values.min()) - margin, float(values.max()) + margin)
    return CurveFigure(words, tuple(panels), "Token of the answer", "Activity", y_range=y_range)


def standing_text(standing: Standing | None, concept: str) -> str:
    """Say where the answers stand among held-out ones, and how little one example proves.

    Rule: the answers' places are repeated; "not told apart" is said where the held-out AUC is below 0.6; the baseline
    is said to do as well or better where its AUC is not below that of the direction.

    Args:
        standing: Where the answers stand; None says that it is not known.
        concept: What the direction stands for.
    """
    if standing is None:
        return "One question proves nothing by itself, and no held-out answers are at hand to compare with."
    placed = " ".join(
        f"{answer.title}: {number_text(answer.value, digits=2)}, above {answer.above_positive:.0%} of the answers that "
        f"show “{concept}” and {answer.above_negative:.0%} of those that do not."
        for answer in standing.answers
    )
    apart = f"AUC {number_text(standing.auc, digits=2)}"
    verdict = f"these layers hardly tell them apart ({apart})" if standing.auc < 0.6 else f"they overlap ({apart})"
    better = standing.baseline_auc >= standing.auc
    baseline = (
        f"{standing.baseline.replace('_', ' ')} alone reaches {number_text(standing.baseline_auc, digits=2)}"
        f"{', no less than the direction does' if better else ''}"
    )
    return (
        f"Against {standing.n_positive} + {standing.n_negative} held-out answers on layers "
        f"{layers_text(standing.layers)}: {placed} Over all of those, {verdict}; {baseline}. "
        "One example proves nothing by itself."
    )


def steering_figure(table: pl.DataFrame, *, name: str = "steering") -> CurveFigure:
    """Return how the odds of the positive answer move with the dose, beside random directions of the same length.

    Args:
        table: The columns of `foretell.schema.tables.STEERING`.
        name: File name without extension.

    Returns:
        Two panels per concept: the whole shift, and the part of it that changes its sign with the dose.
    """
    panels = []
    for part in table.partition_by("concept", maintain_order=True):
        own, control = (part.filter(pl.col("kind") == kind).sort("dose") for kind in ("direction", "random"))
        concept = str(part.item(0, "concept"))
        whole = _steered(own, control, "shift", ("draw_lower", "draw_upper"))
        panels.append(CurvePanel(f"{concept}: whole shift", whole, (Level("nothing added", 0.0),)))
        own, control = (side.filter((pl.col("dose") > 0) & pl.col("directed").is_not_null()) for side in (own, control))
        if not own.is_empty():
            directed = _steered(own, control, "directed", ("directed_lower", "directed_upper"))
            panels.append(CurvePanel(f"{concept}: what depends on its sign", directed, (Level("nothing added", 0.0),)))
    n_pairs = int(table.item(0, "n_pairs"))
    words = Words(
        name,
        "Does the direction act?",
        f"How much the log-odds of the positive over the negative answer move when the direction is added, mean of "
        f"{n_pairs} pairs that it was not fitted on, with 95 % interval. A dose of 1 is one standard deviation of the "
        "calibration tokens, shared by the layers. Random directions are added with the same length. A push of any "
        "kind makes a model less sure of everything, whichever way it goes: only what changes its sign with the dose "
        f"is the direction's own doing.{_steered_words(table)}",
        "Shift of log-odds over dose for the direction and for random directions.",
    )
    return CurveFigure(words, tuple(panels), "Dose (standard deviations)", "Shift of log-odds (nats)")


def _steered(own: pl.DataFrame, control: pl.DataFrame, shown: str, ends: tuple[str, str]) -> tuple[Curve, ...]:
    """Return the curve of the direction and that of random ones with their lowest and highest."""
    x, y, lower, upper = (column(own, name) for name in ("dose", shown, f"{shown}_lower", f"{shown}_upper"))
    curves = [Curve(f"“{own.item(0, 'concept')}”", x, y, tone=1, marker=0, lower=lower, upper=upper)]
    if not control.is_empty():
        x, y, lower, upper = (column(control, name) for name in ("dose", shown, *ends))
        label = f"{control.item(0, 'n_draws')} random directions, lowest to highest"
        curves.append(Curve(label, x, y, tone=0, dash=1, marker=1, lower=lower, upper=upper))
    return tuple(curves)


def _steered_words(table: pl.DataFrame) -> str:
    """Say what the largest dose with an opposite did, and how many random directions did as much."""
    known = table.filter((pl.col("kind") == "direction") & pl.col("directed").is_not_null() & (pl.col("dose") > 0))
    if known.is_empty():
        return " No dose was given with its opposite, so the two cannot be told apart."
    last = known.sort("dose").row(-1, named=True)
    ends = [number_text(last[name], digits=2) for name in ("directed", "directed_lower", "directed_upper")]
    rare = (
        "" if last["directed_p"] is None else f"; random directions reach that size with p = {last['directed_p']:.2f}"
    )
    return f" At dose {last['dose']:g} that is {ends[0]} ({ends[1]} to {ends[2]}) nats{rare}."
