"""The report has no serious fault in axe, the checker that browsers' own audits use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foretell.showing.report import write_report
from foretell.showing.report_data import ReportData
from tests.showing.axe_checker import serious_faults
from tests.showing.browser import opened
from tests.showing.conftest import make_conversations

pytestmark = [pytest.mark.page, pytest.mark.slow]


def test_nothing_serious_is_wrong_for_a_screen_reader(axe: str, signal_data: ReportData, tmp_path: Path) -> None:
    facts = replace(signal_data.facts, conversations=make_conversations(12))
    shown = ("roc", "roc_points", "importances", "detectors", "verdicts", "early", "told_by")
    small = replace(signal_data, facts=facts, tables={name: signal_data.table(name) for name in shown})
    page = write_report(small, tmp_path / "out", progress=False)
    with opened() as browser:
        for theme in ("light", "dark"):
            browser.show(page, theme=theme)
            browser.unfold()
            browser.page.locator("#conversations").scroll_into_view_if_needed()
            browser.page.wait_for_selector("#conversation-list[data-filled=yes]")
            assert serious_faults(browser, axe) == []
