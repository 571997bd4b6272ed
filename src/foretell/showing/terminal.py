"""Tables and lines on a terminal, coloured only on a terminal, with control characters made visible."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from foretell.showing.behaviour_sentences import findings, from_token_text, increment_text
from foretell.showing.overview import overview
from foretell.showing.report_data import ReportData
from foretell.showing.untrusted import visible

__all__ = ["say", "say_skipped", "show_overview", "show_spans", "show_table"]

_OUTCOMES = {"tells": "green", "nothing": None, "unknown": "yellow"}

_COLOURS = {"system": "blue", "prompt": "green", "query": "yellow", "generated": "magenta", "template": "dim"}


def _console() -> Console:
    # a pipe has no width; rows must not be wrapped, because a program may read them
    console = Console(markup=False, highlight=False, emoji=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, emoji=False, width=200)


def say(line: str, *, style: str | None = None) -> None:
    """Print one line to standard output with control characters made visible; coloured only on a terminal.

    Args:
        line: The text, not trusted.
        style: A colour of click, or None.
    """
    # to the stream itself: click would write UTF-8 to one that it takes for misconfigured
    click.echo(click.style(visible(line), fg=style) if style else visible(line), file=sys.stdout)


def say_skipped(skipped: Sequence[object], *, shown: int = 5) -> None:
    """Print records that were left out of what was read.

    Args:
        skipped: The records with their places and reasons.
        shown: Print so many of them, and the number of the others.
    """
    for record in skipped[:shown]:
        say(f"  skipped: {record}", style="yellow")
    if len(skipped) > shown:
        say(f"  skipped: {len(skipped) - shown} more records", style="yellow")


def _cell(value: object) -> Text:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Text("-", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.3f}")
    return Text(visible(str(value)))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: numbers right-aligned with three decimals, undefined as a dash.

    Args:
        title: Line above the table, not trusted.
        columns: Names of the columns.
        rows: Cells in the order of `columns`; None and nan are undefined.
    """
    table = Table(
        title=visible(title), title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _console().print(table)


def show_spans(title: str, spans: Sequence[tuple[str, str]]) -> None:
    """Print the spans of a text, one per line after the name of its segment; segments are coloured on a terminal.

    Args:
        title: Line above the text.
        spans: Segment and text of each span, in order; the text is not trusted.
    """
    console = _console()
    console.print(Text(visible(title), style="bold"))
    names = [visible(segment) for segment, _ in spans]
    width = max(map(len, names), default=0)
    for name, (segment, text) in zip(names, spans, strict=True):
        line = Text.assemble((f"{name:<{width}}  ", "dim"), (visible(text), _COLOURS.get(segment, "")))
        console.print(line, soft_wrap=True)


def show_overview(data: ReportData) -> None:
    """Print what tells each behaviour: one sentence each, then a row per dataset and signal.

    Args:
        data: Of a study, or of its folder.
    """
    shown = overview(data)
    for finding in findings(shown):
        say(f"{finding.title}: {finding.text}", style=_OUTCOMES[finding.outcome])
    columns = ["dataset", "signal", "AUC", "over baselines", *(["told"] if shown.timed else []), "verdict"]
    rows: list[list[object]] = []
    for row in shown.rows:
        if row.baseline is not None and row.baseline_auc.value is not None:
            blank: list[object] = [None] * (len(columns) - 3)
            rows.append([row.dataset, row.baseline, row.baseline_auc.value, *blank])
        for cell in row.cells:
            if cell.auc.value is None and cell.increment.value is None:
                continue  # the sentence gives the reason
            first = None if cell.from_token is None else from_token_text(cell.from_token, row.n_whole)
            after = [first] if shown.timed else []
            gain = None if cell.increment.value is None else increment_text(cell.increment)
            rows.append([row.dataset, cell.signal, cell.auc.value, gain, *after, cell.verdict])
    show_table("What each signal tells beyond the baselines", columns, rows)
