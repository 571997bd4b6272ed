"""Maps of a statistic per layer and head, with one scale for all datasets and metrics."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from foretell.showing.figures.figure import MapFigure, MapPanel, Words
from foretell.showing.figures.titles import heads_by_correlation, significant_heads
from foretell.showing.report_data import ReportData

__all__ = ["map_figures"]

_SIGNIFICANT = 0.05
_STATISTICS = {
    "auc": ("AUC for the label", 0.5),
    "pearson": ("Pearson correlation with the label", 0.0),
    "spearman": ("Spearman rank correlation with the label", 0.0),
}
_SHORT = {"pearson": "Pearson correlation", "spearman": "rank correlation"}


def map_figures(data: ReportData) -> tuple[MapFigure, ...]:
    """Return one map figure per statistic: AUC, Pearson and Spearman, with a panel per dataset and metric.

    A cell is marked where its max-statistic p-value is below 0.05. The scale is symmetric about the value of no
    association, and its limit is the largest cell, so that no value is clipped.
    """
    association = data.table("association")
    if association.is_empty():
        return ()
    return tuple(_map_figure(association, statistic) for statistic in _STATISTICS)


def _map_figure(association: pl.DataFrame, statistic: str) -> MapFigure:
    value_label, centre = _STATISTICS[statistic]
    metrics = association.get_column("metric").unique(maintain_order=True).to_list()
    panels = tuple(
        _panel(part, f"{part.item(0, 'dataset')}: {part.item(0, 'metric')}", statistic)
        for part in association.partition_by("dataset", "metric", maintain_order=True)
    )
    distances = [np.nanmax(np.abs(p.values - centre)) for p in panels if np.isfinite(p.values).any()]
    limit = max(0.05, math.ceil(20 * max(distances)) / 20) if distances else 0.5
    marked = sum(int(panel.marked.sum()) for panel in panels)
    cells = sum(int(np.isfinite(panel.values).sum()) for panel in panels)
    words = Words(
        f"map-{statistic}",
        significant_heads(marked, cells)
        if statistic == "auc"
        else heads_by_correlation(float(max(distances, default=0.0)), _SHORT[statistic]),
        f"{value_label}, per layer and head. White is no association ({centre:g}); red: the metric is higher where the "
        "behaviour happened, blue: lower. "
        f"Rings mark cells whose max-statistic p-value (corrected for all heads and metrics of the dataset) is below "
        f"{_SIGNIFICANT:g}: {marked} of {cells}. Grey cells are undefined.",
        f"Colour maps of {value_label} by layer and head, one per dataset and metric; {marked} of {cells} cells "
        "are significant.",
        how="Look for rings: colours without them are expected by chance among so many cells.",
        sources={"association": association},
        section="heads",
        folded=True,
    )
    return MapFigure(words, panels, len(metrics), centre, float(limit), value_label)


def _panel(part: pl.DataFrame, title: str, statistic: str) -> MapPanel:
    layers = sorted(part.get_column("layer").unique().to_list())
    heads = sorted(part.get_column("head").unique().to_list())
    row_of, column_of = ({value: index for index, value in enumerate(axis)} for axis in (layers, heads))
    values = np.full((len(layers), len(heads)), np.nan)
    marked = np.zeros((len(layers), len(heads)), dtype=bool)
    for layer, head, value, p_max in part.select("layer", "head", statistic, "p_max").iter_rows():
        place = row_of[layer], column_of[head]
        values[place] = np.nan if value is None else value
        marked[place] = value is not None and p_max is not None and p_max < _SIGNIFICANT
    note = None
    if not np.isfinite(values).any():
        reasons = part.get_column("reason").drop_nulls().unique(maintain_order=True).to_list()
        note = "; ".join(reasons) or "no numbers in the table"
    return MapPanel(title, values, marked, tuple(layers), tuple(heads), note)
