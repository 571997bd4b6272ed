"""Tables of the page: those of the study and those behind its figures, with every row and every digit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from foretell.schema.tables import TABLES
from foretell.showing.figures.figure import Figure
from foretell.showing.figures.table_cells import strongest_first
from foretell.showing.page.packed import plain_columns
from foretell.showing.report_data import ReportData

__all__ = ["PageTable", "page_tables", "table_payload"]

Kind = Literal["text", "yes-no", "count", "index", "number", "p-value"]

_CAPTIONS = {
    "verdicts": "Verdicts, with the rule that applied",
    "told_by": "Told by which number of generated tokens",
    "early": "Signals and baselines by generated tokens",
    "early_relative": "Signals and baselines by share of the answer",
    "hidden_layers": "Hidden states, layer by layer",
    "association": "Layers and heads, the strongest first",
    "detectors": "Detectors and baselines",
    "forest": "Random forest, three protocols",
    "forest_points": "Random forest, points of the ROC curves",
    "importances": "Importances of the forest's columns",
    "roc": "Single metrics",
    "roc_points": "Single metrics, points of the ROC curves",
    "thresholds": "Threshold rules",
    "transfer": "Fitted on one dataset, evaluated on another",
    "reliability": "Predicted probabilities in bins",
    "held_out_scores": "Held-out scores, sample by sample",
    "direction": "The direction, layer by layer",
    "direction_null": "Random directions, layer by layer",
    "steering": "Steering along the direction, dose by dose",
}
_MOST_SCORES = 5_000
"""Rows of held-out scores on the page; more are in the folder only, and those of families in the conversations."""
_SCHEMAS = {"direction": "directions"}
_P_VALUES = ("pearson_p", "spearman_p", "auc_p", "q_value", "p_max", "p_adjusted", "p", "directed_p")
_INDICES = ("layer", "head", "n_generated", "position", "answer_position", "bin")


@dataclass(frozen=True)
class PageTable:
    """One table, as the page's script shows it."""

    name: str
    caption: str
    columns: tuple[tuple[str, Kind, str], ...]
    """Name, what its values are, and their meaning."""
    frame: pl.DataFrame

    @property
    def file(self) -> str:
        """Where the same table is in the report's folder; empty where it is part of another file."""
        return f"tables/{self.name}.parquet" if self.name in _CAPTIONS and self.name != "steering" else ""


def page_tables(data: ReportData, figures: Iterable[Figure]) -> tuple[PageTable, ...]:
    """Return every table that has rows: first those of the study in reading order, then others behind figures."""
    frames: dict[str, pl.DataFrame] = {name: data.table(name) for name in _CAPTIONS if name in data.tables}
    for figure in figures:
        for name, frame in figure.words.sources.items():
            frames.setdefault(name, frame)
    ordered = [*(name for name in _CAPTIONS if name in frames), *(name for name in frames if name not in _CAPTIONS)]
    if data.table("held_out_scores").height > _MOST_SCORES:
        ordered.remove("held_out_scores")
    return tuple(_page_table(name, frames[name]) for name in ordered if not frames[name].is_empty())


def _page_table(name: str, frame: pl.DataFrame) -> PageTable:
    schema = _SCHEMAS.get(name, name)
    meanings = {column.name: column.meaning for column in TABLES[schema].columns} if schema in TABLES else {}
    if name == "association":
        frame = strongest_first(frame)
    columns = tuple((column.name, _kind(column), meanings.get(column.name, "")) for column in frame)
    return PageTable(name, _CAPTIONS.get(name, f"Scores of {name}, by layer and token"), columns, frame)


def _kind(column: pl.Series) -> Kind:
    if column.dtype == pl.Boolean:
        return "yes-no"
    if column.dtype.is_integer():
        return "index" if column.name in _INDICES else "count"
    if column.dtype.is_float():
        return "p-value" if column.name in _P_VALUES else "number"
    return "text"


def table_payload(tables: Iterable[PageTable]) -> Mapping[str, Any]:
    """Return the tables as plain JSON values, column by column."""
    return {
        table.name: {
            "caption": table.caption,
            "file": table.file,
            "columns": [{"name": name, "kind": kind, "meaning": meaning} for name, kind, meaning in table.columns],
            "values": plain_columns(table.frame),
        }
        for table in tables
    }
