"""What is said to be unknown, and verdicts that are only counted."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from foretell.showing.page.first_screen import verdict_counts
from foretell.showing.page.limits import limits
from foretell.showing.report_data import ReportData


def test_limits_are_those_of_the_tables(signal_data: ReportData) -> None:
    said = " ".join(limits(signal_data))
    few = signal_data.table("verdicts").filter(verdict="not enough data").height
    assert f"{few} of {signal_data.table('verdicts').height} comparisons have not enough data" in said
    assert "gave in to a false claim from token 4 on" in said
    assert "two degrees of freedom" in said
    assert "A surface is one example" in said
    known = signal_data.table("verdicts").with_columns(verdict=pl.lit("signal"))
    sure = " ".join(limits(replace(signal_data, tables={**signal_data.tables, "verdicts": known}, surfaces=())))
    assert "not enough data" not in sure
    assert "no proof of absence" not in sure
    assert "A surface" not in sure
    assert limits(ReportData(tables={})) == ()


def test_verdicts_that_say_nothing_are_one_line_with_a_count(signal_data: ReportData) -> None:
    counts = {one.verdict: one for one in verdict_counts(signal_data)}
    assert (counts["no signal found"].n, counts["no signal found"].named) == (1, ())
    assert counts["leak"].named == ("forest on alpaca", "forest on flan")
    assert verdict_counts(ReportData(tables={})) == ()
