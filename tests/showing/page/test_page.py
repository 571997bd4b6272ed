"""The report opened in a real browser without a network: no error, every figure drawn, hostile text does nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from foretell.showing.report import write_report
from foretell.showing.report_data import ReportData
from tests.optional import missing
from tests.showing.parsed_page import parsed

pytestmark = [pytest.mark.page, pytest.mark.slow]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def _opened(path: Path, profile: Path) -> tuple[str, str]:
    """Return the page's document after its scripts ran, and what the console said."""
    browser = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if browser is None:
        missing("Chromium")
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--enable-unsafe-swiftshader"),
        *("--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1400,1000", "--dump-dom"),
    ]
    done = subprocess.run(
        [browser, *options, f"--user-data-dir={profile}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    advice = ("willReadFrequently", "GL Driver Message")  # remarks on speed, which a software renderer earns itself
    console = [
        line for line in done.stderr.splitlines() if "CONSOLE" in line and not any(word in line for word in advice)
    ]
    return done.stdout, "\n".join(console)


def test_the_report_opens_without_errors_and_every_figure_is_drawn(data: ReportData, tmp_path: Path) -> None:
    document, console = _opened(write_report(data, tmp_path / "out", progress=False), tmp_path / "profile")
    assert console == ""
    assert 'data-drawn="yes"' in document
    assert len(re.findall(r'class="main-svg"', document)) >= 50
    figures = re.findall(r'<figure [^>]*class="([^"]*)"', document)
    assert len(figures) == 15
    assert all("live" in classes for classes in figures)


def test_hostile_text_does_nothing_in_a_browser(hostile_data: ReportData, tmp_path: Path) -> None:
    shown = ("roc", "roc_points", "detectors", "verdicts")  # one figure of each kind that writes names is enough
    small = replace(hostile_data, tables={name: hostile_data.table(name) for name in shown}, direction=None)
    document, console = _opened(write_report(small, tmp_path / "out", progress=False), tmp_path / "profile")
    assert console == ""
    assert 'data-drawn="yes"' in document
    page = parsed(document)
    assert "<title>hit" not in document
    assert page.tags.count("script") == 3
    assert page.handlers == []
