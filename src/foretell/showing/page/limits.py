"""What a study cannot say: sentences by rule, from its tables and settings."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from foretell.showing.overview import Overview, OverviewRow, overview
from foretell.showing.page.narrative import narrate
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import number_text

__all__ = ["limits"]

_MOST_NAMED = 4


def limits(data: ReportData) -> tuple[str, ...]:
    """Return what the numbers of a report do not show, the gravest first."""
    made: list[str] = []
    if data.datasets:
        shown = overview(data)
        made += [*_too_small(data), *_words(shown), *_power(data)]
        made.append(
            "A verdict is about this model, these prompts and this chat template. A signal is an association: that the "
            "model uses what it shows is another question, which only an intervention answers."
        )
        made.append(
            "Detectors are linear in what they are given. Where none is found, one of another form may still exist."
        )
        rate = data.settings.get("error_rate")
        if isinstance(rate, float):
            made.append(f"Of 100 studies of pure noise, at most {100 * rate:g} say “signal” or “weak signal” anywhere.")
    made += [s.text for chapter in narrate(data) for s in chapter.sentences if s.rule in {"simplex", "letters"}]
    if data.surfaces:
        made.append(
            "A surface is one example. Whether the direction separates answers in general is in its held-out AUC, not "
            "in a picture; clipped and undefined scores are counted below it."
        )
    return tuple(made)


def _listed(names: Sequence[str]) -> str:
    kept = list(dict.fromkeys(names))
    more = len(kept) - _MOST_NAMED
    return ", ".join(kept[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _too_small(data: ReportData) -> list[str]:
    verdicts = data.table("verdicts")
    few = verdicts.filter(pl.col("verdict") == "not enough data") if "verdict" in verdicts.columns else pl.DataFrame()
    if few.is_empty():
        return []
    return [
        f"{few.height} of {verdicts.height} comparisons have not enough data for a conclusion "
        f"({_listed(few['dataset'].to_list())})."
    ]


def _words(shown: Overview) -> list[str]:
    def named(row: OverviewRow) -> str:
        return row.behaviour or row.dataset

    telling = [
        f"{named(row)} from token {row.words_alone_from} on" for row in shown.rows if row.words_alone_from is not None
    ]
    return [f"The words alone tell some labels, so nothing is foretold there: {_listed(telling)}."] if telling else []


def _power(data: ReportData) -> list[str]:
    verdicts = data.table("verdicts")
    if "minimal_auc" not in verdicts.columns:
        return []
    missed = verdicts.filter((pl.col("verdict") == "no signal found") & pl.col("minimal_auc").is_not_null())
    if missed.is_empty():
        return []
    values = missed["minimal_auc"].to_numpy()
    ends = dict.fromkeys(number_text(float(one), digits=2) for one in (values.min(), values.max()))
    return [
        f"“No signal found” is no proof of absence: with these sample sizes an AUC below {' to '.join(ends)} could go "
        "undetected (80 % power)."
    ]
