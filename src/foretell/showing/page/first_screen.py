"""The first screen of the page: the table behaviour x signal and its sentences; verdicts on other signals, counted."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from foretell.showing.behaviour_sentences import (
    FINDING_RULE,
    Finding,
    findings,
    from_token_text,
    increment_text,
    share_text,
)
from foretell.showing.overview import Overview, OverviewRow, SignalCell, families, overview, published_detectors
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import estimate_text, number_text, p_text

__all__ = ["FirstScreen", "MatrixCell", "MatrixRow", "VerdictCount", "first_screen", "verdict_counts", "verdict_css"]

_VERDICTS = ("signal", "weak signal", "no signal found", "leak", "not enough data")


@dataclass(frozen=True)
class MatrixCell:
    """What one signal shows about one behaviour, as text."""

    signal: str
    auc: str
    increment: str
    from_token: str
    """Empty where it is told from no number of tokens on."""
    verdict: str
    css: str
    tooltip: str
    """The rule with its numbers, and the cells of the tables."""


@dataclass(frozen=True)
class MatrixRow:
    """One behaviour, as text."""

    title: str
    again: bool
    """Whether the row before is about the same behaviour."""
    dataset: str
    size: str
    baselines: str
    baseline_name: str
    cells: tuple[MatrixCell | None, ...]
    """One per column; None where a signal was not read."""


@dataclass(frozen=True)
class FirstScreen:
    """Sentences and table."""

    findings: tuple[Finding, ...]
    signals: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    timed: bool
    notes: tuple[str, ...]
    """How to read the table, one line each."""
    rule: str = FINDING_RULE


@dataclass(frozen=True)
class VerdictCount:
    """How many signals got one verdict; they are named unless there is nothing to say about them."""

    verdict: str
    css: str
    n: int
    named: tuple[str, ...]


_NAMED = ("signal", "weak signal", "leak")


def verdict_counts(data: ReportData) -> tuple[VerdictCount, ...]:
    """Return the verdicts on signals that are no column of the first screen, counted, in the order of the colours."""
    verdicts = data.table("verdicts")
    if verdicts.is_empty() or not families(data):
        return ()
    verdicts = verdicts.filter(~pl.col("signal").is_in([*families(data), *published_detectors(data)]))
    made = []
    for verdict in [*_VERDICTS, *sorted(set(verdicts["verdict"].to_list()) - set(_VERDICTS))]:
        rows = verdicts.filter(pl.col("verdict") == verdict).select("signal", "dataset").rows()
        if rows:
            named = tuple(f"{signal} on {dataset}" for signal, dataset in rows) if verdict in _NAMED else ()
            made.append(VerdictCount(verdict, verdict_css(verdict), len(rows), named))
    return tuple(made)


def verdict_css(verdict: str | None) -> str:
    """Return the class of a verdict's colour."""
    return "-".join(verdict.split()) if verdict in _VERDICTS else "none"


def first_screen(data: ReportData) -> FirstScreen | None:
    """Return the first screen of a study; None where no signal was compared with a label."""
    shown = overview(data)
    if not any(row.cells for row in shown.rows):
        return None
    behaviours = [row.behaviour for row in shown.rows]
    again = [one is not None and one == before for one, before in zip(behaviours, [None, *behaviours], strict=False)]
    rows = tuple(_row(row, shown, again=same) for row, same in zip(shown.rows, again, strict=True))
    return FirstScreen(findings(shown), shown.signals, rows, shown.timed, _notes(data, shown))


def _row(row: OverviewRow, shown: Overview, *, again: bool) -> MatrixRow:
    found = [row.cell(signal) for signal in shown.signals]
    return MatrixRow(
        title=row.behaviour or row.dataset,
        again=again,
        dataset=row.dataset if row.behaviour else "",
        size=share_text(row),
        baselines=number_text(row.baseline_auc.value, digits=2) if row.baseline_auc.value is not None else "–",
        baseline_name=row.baseline or "none",
        cells=tuple(None if cell is None else _cell(cell, row, timed=shown.timed) for cell in found),
    )


def _cell(cell: SignalCell, row: OverviewRow, *, timed: bool) -> MatrixCell:
    auc = estimate_text(cell.auc.value, cell.auc.lower, cell.auc.upper)
    parts = [cell.why, f"AUC {auc}", f"adjusted p {p_text(cell.p_adjusted)}", cell.from_token_reason, *cell.sources]
    return MatrixCell(
        signal=cell.signal,
        auc=number_text(cell.auc.value, digits=2) if cell.auc.value is not None else "–",
        increment=increment_text(cell.increment) if cell.increment.value is not None else "–",
        from_token=from_token_text(cell.from_token, row.n_whole) if timed and cell.from_token is not None else "",
        verdict=cell.verdict or "no verdict",
        css=verdict_css(cell.verdict),
        tooltip="; ".join(part.rstrip(".") for part in parts if part),
    )


def _notes(data: ReportData, shown: Overview) -> tuple[str, ...]:
    within = " over pairs of one task type" if any(row.within for row in shown.rows) else ""
    notes = [
        f"Large: AUC{within}, on samples held out in whole groups; 0.5 is chance. Below it: what the signal adds to "
        f"all baselines together, with its {data.interval}. Then the verdict, adjusted for all signals of the study.",
        "Baselines know what can be known without looking inside: kind of task, lengths, words, log-probability.",
    ]
    if shown.timed:
        notes[1:1] = [
            "“From token k on”: after k generated tokens, and from then on, it beats the baselines after as many "
            "tokens, with the study's error rate kept over all of them."
        ]
    if any(row.words_alone_from is not None for row in shown.rows):
        notes.append(
            "Where the words so far tell a behaviour by themselves, numbers are those of the last token before that."
        )
    return tuple(notes)
