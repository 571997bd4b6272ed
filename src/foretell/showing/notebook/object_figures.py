"""Figures of single objects, as plain data: what tells each behaviour, heads of a run, a direction, a monitor.

Values are taken from tables and objects; nothing is estimated here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.errors import InputError
from foretell.showing.figures.figure import (
    Curve,
    CurveFigure,
    CurvePanel,
    Dot,
    DotFigure,
    DotPanel,
    Level,
    MapFigure,
    MapPanel,
    Words,
)
from foretell.showing.figures.table_cells import listed
from foretell.showing.overview import Measured, OverviewRow, overview
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text, number_text

__all__ = [
    "caught_figure",
    "chosen_heads_figure",
    "overview_figure",
    "run_heads_figure",
    "spread_figure",
    "turning_figure",
]


def overview_figure(data: ReportData) -> DotFigure:
    """Return the AUC of every signal beside that of the baselines, one panel per behaviour and dataset."""
    shown = overview(data)
    panels = tuple(_signals_panel(row) for row in shown.rows)
    words = Words(
        "overview",
        "What each signal tells of each behaviour",
        f"Held-out AUC of each signal (blue) and of the baselines (orange), with {data.interval}. A signal is worth "
        "something where it adds to the baselines; the verdicts say whether it does.",
        "Held-out AUC of signals and baselines. "
        + listed(f"{panel.title}, {dot.label} {number_text(dot.estimate)}" for panel in panels for dot in panel.dots),
    )
    tones = ("signal", "baseline")
    return DotFigure(
        words,
        panels,
        "Held-out AUC",
        f"AUC, {data.interval}",
        reference=0.5,
        reference_label="chance",
        tone_labels=tones,
    )


def _signals_panel(row: OverviewRow) -> DotPanel:
    title = row.dataset if row.behaviour is None else f"{row.behaviour} ({row.dataset})"
    dots = [_dot(_verdict_label(cell.signal, cell.verdict), cell.auc, 0) for cell in row.cells]
    dots.append(_dot(row.baseline or "baselines", row.baseline_auc, 1))
    undefined = tuple((cell.signal, cell.why) for cell in row.cells if cell.auc.value is None)
    return DotPanel(title, tuple(dot for dot in dots if dot is not None), undefined)


def _verdict_label(signal: str, verdict: str | None) -> str:
    return signal if verdict is None else f"{signal}: {verdict}"


def _dot(label: str, area: Measured, tone: int) -> Dot | None:
    return None if area.value is None else Dot(label, area.value, area.lower, area.upper, tone)


def run_heads_figure(means: pl.DataFrame, metric: str, *, by: str) -> MapFigure:
    """Return one map of layer and head per dataset.

    Args:
        means: Columns dataset, layer, head, value.
        metric: What the values are of.
        by: "mean" or "label", as in `foretell.Run.plot_heads`.
    """
    values = means.get_column("value").drop_nulls().to_numpy()
    centre = 0.0 if by == "label" else float(values.mean())
    limit = float(np.abs(values - centre).max()) or 0.05
    what = (
        f"mean {metric} where the behaviour happened minus where it did not"
        if by == "label"
        else f"mean {metric} over samples"
    )
    middle = "no difference" if by == "label" else f"the mean over all heads ({number_text(centre)})"
    words = Words(
        f"heads-{by}",
        f"{what[0].upper()}{what[1:]}, by layer and head",
        f"White is {middle}; red is higher, blue is lower. Grey cells are undefined.",
        f"Colour map of {what}, by layer and head.",
    )
    panels = tuple(_map_panel(part) for part in means.partition_by("dataset", maintain_order=True))
    return MapFigure(words, panels, min(len(panels), 3), centre, limit, metric)


def _map_panel(part: pl.DataFrame) -> MapPanel:
    axes = [part.get_column(name).unique().sort().to_list() for name in ("layer", "head")]
    values = np.full([len(axis) for axis in axes], np.nan)
    for layer, head, value in part.select("layer", "head", "value").iter_rows():
        values[axes[0].index(layer), axes[1].index(head)] = np.nan if value is None else value
    note = None if np.isfinite(values).any() else "the label is the same, or not known, for all samples"
    nothing = np.zeros(values.shape, dtype=bool)
    return MapPanel(str(part.item(0, "dataset")), values, nothing, tuple(axes[0]), tuple(axes[1]), note)


def spread_figure(
    concept: str,
    deviation: Float[np.ndarray, " layer"],
    random: Float[np.ndarray, "draw layer"] | None,
    *,
    model: str,
) -> CurveFigure:
    """Return how far the calibration tokens spread along a direction, by layer, beside random directions.

    Args:
        concept: Of the direction.
        deviation: Standard deviation of the projections, by layer; nan where undefined.
        random: The same of random directions; None: not measured.
        model: Name of the model.
    """
    layers = np.arange(len(deviation), dtype=float)
    curves = [Curve(f"“{concept}”", layers, deviation, tone=1, marker=0)]
    if random is not None and len(random):
        known = np.where(np.isnan(deviation), np.nan, random)
        lower, middle, upper = np.percentile(known, [5, 50, 95], axis=0)
        curves.append(
            Curve(f"{len(random)} random directions", layers, middle, tone=4, dash=1, lower=lower, upper=upper)
        )
    words = Words(
        "spread",
        f"Spread of hidden states along “{concept}”, by layer",
        f"Standard deviation of the projections of the calibration tokens of {model} on the direction: one unit of "
        "activity. The band is the 5th to 95th percentile of random directions. Where the line is above the band, "
        "hidden states vary more along the direction than along most others; it does not say that it separates "
        "anything, which `foretell.judge_directions` measures.",
        f"Standard deviation along the direction {concept}, by layer.",
    )
    return CurveFigure(words, (CurvePanel("", tuple(curves)),), "Layer", "Standard deviation of projections")


def turning_figure(concept: str, vectors: Float[np.ndarray, "layer width"], *, model: str) -> CurveFigure:
    """Return how alike a direction is from one layer to the next, and to its middle layer.

    Args:
        concept: Of the direction.
        vectors: Unit vectors, by layer; nan where undefined.
        model: Name of the model.
    """
    cosine = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    layers, middle = np.arange(len(vectors), dtype=float), len(vectors) // 2
    curves = (
        Curve("next layer", layers[:-1], np.diagonal(cosine, 1), tone=1, marker=0),
        Curve(f"layer {middle}", layers, cosine[middle], tone=2, dash=1, marker=1),
    )
    words = Words(
        "turning",
        f"Similarity of “{concept}” between layers",
        f"Cosine of the direction at each layer of {model} with that of the next layer, and with that of layer "
        f"{middle}. 1 is the same direction, 0 an unrelated one.",
        f"Cosine similarity of the direction {concept} between layers.",
    )
    return CurveFigure(
        words, (CurvePanel("", curves, (Level("unrelated", 0.0),)),), "Layer", "Cosine", y_range=(-0.3, 1.05)
    )


def caught_figure(
    caught_by: Mapping[int, float], whole: Measured, *, behaviour: str, guarantee: str, median: float | None
) -> CurveFigure:
    """Return the share of positive answers that a monitor has caught, by generated tokens.

    Args:
        caught_by: Share by number of tokens.
        whole: Share of whole answers, with its interval.
        behaviour: What label 1 means.
        guarantee: What the threshold guarantees, in words.
        median: Median tokens at the first alarm; None where there is none.

    Raises:
        InputError: The monitor has no positive answer to catch.
    """
    if not caught_by or whole.value is None:
        raise InputError("the monitor's calibration groups have no positive answer, so nothing is known of its recall")
    after = np.array(sorted(caught_by), dtype=float)
    shares = np.array([caught_by[int(one)] for one in after])
    curve = Curve(
        "caught so far", np.log2(1 + after), shares, tone=0, marker=0, names=tuple(f"{int(n)} tokens" for n in after)
    )
    text = estimate_text(whole.value, whole.lower, whole.upper)
    first = "" if median is None else f" First alarm: after {median:g} tokens (median of those caught)."
    words = Words(
        "caught",
        f"How early the monitor catches “{behaviour}”",
        f"Share of the positive calibration answers with an alarm by then; of whole answers {text}.{first} {guarantee}",
        f"Share of positive answers caught, by generated tokens; {text} of whole answers.",
    )
    ticks = tuple((math.log2(1 + n), f"{int(n)}") for n in after)
    panel = CurvePanel("", (curve,), (Level(f"whole answers: {text}", whole.value),), ticks=ticks)
    return CurveFigure(words, (panel,), "Generated tokens", "Share caught", y_range=(-0.02, 1.02))


def chosen_heads_figure(chosen: Sequence[tuple[int, int]], *, n_layers: int, n_heads: int, behaviour: str) -> MapFigure:
    """Return which heads a monitor looks at.

    Args:
        chosen: Layer and head of each.
        n_layers: Layers of the model.
        n_heads: Heads of a layer.
        behaviour: What label 1 means.

    Raises:
        InputError: It looks at no head.
    """
    if not chosen:
        raise InputError("the monitor looks at no head")
    marked = np.zeros((n_layers, n_heads), dtype=bool)
    marked[tuple(np.array(chosen).T)] = True
    words = Words(
        "monitor-heads",
        f"Which heads the monitor of “{behaviour}” looks at",
        f"{len(chosen)} of {marked.size} heads; a monitor that is run reads the attention of their layers only.",
        "Chosen heads: " + listed(f"layer {layer}, head {head}" for layer, head in chosen),
    )
    panel = MapPanel("", marked.astype(np.float64), marked, tuple(range(n_layers)), tuple(range(n_heads)))
    return MapFigure(words, (panel,), 1, 0.0, 1.0, "1 is looked at")
