"""The report has no serious fault in axe, the checker that browsers' own audits use."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from foretell.showing.report import write_report
from foretell.showing.report_data import ReportData
from tests.showing.browser import opened
from tests.showing.conftest import make_conversations

pytestmark = [pytest.mark.page, pytest.mark.slow]

_VERSION = "axe-core@4.14.1"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checker, fetched by npm; it is no part of the package."""
    folder, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which fetches axe-core, is missing")
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", _VERSION]
    try:
        fetched = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("axe-core cannot be fetched: npm did not end within two minutes")
    script = folder / "node_modules/axe-core/axe.min.js"
    if fetched.returncode or not script.exists():
        pytest.skip(f"axe-core cannot be fetched: {fetched.stderr.strip()[-200:]}")
    return script.read_text(encoding="utf-8")


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
            browser.run(axe)
            found = browser.run("axe.run(document, {resultTypes: ['violations']})")["violations"]
            serious = [
                (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in {"serious", "critical"}
            ]
            assert serious == []
