"""Result tables of the page: rounded, shortened, with a reason for every undefined number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from foretell.schema.tables import TABLES
from foretell.showing.figures.table_cells import strongest_first
from foretell.showing.overview import ALL_BASELINES, BASELINE
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import UNDEFINED, count_text, number_text, p_text
from foretell.showing.untrusted import shortened, visible

__all__ = ["Cell", "PageTable", "page_tables"]

_TOP = 20
_CAPTIONS = {
    "verdicts": "Verdicts, with the rule that applied",
    "told_by": "Told by which number of generated tokens",
    "early": "Signals and all baselines by generated tokens",
    "hidden_layers": "Hidden states, layer by layer",
    "roc": "Single metrics",
    "forest": "Random forest, three protocols",
    "importances": "Importances",
    "detectors": "Detectors and baselines",
    "transfer": "Fitted on one dataset, evaluated on another",
    "thresholds": "Threshold rules",
    "association": "Strongest layers and heads",
}
_P_VALUES = ("pearson_p", "spearman_p", "auc_p", "q_value", "p_max", "p_adjusted", "p")


@dataclass(frozen=True)
class Cell:
    """One value as text."""

    text: str
    number: bool = False
    reason: int | None = None
    """Number of the footnote with the reason why it is undefined."""


@dataclass(frozen=True)
class PageTable:
    """A table prepared for the HTML template."""

    name: str
    caption: str
    header: tuple[tuple[str, str], ...]
    """Column and its meaning."""
    rows: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...]
    note: str | None = None


def page_tables(data: ReportData) -> tuple[PageTable, ...]:
    """Return the result tables of the page in reading order, without empty ones.

    The association table has a row per layer, head and metric; the 20 rows with the smallest corrected p-values are
    shown.
    """
    made = []
    for name, caption in _CAPTIONS.items():
        frame = data.table(name)
        if frame.is_empty():
            continue
        note = None
        if name == "early":
            frame = frame.filter((pl.col("signal") != BASELINE) | (pl.col("detector") == ALL_BASELINES))
            note = "The single baselines are in tables/early.parquet."
        if name == "association" and frame.height > _TOP:
            note = f"The strongest {_TOP} of {count_text(frame.height)} rows; all are in tables/association.parquet."
            frame = strongest_first(frame).head(_TOP)
        made.append(_page_table(name, caption, frame, note))
    return tuple(made)


def _page_table(name: str, caption: str, frame: pl.DataFrame, note: str | None) -> PageTable:
    meanings = {column.name: column.meaning for column in TABLES[name].columns} if name in TABLES else {}
    shown = [column for column in frame.columns if column != "reason"]
    footnotes: dict[str, int] = {}
    rows = []
    for row in frame.to_dicts():
        cells = []
        for column in shown:
            cell = _cell(row[column], column)
            if cell.text == UNDEFINED:
                reason = visible(str(row.get("reason") or _default_reason(column)))
                cell = Cell(UNDEFINED, number=True, reason=footnotes.setdefault(reason, len(footnotes) + 1))
            cells.append(cell)
        rows.append(tuple(cells))
    header = tuple((visible(column), meanings.get(column, "")) for column in shown)
    return PageTable(name, caption, header, tuple(rows), tuple(footnotes), note)


def _default_reason(column: str) -> str:
    if column.startswith("increment"):
        return "baselines have no increment"
    return "not estimated for this row"


def _cell(value: Any, column: str) -> Cell:
    if value is None:
        return Cell(UNDEFINED, number=True)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(str(value) if column in {"layer", "head", "n_generated"} else count_text(value), number=True)
    if isinstance(value, float):
        write: Callable[[float | None], str] = p_text if column in _P_VALUES else number_text
        return Cell(write(value), number=True)
    return Cell(shortened(str(value), 300))
