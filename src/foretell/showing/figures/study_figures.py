"""All figures of a study, in reading order."""

from __future__ import annotations

from foretell.showing.figures.curve_figures import (
    direction_figure,
    forest_figure,
    reliability_figure,
    roc_figure,
)
from foretell.showing.figures.figure import Figure, folded
from foretell.showing.figures.interval_figures import (
    detector_figures,
    importance_figure,
    leak_figure,
    threshold_figure,
    transfer_figure,
)
from foretell.showing.figures.map_figures import map_figures
from foretell.showing.figures.signal_figures import signal_figures
from foretell.showing.report_data import ReportData

__all__ = ["study_figures"]

_BEHIND = ("importances", "detectors", "increments", "families-increments")
"""Figures that are folded behind those of all signals."""


def study_figures(data: ReportData) -> tuple[Figure, ...]:
    """Return the figures of a study's tables, in reading order.

    A figure whose table is empty is omitted; a dataset without values is a panel with the reason. Where signals are
    compared over tokens, the page folds what says the same of attention alone, and what the first screen says.
    """
    signals = signal_figures(data)
    candidates: list[Figure | None] = [
        *signals,
        roc_figure(data),
        leak_figure(data),
        forest_figure(data),
        importance_figure(data),
        *map_figures(data),
        *detector_figures(data),
        transfer_figure(data),
        reliability_figure(data),
        threshold_figure(data),
        direction_figure(data),
    ]
    figures = [figure for figure in candidates if figure is not None]
    return tuple(folded(figure) if signals and figure.words.name in _BEHIND else figure for figure in figures)
