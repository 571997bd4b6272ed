"""What tells each behaviour, as plain data: one row per dataset, one cell per signal.

Nothing is estimated here: every number is a cell of `verdicts`, `early`, `told_by`, `detectors` or `roc`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from foretell.schema.study_tables import POOLED
from foretell.showing.report_data import ReportData

__all__ = [
    "ALL_BASELINES",
    "BASELINE",
    "Measured",
    "Overview",
    "OverviewRow",
    "SignalCell",
    "families",
    "overview",
    "published_detectors",
    "shown_signal",
]

BASELINE = "baseline"
"""`signal` of rows about what is known without the model's internals."""

ALL_BASELINES = "all baselines"
"""`detector` of the baselines taken together."""

_ALL = "all"
_ATTENTION = "attention"
_FIRST = (_ATTENTION, "hidden states", "activity", "confidence")

Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """An estimate with its interval; None where the table has none."""

    value: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class SignalCell:
    """What one signal shows about one behaviour."""

    signal: str
    verdict: str | None
    """Null where the study has no verdict on this signal."""
    why: str
    """The rule that applied, or why there is no result."""
    auc: Measured
    """Held out, within strata where there are strata."""
    increment: Measured
    """AUC of all baselines and the signal minus that of all baselines."""
    p_adjusted: float | None
    minimal_auc: float | None
    from_token: int | None
    """Generated tokens from which on it beats the baselines; None where it does from none."""
    from_token_reason: str
    sources: tuple[str, ...]
    """Cells of the tables, such as `verdicts[dataset=flan, signal=attention]`."""

    @property
    def predicts(self) -> bool:
        """Whether it predicts the behaviour beyond the baselines."""
        return self.verdict in {"signal", "weak signal"}


@dataclass(frozen=True)
class OverviewRow:
    """One dataset: its behaviour, base rate, baselines and signals."""

    dataset: str
    behaviour: str | None
    """What label 1 means; None where the data do not say."""
    n: int | None
    n_positive: int | None
    cells: tuple[SignalCell, ...]
    baseline: str | None
    """Name of the baseline of `baseline_auc`."""
    baseline_auc: Measured
    within: bool
    """Whether the AUCs compare pairs of one stratum."""
    n_whole: int | None
    """The checkpoint at which every answer is whole; None where the study judges their first tokens only."""
    n_counted: int | None
    """The last checkpoint at which the words so far do not tell the label yet; None: they do at every one."""
    words_alone_from: int | None
    """The first checkpoint at which the words so far tell the label; None where they do at none."""
    published: tuple[SignalCell, ...] = ()
    """Detectors of the literature on the same signals."""

    def cell(self, signal: str) -> SignalCell | None:
        """Return the cell of a signal."""
        return next((cell for cell in self.cells if cell.signal == signal), None)


@dataclass(frozen=True)
class Overview:
    """The table behaviour x signal."""

    rows: tuple[OverviewRow, ...]
    signals: tuple[str, ...]
    """Columns, in reading order."""
    timed: bool
    """Whether the study looked at several numbers of generated tokens."""


def families(data: ReportData) -> tuple[str, ...]:
    """Return the signals that a study compares at every number of generated tokens, in reading order."""
    early = data.table("early")
    if early.is_empty():
        return ()
    found = [name for name in early["signal"].unique(maintain_order=True).to_list() if name != BASELINE]
    return (*_in(_FIRST, found), *(name for name in found if name not in {*_FIRST, _ALL}), *_in((_ALL,), found))


def shown_signal(signal: str) -> str:
    """Return the name of a family's detector, which is what the page calls the family."""
    return "all signals" if signal == _ALL else signal


def published_detectors(data: ReportData) -> tuple[str, ...]:
    """Return the signals that are detectors of the literature, judged at the last number of tokens that counts."""
    detectors = data.table("detectors")
    if detectors.is_empty() or "signal" not in detectors.columns:
        return ()
    others = {BASELINE, _ATTENTION, *families(data)}
    named = detectors["signal"].drop_nulls().unique(maintain_order=True).to_list()
    return tuple(name for name in named if name not in others)


def _in(names: Iterable[str], found: Sequence[str]) -> list[str]:
    return [name for name in names if name in found]


def overview(data: ReportData) -> Overview:
    """Return the table behaviour x signal of a study.

    Its columns are the families of a study of a run, and else the signals of the verdicts. Datasets of one behaviour
    follow each other. All datasets pooled are left out where they mix several behaviours or have no families.
    """
    of_run = families(data)
    signals = of_run or tuple(data.table("verdicts")["signal"].unique(maintain_order=True).to_list())
    rows = [_row(data, dataset, of_run or None) for dataset in data.datasets]
    if of_run or any(row.behaviour for row in rows):
        rows = [row for row in rows if row.dataset != POOLED or (row.behaviour and row.cells)]
    order = list(dict.fromkeys(row.behaviour or row.dataset for row in rows))
    rows.sort(key=lambda row: order.index(row.behaviour or row.dataset))
    shown = tuple(shown_signal(signal) if of_run else signal for signal in signals)
    return Overview(tuple(rows), shown, timed=bool(of_run))


def _of(data: ReportData, table: str, dataset: str) -> pl.DataFrame:
    frame = data.table(table)
    return frame.filter(pl.col("dataset") == dataset) if "dataset" in frame.columns else frame


