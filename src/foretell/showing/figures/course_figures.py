"""Activity along answers with the band of random directions, comparison with held-out answers, and steering curves.

All numbers are taken from the surface or the table; nothing is estimated here.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from foretell.showing.figures.figure import Curve, CurveFigure, CurvePanel, Level, Words
from foretell.showing.figures.surfaces.surface_figures import layers_text, scale_label
from foretell.showing.figures.table_cells import column
from foretell.showing.figures.titles import steered
from foretell.showing.rounding import number_text
from foretell.storage.surfaces import HeldOutComparison, Surface

__all__ = ["comparison_text", "course_figure", "steering_figure"]


def course_figure(surface: Surface, *, name: str = "course") -> CurveFigure | None:
    """Return the activity by token position, mean over the chosen layers, with the band of random directions.

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
        mean = float(y.mean())
        title = f"{answer.title}: mean {number_text(mean, digits=2)}"
        panels.append(CurvePanel(title, tuple(curves), (Level("mean of the answer", mean, dash=2),)))
    values = np.concatenate(
        [np.array(line) for group in (course.mean, course.null_lower, course.null_upper) for line in group]
    )
    margin = 0.06 * float(values.max() - values.min() or 1.0)
    null = (
        f" The shaded band is the 5th to 95th percentile of {course.n_random} random directions"
        + (", each calibrated on the same tokens." if surface.scale == "z" else ".")
        if course.n_random
        else ""
    )
    words = Words(
        name,
        f"“{surface.concept}” {_outside(surface)} along the answers",
        f"Mean over layers {layers_text(course.layers)} of {surface.model} at each token of the answer.{null}"
        f" {comparison_text(surface.held_out, surface.concept)}".rstrip(),
        f"Activity over token position for {len(panels)} answers, with a band of random directions.",
        how="A line outside the shaded band is more than random directions show; inside it, it means nothing.",
        sources={name.replace("course", "activity", 1): surface.table()},
        section="surfaces",
    )
    y_range = (float(values.min()) - margin, float(values.max()) + margin)
    return CurveFigure(
        words,
        tuple(panels),
        "Token of the answer",
        f"Activity ({scale_label(surface)})",
        y_range=y_range,
        one_legend=True,
    )


def _outside(surface: Surface) -> str:
    """Say how many tokens are outside the band of random directions."""
    course = surface.course
    if course is None or not course.n_random:
        return "rises and falls"
    ends = zip(course.mean, course.null_lower, course.null_upper, strict=True)
    beyond = [not low <= value <= high for lines in ends for value, low, high in zip(*lines, strict=True)]
    return f"is outside the band of random directions at {sum(beyond)} of {len(beyond)} tokens"


def comparison_text(comparison: HeldOutComparison | None, concept: str) -> str:
    """Compare the answers with held-out ones, in words.

    The separation is called poor where the held-out AUC is below 0.6. The baseline is said to perform as well or better
    where its AUC is not below that of the direction.

    Args:
        comparison: Ranks of the answers among held-out ones; None if there are none.
        concept: Concept of the direction.
    """
    if comparison is None:
        return "This is one example, without held-out answers for comparison; it is not evidence."
    placed = " ".join(
        f"{answer.title}: {number_text(answer.value, digits=2)}, above {answer.above_positive:.0%} of the answers with "
        f"“{concept}” and {answer.above_negative:.0%} of those without."
        for answer in comparison.answers
    )
    separation = "poor separation" if comparison.auc < 0.6 else "separation with overlap"
    better = comparison.baseline_auc >= comparison.auc
    baseline = (
        f"{comparison.baseline.replace('_', ' ')} alone has AUC {number_text(comparison.baseline_auc, digits=2)}"
        f"{', as good as the direction or better' if better else ''}"
    )
    return (
        f"Compared with {comparison.n_positive} + {comparison.n_negative} held-out answers on layers "
        f"{layers_text(comparison.layers)}: {placed} All held-out answers: {separation} (AUC "
        f"{number_text(comparison.auc, digits=2)}); {baseline}. One example is not evidence."
    )


def steering_figure(table: pl.DataFrame) -> CurveFigure:
    """Return the shift of the log-odds of the positive answer by dose, with random directions of the same length.

    Args:
        table: The columns of `foretell.schema.tables.STEERING`.

    Returns:
        Two panels per concept: the total shift, and its component that changes sign with the dose.
    """
    panels = []
    for part in table.partition_by("concept", maintain_order=True):
        own, control = (part.filter(pl.col("kind") == kind).sort("dose") for kind in ("direction", "random"))
        concept = str(part.item(0, "concept"))
        whole = _steered(own, control, "shift", ("draw_lower", "draw_upper"))
        panels.append(CurvePanel(f"{concept}: total shift", whole, (Level("no steering", 0.0),)))
        own, control = (side.filter((pl.col("dose") > 0) & pl.col("directed").is_not_null()) for side in (own, control))
        if not own.is_empty():
            directed = _steered(own, control, "directed", ("directed_lower", "directed_upper"))
            panels.append(CurvePanel(f"{concept}: directed component", directed, (Level("no steering", 0.0),)))
    n_pairs = int(table.item(0, "n_pairs"))
    words = Words(
        "steering",
        steered(table),
        "Shift of the log-odds of the positive over the negative answer when the direction is added: mean of "
        f"{n_pairs} pairs that it was not fitted on, with 95 % interval. A dose of 1 is one standard deviation on the "
        "calibration tokens, divided among the layers. Random directions of the same length are added for comparison. "
        "Adding any vector makes the model less confident; the component that changes sign with the dose is specific "
        f"to the direction.{_steered_words(table)}",
        "Shift of log-odds over dose for the direction and for random directions.",
        how="The direction does something of its own where its line leaves the band of random directions.",
        sources={"steering": table},
    )
    return CurveFigure(words, tuple(panels), "Dose (standard deviations)", "Shift of log-odds (nats)")


def _steered(own: pl.DataFrame, control: pl.DataFrame, shown: str, ends: tuple[str, str]) -> tuple[Curve, ...]:
    """Return the curve of the direction, and that of random directions with their range."""
    x, y, lower, upper = (column(own, name) for name in ("dose", shown, f"{shown}_lower", f"{shown}_upper"))
    curves = [Curve(f"“{own.item(0, 'concept')}”", x, y, tone=1, marker=0, lower=lower, upper=upper)]
    if not control.is_empty():
        x, y, lower, upper = (column(control, name) for name in ("dose", shown, *ends))
        label = f"{control.item(0, 'n_draws')} random directions (range)"
        curves.append(Curve(label, x, y, tone=0, dash=1, marker=1, lower=lower, upper=upper))
    return tuple(curves)


def _steered_words(table: pl.DataFrame) -> str:
    """Give the directed component at the largest dose, and its p-value against random directions."""
    known = table.filter((pl.col("kind") == "direction") & pl.col("directed").is_not_null() & (pl.col("dose") > 0))
    if known.is_empty():
        return " No dose was given with its opposite, so this component cannot be computed."
    last = known.sort("dose").row(-1, named=True)
    ends = [number_text(last[name], digits=2) for name in ("directed", "directed_lower", "directed_upper")]
    rare = "" if last["directed_p"] is None else f"; p = {last['directed_p']:.2f} against random directions"
    return f" At dose {last['dose']:g} it is {ends[0]} ({ends[1]} to {ends[2]}) nats{rare}."
