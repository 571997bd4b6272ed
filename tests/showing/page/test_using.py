"""The report as its reader uses it: tables, files, list of conversations, wheel, keys, paper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from foretell.showing.report import write_report
from foretell.showing.report_data import ReportData
from tests.showing.browser import Browser, opened
from tests.showing.conftest import make_conversations
from tests.showing.hostile import HOSTILE, hostile_conversations

pytestmark = [pytest.mark.page, pytest.mark.slow]

_CELLS = (
    "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.querySelector('data')?.value ?? cell.textContent))"
)
_EYE = "(name) => document.querySelector(`[data-picture=${name}]`)._fullLayout.scene._scene.getCamera().eye"
_MOVED = "Math.abs(one.x - BEFORE) > 0.05"
_TOGETHER = "Math.hypot(one.x - other.x, one.y - other.y, one.z - other.z) < 0.02"
_ACTING = "img:not(.static), iframe, object, embed, form:not(#browse), script:not([type]):not(:last-of-type)"


def ranks(listed: pl.DataFrame) -> pl.DataFrame:
    """Return held-out ranks by one detector of all conversations but the first, in an order of their own."""
    known = listed.select("dataset", "id").with_row_index()[1:]
    rank = (pl.col("index") * 37 % 61) / 61
    return known.select("dataset", "id", detector=pl.lit("all signals"), score=pl.lit(0.5), rank=rank)


@pytest.fixture(scope="module")
def folder(signal_data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    listed = make_conversations(60)
    facts = replace(signal_data.facts, conversations=listed)
    shown = ("roc", "roc_points", "detectors", "verdicts", "early", "told_by", "thresholds")
    tables = {name: signal_data.table(name) for name in shown} | {"held_out_scores": ranks(listed)}
    small = replace(signal_data, facts=facts, tables=tables)
    return write_report(small, tmp_path_factory.mktemp("report") / "out", progress=False).parent


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with opened() as started:
        started.show(folder / "report.html")
        yield started


def test_a_table_shows_every_value_of_its_parquet_file(browser: Browser, folder: Path) -> None:
    browser.unfold()
    for name in ("detectors", "thresholds", "told_by"):
        stored = pl.read_parquet(folder / "tables" / f"{name}.parquet")
        table = browser.page.locator(f"#table-{name}")
        shown: list[list[str | None]] = []
        while True:
            shown += table.locator("tbody tr").evaluate_all(_CELLS)
            if len(shown) >= stored.height:
                break
            table.get_by_role("button", name="next").click()
        assert table.locator("thead th").all_text_contents() == [one.replace("_", " ") for one in stored.columns]
        for row, expected in zip(shown, stored.rows(), strict=True):
            for text, value in zip(row, expected, strict=True):
                assert text == ("undefined" if value is None and text else "" if value is None else plain(value))


def plain(value: Any) -> str:
    """Return a value as the page holds it: numbers to their last digit."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def test_a_table_is_sorted_searched_and_saved(browser: Browser, folder: Path) -> None:
    browser.unfold()
    table = browser.page.locator("#table-detectors")
    stored = pl.read_parquet(folder / "tables" / "detectors.parquet")
    heading = table.locator("th", has_text="auc").first
    for order, descending in (("ascending", False), ("descending", True)):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == order
        first = float(table.locator("tbody tr").first.locator("data").first.get_attribute("value") or "nan")
        assert first == stored.sort("auc", descending=descending)["auc"][0]
    table.get_by_role("searchbox").fill("lengths")
    assert table.locator("tbody tr").count() == stored.filter(pl.col("detector") == "lengths").height
    with browser.page.expect_download() as saving:
        table.get_by_role("button", name="save as CSV").click()
    saved = pl.read_csv(saving.value.path(), schema=stored.schema)
    assert_frame_equal(saved, stored, check_exact=True)