def _row(data: ReportData, dataset: str, of_run: tuple[str, ...] | None) -> OverviewRow:
    early, verdicts = _of(data, "early", dataset), _of(data, "verdicts", dataset)
    known = {row["signal"]: row for row in verdicts.to_dicts()}
    first = {row["signal"]: row for row in _of(data, "told_by", dataset).to_dicts()}
    counts: dict[int, bool | None] = {} if early.is_empty() else dict(early.select("n_generated", "counts").iter_rows())
    judged = max(counts, default=None)
    counted = max((k for k, one in counts.items() if one), default=None)
    words = min((k for k, one in counts.items() if one is False), default=None)
    last = judged if counted is None else counted
    whole = judged if judged is not None and _is_whole(early, judged) else None
    at_last = {} if last is None else _by_signal(early, last)
    cells = [_cell(dataset, name, known, at_last, first) for name in (of_run or known)]
    published = [_cell(dataset, name, known, {}, {}) for name in published_detectors(data)]
    baseline, area, within = _baseline(data, dataset, at_last)
    n, n_positive = _sizes(data, dataset)
    return OverviewRow(
        dataset,
        _behaviour(data, dataset),
        n,
        n_positive,
        tuple(cell for cell in cells if cell is not None),
        baseline,
        area,
        within,
        whole,
        counted,
        words,
        tuple(cell for cell in published if cell is not None),
    )


def _is_whole(early: pl.DataFrame, n_generated: int) -> bool:
    """Tell whether all answers are whole by then; studies before `share_written` judged whole answers last."""
    if "share_written" not in early.columns:
        return True
    written = early.filter(pl.col("n_generated") == n_generated)["share_written"].drop_nulls()
    return bool((written == 1).all())


def _by_signal(early: pl.DataFrame, n_generated: int) -> dict[str, Row]:
    """Return the rows of one checkpoint by signal; those of baselines by `baseline` and their detector."""
    here = early.filter(pl.col("n_generated") == n_generated).to_dicts()
    found: dict[str, Row] = {}
    for row in here:
        key = row["signal"] if row["signal"] != BASELINE else f"{BASELINE} {row['detector']}"
        found.setdefault(key, row)
    return found


def _cell(
    dataset: str, signal: str, known: dict[str, Row], at_last: dict[str, Row], first_tokens: dict[str, Row]
) -> SignalCell | None:
    shown = shown_signal(signal) if at_last else signal
    verdict, early, first = known.get(signal) or known.get(shown), at_last.get(signal), first_tokens.get(signal)
    if verdict is None and early is None:
        return None
    sources = [f"verdicts[dataset={dataset}, signal={verdict['signal']}]"] if verdict else []
    if early is not None and verdict is None:
        keys = ("dataset", "detector", "n_generated")
        sources.append(f"early[{', '.join(f'{key}={early[key]}' for key in keys)}]")
    if first is not None:
        sources.append(f"told_by[dataset={dataset}, signal={signal}]")
    row = verdict or early or {}
    area = "auc" if verdict or row.get("auc_within") is None else "auc_within"
    return SignalCell(
        signal=shown,
        verdict=verdict["verdict"] if verdict else None,
        why=str((verdict or {}).get("why") or row.get("reason") or ""),
        auc=_measured(row, area),
        increment=_measured(row, "increment"),
        p_adjusted=row.get("p_adjusted"),
        minimal_auc=row.get("minimal_auc"),
        from_token=None if first is None else first["n_generated"],
        from_token_reason=str((first or {}).get("reason") or ""),
        sources=tuple(sources),
    )


def _measured(row: Row, value: str) -> Measured:
    return Measured(row.get(value), row.get(f"{value}_lower"), row.get(f"{value}_upper"))


def _baseline(data: ReportData, dataset: str, at_last: dict[str, Row]) -> tuple[str | None, Measured, bool]:
    """Return all baselines at the last checkpoint that counts, or else the best single one, and whether within."""
    together = at_last.get(f"{BASELINE} {ALL_BASELINES}")
    if together is not None:
        within = together.get("auc_within") is not None
        area = Measured(together["auc_within"]) if within else _measured(together, "auc")
        return ALL_BASELINES, area, within
    detectors = {row["detector"]: row for row in _of(data, "detectors", dataset).to_dicts()}
    within = any(row["auc_within_strata"] is not None for row in detectors.values())
    named = [ALL_BASELINES, *(row["best_baseline"] for row in detectors.values())]
    best = next((name for name in named if name in detectors), None)
    return best, Measured() if best is None else _of_detector(detectors[best]), within


def _of_detector(row: Row) -> Measured:
    if row["auc_within_strata"] is None:
        return _measured(row, "auc")
    return Measured(row["auc_within_strata"], row.get("auc_within_lower"), row.get("auc_within_upper"))


def _sizes(data: ReportData, dataset: str) -> tuple[int | None, int | None]:
    for name, count in (("early", "n"), ("roc", "n_samples")):
        rows = [row for row in _of(data, name, dataset).to_dicts() if row[count] is not None]
        if rows:
            return max((row[count], row["n_positive"]) for row in rows)
    return None, None


def _behaviour(data: ReportData, dataset: str) -> str | None:
    for name in ("early", "told_by", "detectors", "verdicts"):
        frame = _of(data, name, dataset)
        named = frame["behaviour"].drop_nulls() if "behaviour" in frame.columns else pl.Series()
        if len(named):
            return str(named[0])
    return None
