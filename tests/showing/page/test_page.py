"""The report opened in a real browser without a network: no error, every figure drawn, hostile text does nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from foretell.showing.report import write_report
from foretell.showing.report_data import ReportData
from tests.showing.browser import opened
from tests.showing.parsed_page import parsed

pytestmark = [pytest.mark.page, pytest.mark.slow]


def test_the_report_opens_without_errors_and_every_figure_is_drawn(signal_data: ReportData, tmp_path: Path) -> None:
    page = write_report(signal_data, tmp_path / "out", progress=False)
    with opened() as browser:
        browser.show(page)
        folded = browser.run("document.querySelectorAll('details.figure figure.live').length")
        browser.unfold()
        document, console = browser.run("document.documentElement.outerHTML"), browser.console
        lines = "[...document.querySelectorAll('.plot path.js-line')]"
        hidden = browser.run(f"{lines}.filter((each) => !each.getClientRects().length).length")
    assert folded == hidden == 0
    assert console == []
    assert len(re.findall(r'class="main-svg"', document)) >= 50
    figures = re.findall(r'<figure [^>]*class="([^"]*)"', document)
    assert len(figures) == 20
    assert all("live" in classes for classes in figures)


def test_hostile_text_does_nothing_in_a_browser(hostile_data: ReportData, tmp_path: Path) -> None:
    shown = (
        "roc",
        "roc_points",
        "detectors",
        "verdicts",
        "early",
        "told_by",
    )  # one figure of each kind that writes names is enough
    small = replace(hostile_data, tables={name: hostile_data.table(name) for name in shown}, direction=None)
    made = write_report(small, tmp_path / "out", progress=False)
    with opened() as browser:
        browser.show(made)
        document, console = browser.run("document.documentElement.outerHTML"), browser.console
    assert console == []
    page = parsed(document)
    assert "<title>hit" not in document
    assert [attributes.get("type") for attributes, _ in page.scripts] == [*["text/plain"] * 3, None]
    assert page.handlers == []


def test_nothing_is_wider_than_the_window_and_the_first_screen_answers(signal_data: ReportData, tmp_path: Path) -> None:
    page = write_report(signal_data, tmp_path / "out", progress=False)
    with opened() as browser:
        for width, height in ((375, 812), (768, 1024), (1440, 1000)):
            browser.show(page, width=width, height=height)
            answer = ".findings li:last-child" if width < 400 else ".matrix"  # on a telephone the sentences come first
            assert browser.run(f"document.querySelector('{answer}').getBoundingClientRect().top") < height
            browser.unfold()
            assert browser.run("document.documentElement.scrollWidth") <= width
            wide = f"(each) => each.getBoundingClientRect().right > {width} + 1"
            parts = "[...document.querySelectorAll('section, figure, .plot, .card, p, h1, h2, h3, .matrix td')]"
            beyond = browser.run(f"{parts}.filter({wide}).map((each) => each.outerHTML.slice(0, 90))")
            assert beyond == [], width