def test_conversations_are_searched_filtered_sorted_and_coloured(browser: Browser) -> None:
    page, every = browser.page, make_conversations(60)
    page.locator("#conversations").scroll_into_view_if_needed()
    page.wait_for_selector("#conversation-list[data-filled=yes]")
    status = page.locator("#conversation-list [role=status]")
    assert "of 60 conversations" in status.inner_text()
    page.locator("[name=label]").select_option("1")
    assert f"of {every.filter(behavior_label=1).height} conversations" in status.inner_text()
    page.locator("[name=dataset]").select_option(label="flan")
    chosen = every.filter(behavior_label=1, dataset="flan")
    assert f"of {chosen.height} conversations" in status.inner_text()
    page.locator("[name=score]").select_option(label="mean log-probability")
    page.locator("[name=order]").select_option("1")
    best = chosen.sort("score: mean log-probability", descending=True)["id"].to_list()
    shown = page.locator(".conversation").evaluate_all("(found) => found.map((one) => one.dataset.id)")
    assert shown == best[: len(shown)]
    page.locator("[name=words]").fill(best[3])
    row = every.filter(id=best[3]).row(0, named=True)
    article = page.locator(".conversation")
    assert article.count() == 1
    tips = article.locator(".answer span").evaluate_all("(found) => found.map((one) => one.title)")
    assert [float(tip.rsplit(" ", 1)[1].replace("−", "-")) for tip in tips] == [
        pytest.approx(value, abs=5.1e-3) for value in row["token: activity “lying”"]
    ]
    article.locator("summary").click()
    assert row["label_reason"] in article.inner_text()
    page.locator("#browse [name=most]").fill("-99")
    assert status.inner_text() == "no conversation like this"
    for name in ("most", "words"):
        page.locator(f"#browse [name={name}]").fill("")


def test_conversations_are_sorted_and_filtered_by_their_held_out_ranks(browser: Browser) -> None:
    page, known = browser.page, ranks(make_conversations(60)).sort("rank", descending=True)
    page.locator("#conversations").scroll_into_view_if_needed()
    page.wait_for_selector("#conversation-list[data-filled=yes]")
    for name in ("label", "dataset"):
        page.locator(f"[name={name}]").select_option("")
    page.locator("[name=score]").select_option(label="held-out rank, all signals")
    page.locator("[name=order]").select_option("1")
    shown = page.locator(".conversation").evaluate_all("(found) => found.map((one) => one.dataset.id)")
    assert shown == known["id"].to_list()[: len(shown)]
    page.locator("#browse [name=least]").fill("0.5")
    status = page.locator("#conversation-list [role=status]")
    assert f"of {known.filter(pl.col('rank') >= 0.5).height} conversations" in status.inner_text()
    first = page.locator(".conversation").first
    first.locator("summary").click()
    assert f"held-out rank, all signals\n{known['rank'][0]:.3f}" in first.inner_text()
    page.locator("#browse [name=least]").fill("")


def test_the_wheel_is_the_pages_until_a_surface_is_clicked_and_the_pair_turns_together(
    browser: Browser, folder: Path
) -> None:
    browser.show(folder / "report.html", width=1440, height=900)
    page = browser.page
    plot = page.locator("[data-picture=activity-0]")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    eyes = f"['activity-0', 'activity-1'].map((name) => ({_EYE})(name))"
    before, top = browser.run(eyes), browser.run("scrollY")
    page.mouse.move(*middle)
    page.mouse.wheel(0, 200)
    browser.wait_until(f"scrollY === {top + 200}")
    assert browser.run(eyes) == before
    page.mouse.move(middle[0], middle[1] - 200)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] - 170, steps=6)
    page.mouse.up()
    browser.wait_until(f"(([one, other]) => {_MOVED} && {_TOGETHER})({eyes})".replace("BEFORE", str(before[0]["x"])))
    turned = browser.run(eyes)
    assert plot.get_attribute("data-active") is None
    page.mouse.click(middle[0], middle[1] - 200)
    assert plot.get_attribute("data-active") == "yes"
    page.mouse.wheel(0, 120)
    browser.wait_until(f"{eyes}[0].x !== {turned[0]['x']}")
    assert browser.run("scrollY") == top + 200
    page.keyboard.press("Escape")
    assert plot.get_attribute("data-active") is None
    near = browser.run(eyes)
    page.mouse.wheel(0, -100)
    browser.wait_until(f"scrollY === {top + 100}")
    assert browser.run(eyes) == near


def test_a_surface_is_turned_by_keys(browser: Browser, folder: Path) -> None:
    browser.show(folder / "report.html")
    plot = browser.page.locator("[data-picture=activity-0]")
    eye = f"({_EYE})('activity-0')"
    plot.focus()
    before = browser.run(eye)
    browser.page.keyboard.press("ArrowDown")
    assert browser.run(eye) == before
    for key in ("Enter", "ArrowRight", "+"):
        browser.page.keyboard.press(key)
    far = sum(one**2 for one in before.values())
    browser.wait_until(f"Object.values({eye}).reduce((sum, one) => sum + one ** 2, 0) < {far - 1e-6}")
    browser.page.keyboard.press("Escape")
    assert plot.get_attribute("data-active") is None


