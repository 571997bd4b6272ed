"""The summary on a terminal: the sentences and the table of the page, in short."""

from __future__ import annotations

import pytest

from foretell.showing.behaviour_sentences import findings
from foretell.showing.overview import overview
from foretell.showing.report_data import ReportData
from foretell.showing.terminal import show_overview


def test_the_summary_is_that_of_the_page(signal_data: ReportData, capsys: pytest.CaptureFixture[str]) -> None:
    shown = overview(signal_data)
    show_overview(signal_data)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [f"{one.title}: {one.text}" for one in findings(shown)]
    rows = [line.split() for line in lines[6:]]
    tested = [row for row in shown.rows if row.dataset != "lies"]  # of which nothing is known
    assert len(rows) == sum(len(row.cells) + 1 for row in tested)
    cell = shown.rows[3].cell("hidden states")
    assert cell is not None
    found = next(line for line in lines if line.startswith("questions") and "hidden states" in line)
    assert f"{cell.auc.value:.3f}" in found
    assert "from token 8 on" in found
    assert found.rstrip().endswith("signal")


def test_a_table_alone_has_no_column_of_tokens(data: ReportData, capsys: pytest.CaptureFixture[str]) -> None:
    show_overview(data)
    text = capsys.readouterr().out
    assert "told" not in text
    assert "best single head" in text


def test_hostile_names_are_printed_as_text(hostile_data: ReportData, capsys: pytest.CaptureFixture[str]) -> None:
    show_overview(hostile_data)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "⟨U+202E⟩" in text
