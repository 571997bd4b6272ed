"""Figures of a comparison: differences with their intervals, and maps of heads. Nothing is estimated here."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from foretell.errors import InputError
from foretell.showing.figures.figure import Dot, DotFigure, DotPanel, MapFigure, MapPanel, Words
from foretell.showing.figures.table_cells import listed
from foretell.showing.notebook.plots import check_library, draw_with
from foretell.showing.rounding import signed_text

__all__ = ["differences_figure", "heads_difference_figure", "plot_comparison"]

_CLEAR = 0.05
_KINDS = ("attention", "head AUC")


@runtime_checkable
class ComparisonLike(Protocol):
    """What figures need of a comparison."""

    names: tuple[str, str]
    table: pl.DataFrame
    heads: pl.DataFrame
    level: float


def plot_comparison(comparison: ComparisonLike, name: str, *, library: str) -> Any:
    """Return one figure of a comparison; see `foretell.stats.comparison.comparison.Comparison.plot`."""
    check_library(library)
    if name == "differences":
        return draw_with(library, differences_figure(comparison))
    if name not in _KINDS:
        raise InputError(f"a comparison has no figure {name!r}: choose among differences, {', '.join(_KINDS)}")
    return draw_with(library, heads_difference_figure(comparison, name))


def differences_figure(comparison: ComparisonLike) -> DotFigure:
    """Return every difference with its interval, one panel per data set."""
    panels = []
    for part in comparison.table.partition_by("dataset", maintain_order=True):
        rows = part.to_dicts()
        known = [row for row in rows if row["difference"] is not None]
        dots = tuple(
            Dot(_label(row), row["difference"], row["lower"], row["upper"], int((row["p_adjusted"] or 1.0) >= _CLEAR))
            for row in known
        )
        undefined = tuple((_label(row), row["reason"] or "") for row in rows if row["difference"] is None)
        panels.append(DotPanel(str(part.item(0, "dataset")), dots, undefined))
    first, second = comparison.names
    interval = f"{100 * comparison.level:g} % interval"
    words = Words(
        "differences",
        f"{first} minus {second}",
        f"Differences with {interval}, of the same samples where both sides have them. Blue: clear after adjustment "
        "for all rows of the table; the dashed line is no difference.",
        "Differences: " + listed(f"{dot.label} {signed_text(dot.estimate)}" for panel in panels for dot in panel.dots),
    )
    tones = ("clear (adjusted p below 0.05)", "not clear")
    return DotFigure(
        words, tuple(panels), "Difference", interval, reference=0.0, reference_label="no difference", tone_labels=tones
    )


def _label(row: dict[str, Any]) -> str:
    what = row["what"].partition(" (")[0]
    return {"label rate": "label rate", "detector AUC": f"AUC of {what}"}.get(row["kind"], f"{row['kind']}, {what}")


def heads_difference_figure(comparison: ComparisonLike, kind: str) -> MapFigure:
    """Return maps of the differences of one kind, with rings at heads that differ after correction.

    Raises:
        InputError: Heads were not compared.
    """
    rows = comparison.heads.filter(pl.col("kind") == kind)
    if not rows.get_column("difference").count():
        raise InputError(f"the comparison has no {kind} by head; its notes say why")
    parts = rows.partition_by("dataset", "metric", maintain_order=True)
    panels = tuple(_panel(part) for part in parts)
    largest = max(float(np.nanmax(np.abs(panel.values), initial=0.0)) for panel in panels)
    marked = sum(int(panel.marked.sum()) for panel in panels)
    first, second = comparison.names
    words = Words(
        f"heads-{kind.replace(' ', '-').lower()}",
        f"{kind[0].upper()}{kind[1:]} of {first} minus that of {second}, by layer and head",
        f"White is no difference; red: higher on the first side, blue: on the second. Rings: p below {_CLEAR:g} of the "
        f"max-statistic over all heads and metrics of a data set: {marked} of {rows.height}.",
        f"Maps of the difference in {kind}; {marked} of {rows.height} cells differ after correction.",
    )
    n_metrics = rows.get_column("metric").n_unique()
    limit = math.ceil(largest * 100) / 100 or 0.01
    return MapFigure(words, panels, n_metrics, 0.0, limit, f"difference in {kind}")


def _panel(part: pl.DataFrame) -> MapPanel:
    layers, heads = (part.get_column(name).unique().sort().to_list() for name in ("layer", "head"))
    values, marked = np.full((len(layers), len(heads)), np.nan), np.zeros((len(layers), len(heads)), dtype=bool)
    for layer, head, value, p in part.select("layer", "head", "difference", "p_max").iter_rows():
        place = layers.index(layer), heads.index(head)
        values[place] = np.nan if value is None else value
        marked[place] = p is not None and p < _CLEAR
    title = f"{part.item(0, 'dataset')}: {part.item(0, 'metric')}"
    note = None if np.isfinite(values).any() else "undefined on a side"
    return MapPanel(title, values, marked, tuple(layers), tuple(heads), note)