def test_paper_holds_every_column_and_every_figure(browser: Browser, folder: Path) -> None:
    browser.show(folder / "report.html")
    browser.wait_until("document.querySelector('#tables[data-unpacked]') !== null")
    assert len(browser.page.pdf(prefer_css_page_size=True)) > 50_000
    browser.page.emulate_media(media="print")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    browser.page.set_viewport_size({"width": 703, "height": 1000})  # A4 less its margins
    seen = browser.run(
        "[...document.querySelectorAll('figure[data-figure]')].filter((each) => !each.querySelector('.tokens') && "
        "!(each.querySelector('.static').offsetWidth > 100)).map((each) => each.id)"
    )
    assert seen == []
    for name in ("detectors", "verdicts", "early"):
        columns = pl.read_parquet_schema(folder / "tables" / f"{name}.parquet")
        heads = browser.run(
            f"[...document.querySelectorAll('#table-{name} th')]"
            ".map((each) => getComputedStyle(each, '::after').content)"
        )
        assert [json.loads(head) for head in heads] == [column.replace("_", " ") for column in columns]
    browser.page.set_viewport_size({"width": 1047, "height": 700})  # A4 landscape, on which wide tables are
    assert browser.run("document.querySelector('#tables').scrollWidth") <= 1047
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.querySelectorAll('#tables details[open]').length") == 0


def test_paper_says_that_rows_are_missing_where_it_comes_too_early(browser: Browser, folder: Path) -> None:
    said = "getComputedStyle(document.querySelector('#tables'), '::after').content"
    browser.page.add_init_script("window.requestIdleCallback = () => {}")
    browser.show(folder / "report.html")
    browser.page.emulate_media(media="print")
    assert "Print again" in browser.run(said)
    browser.page.add_init_script("delete window.requestIdleCallback")
    browser.show(folder / "report.html")
    browser.wait_until("document.querySelector('#tables[data-unpacked]') !== null")
    browser.page.emulate_media(media="print")
    assert browser.run(said) == "none"


def test_nothing_leaves_the_machine_and_nothing_is_said(browser: Browser) -> None:
    assert browser.requests == []
    assert browser.console == []


def test_the_theme_is_that_of_the_reader(browser: Browser, folder: Path) -> None:
    for theme in ("light", "dark"):
        browser.show(folder / "report.html", theme=theme)
        dark = browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"
        assert dark == (theme == "dark")


def test_hostile_texts_are_text_wherever_a_user_or_a_model_writes(
    browser: Browser, signal_data: ReportData, tmp_path: Path
) -> None:
    listed = hostile_conversations()
    facts = replace(signal_data.facts, conversations=listed, notes=HOSTILE, commands=HOSTILE[:50])
    verdicts = signal_data.table("verdicts")
    names = pl.Series("signal", [text.encode("utf-8", "replace").decode() for text in HOSTILE])
    many = pl.concat([verdicts] * (300 // verdicts.height + 1)).head(300).with_columns(names, why=names)
    shown = replace(signal_data, facts=facts, tables={"verdicts": many}, surfaces=(), direction=None, notes=HOSTILE)
    made = write_report(shown, tmp_path / "out", progress=False)
    browser.show(made)
    browser.unfold()
    page = browser.page
    page.locator("#conversations").scroll_into_view_if_needed()
    page.wait_for_selector("#conversation-list[data-filled=yes]")
    read = 0
    while read < listed.height:
        for answer in page.locator(".conversation .answer").all():
            assert answer.evaluate("(each) => each.querySelectorAll('*:not(span)').length") == 0
            read += 1
        page.locator("#conversation-list").get_by_role("button", name="next").click()
    assert "hit" not in page.title()
    assert browser.run(f"document.querySelectorAll('{_ACTING}').length") == 0
    assert browser.run("window.hit") is None
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    text = browser.run("document.body.innerText")
    assert not any(character in text for character in "\x1b\u202e\u2066\x00\x07")
    assert browser.console == browser.requests == []
