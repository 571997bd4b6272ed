"""The live page in real Chromium: what it shows is what the server sent; nothing leaves the machine; text is text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from foretell.reading.models.load import Model
from foretell.serving.catalogue import Catalogue
from tests.serving.conftest import TOKEN, SlowModel, asked, events_of, served
from tests.serving.live_browser import ask, click, shown_tokens, visit, write
from tests.showing.axe_checker import serious_faults
from tests.showing.browser import Browser, another, opened

pytestmark = [pytest.mark.page, pytest.mark.slow]

N_HOSTILE = int(os.environ.get("FORETELL_TEST_ROUNDS", "14"))
OUTSIDE = "performance.getEntriesByType('resource').map((each) => each.name).filter((name) => !name.startsWith(origin))"
ATTACKS = (
    "<script>document.title='hit'</script>",
    "<img src=x onerror=document.title='hit'>",
    "\"><svg onload=document.title='hit'>",
    "</textarea></title><script>document.title='hit'</script>",
    "javascript:document.title='hit'",
    "${document.title='hit'} {{constructor.constructor('document.title=1')()}}",
    "\u202eevil\u202c \u2066x\u2069 \u200b",
    "\x1b[31mred\x07",
    "<a href=https://evil.example/ping>click</a> <link rel=prefetch href=https://evil.example>",
    "&lt;b&gt; &amp; ]]> --> '\"`",
    "=cmd|' /C calc'!A0",
    "𝔘🙂e\u0301\u0308" * 3,
)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with opened(local=True) as one:
        yield one


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    visit(browser, f"{address}/?token={TOKEN}")
    browser.run("window.origin")
    return browser


def check_quiet(browser: Browser) -> None:
    assert browser.console == []
    assert browser.run(f"((origin) => {OUTSIDE})(location.origin)") == []


def sent(address: str, question: dict[str, Any]) -> list[dict[str, Any]]:
    with httpx.Client(base_url=address, headers={"x-foretell-token": TOKEN}, timeout=60) as client:
        return events_of(client.post("/api/answers", json=question).text)


def test_the_tokens_shown_are_those_of_the_server(page: Browser, address: str) -> None:
    assert page.run("location.search") == "", "the token is not left in the address"
    write(page, "#query", "Who is it?")
    write(page, "#longest", "12")
    page.run("document.getElementById('monitor').selectedIndex = 1")
    ask(page)
    monitor = page.run("document.getElementById('monitor').value")
    question = asked(direction="direction-1", monitor=monitor, sampling={"max_new_tokens": 12})
    events = [event for event in sent(address, question) if event["event"] == "token"]
    shown = shown_tokens(page)
    assert [token["held"] for token in shown] == [event["text"] for event in events]
    assert len({token["paper"] for token in shown}) > 1
    assert all(token["paper"].startswith("rgb") for token in shown)
    page.run("document.querySelector('.numbers').open = true")
    page.wait_until("document.querySelectorAll('.numbers tbody tr').length > 0")
    rows = page.run(
        "[...document.querySelectorAll('.numbers tbody tr')].map((row) => "
        "[...row.cells].map((cell) => cell.textContent))"
    )
    for row, event in zip(rows, events, strict=True):
        numbers = [float(cell.replace("−", "-")) for cell in row[2:]]
        expected = [sum(event["activity"]) / 3, event["logprob"], event["score"], event["probability"]]
        expected += [sum(layer[segment] for layer in event["mass"]) / 3 for segment in range(5)]
        assert numbers == pytest.approx(expected, abs=6e-4)
    assert page.run("document.querySelectorAll('#exports a').length") == 5
    check_quiet(page)


def test_everything_drawn_has_marks_and_the_keyboard_reaches_it(page: Browser) -> None:
    click(page, "#example")
    page.run("document.getElementById('monitor').selectedIndex = 0")
    ask(page)
    assert page.run("document.querySelectorAll('.panel').length") == 2
    inked = (
        "[...document.querySelectorAll('.panel canvas')].map((canvas) => new Set(new Uint32Array("
        "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size)"
    )
    assert all(n_colours > 8 for n_colours in page.run(inked))
    press = "document.querySelector('.tokens').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))"
    page.run(f"{press}; {press}")
    assert page.run("document.querySelector('.readout b').textContent").startswith("token 1 ")
    assert page.run("document.querySelectorAll('.token.chosen').length") == 1
    before = page.run("document.querySelector('.panel canvas').toDataURL()")
    write(page, "#shape", "turning")
    page.wait_until("document.querySelector('.panel canvas').classList.contains('turning')")
    turned = page.run("document.querySelector('.panel canvas').toDataURL()")
    assert turned != before
    page.run("document.querySelector('.panel canvas').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))")
    page.wait_until(f"document.querySelector('.panel canvas').toDataURL() !== {json.dumps(turned)}")
    check_quiet(page)


def test_the_stop_button_and_the_queue_of_two_browsers(page: Browser, address: str, slow: SlowModel) -> None:
    slow.seconds = 0.04
    try:
        with another(page) as other:
            visit(other, f"{address}/?token={TOKEN}")
            for one, text in ((page, "first"), (other, "second")):
                one.run("document.getElementById('model').value = 'slow'")
                one.run("document.getElementById('direction').value = ''")
                one.run("document.getElementById('monitor').value = ''")
                write(one, "#query", text)
                write(one, "#longest", "300")
                write(one, "#temperature", "3")
            click(page, "#go")
            page.wait_until("document.querySelectorAll('.token').length > 2")
            click(other, "#go")
            other.wait_until("document.getElementById('queue').textContent === 'next in the queue'")
            assert other.run("document.querySelectorAll('.token').length") == 0
            click(page, "#stop")
            page.wait_until("document.documentElement.dataset.running === 'no'")
            assert page.run("document.querySelector('.state').textContent").startswith("stopped")
            other.wait_until("document.querySelectorAll('.token').length > 0")
            n_tokens = page.run("document.querySelectorAll('.token').length")
            other.page.reload()
            other.wait_until("document.documentElement?.dataset.ready === 'yes'")
            other.wait_until("document.getElementById('queue').textContent === 'ready'")
            assert page.run("document.querySelectorAll('.token').length") == n_tokens
            check_quiet(other)
        check_quiet(page)
    finally:
        slow.seconds = 0.0


def test_marked_text_becomes_segments(page: Browser, address: str) -> None:
    text = "🙂 Context here. Why is it so?"
    write(page, "#query", text)
    page.run(
        "((field) => { field.focus(); field.setSelectionRange(3, 16); field.dispatchEvent(new Event('select')); })"
        "(document.getElementById('query'))"
    )
    click(page, "#mark-buttons .of-prompt")
    assert page.run("document.getElementById('marks').textContent").startswith("prompt: Context here.")
    page.run("document.getElementById('preview').open = true")
    page.wait_until("document.querySelectorAll('#preview-text .of-prompt').length > 0")
    marked = page.run("document.querySelector('#preview-text .of-prompt').textContent")
    assert marked.strip() == "Context here."
    write(page, "#query", f"So: {text}")
    assert page.run("document.getElementById('marks').textContent").startswith("prompt: Context here."), (
        "it moved along"
    )
    write(page, "#query", "So: 🙂 Con, text")
    assert page.run("document.querySelectorAll('#marks li').length") == 0
    check_quiet(page)


def test_a_sample_of_a_run_is_loaded_and_read_again(page: Browser) -> None:
    page.run("document.querySelector('#browse details').open = true")
    page.wait_until("document.querySelectorAll('#browse tbody tr').length > 0")
    click(page, "#browse tbody button")
    page.wait_until("document.getElementById('query').value !== ''")
    ask(page)
    assert page.run("document.querySelector('.panel h2').textContent") == "stored"
    assert len(shown_tokens(page)) > 0
    assert page.run("document.querySelector('#browse a').getAttribute('href')") == "/reports/report-1"
    check_quiet(page)


def test_a_report_opens_in_an_origin_of_its_own(browser: Browser, address: str) -> None:
    visit(browser, f"{address}/?token={TOKEN}")
    browser.page.goto(f"{address}/reports/report-1")
    browser.wait_until("document.body?.textContent.includes('Findings.')")
    assert browser.run("window.origin") == "null"


def test_hostile_texts_are_shown_as_text(page: Browser) -> None:
    page.run("document.getElementById('monitor').value = ''")
    page.run("document.getElementById('preview').open = true")
    click(page, "#add")
    title = page.run("document.title")
    shape = (
        "['script', 'img, svg, iframe, object', 'a[href^=http]'].map((each) => document.querySelectorAll(each).length)"
    )
    before = page.run(shape)
    handlers = "[...document.querySelectorAll('*')].flatMap((each) => [...each.attributes].map((one) => one.name))"
    for number in range(N_HOSTILE):
        first, second = (ATTACKS[place % len(ATTACKS)] for place in (number, number // len(ATTACKS) + number))
        text = first if number < len(ATTACKS) else f"{first} {second} {number}"
        for field, content in (("#system", first), ("#prompt", second), ("#query", first)):
            write(page, field, content)
        for row in (1, 2):
            write(page, f"#rows li:nth-child({row}) select", "given")
            write(page, f"#rows li:nth-child({row}) textarea", text)
        write(page, "#rows li:nth-child(1) input", text[:80])
        ask(page)
        assert "".join(token["held"] for token in shown_tokens(page)) == text
        assert page.run("document.title") == title
        assert page.run(shape) == before
        assert not [name for name in page.run(handlers) if name.startswith("on")]
    check_quiet(page)


def test_hostile_names_and_messages_of_the_server_are_text(tiny: Model, folder: Path) -> None:
    attack = ATTACKS[1]
    found = Catalogue.found({attack: lambda: tiny}, folder=folder)
    for entries in (found.directions, found.monitors):
        for offered in entries.values():
            offered.name = attack
            offered.facts |= {name: attack for name, value in offered.facts.items() if isinstance(value, str)}
    found.runs = {key: replace(value, name=attack) for key, value in found.runs.items()}
    found.reports = {key: replace(value, name=attack) for key, value in found.reports.items()}
    with served(found) as address, opened(local=True) as browser:
        visit(browser, f"{address}/?token={TOKEN}")
        write(browser, "#query", "a" * 900)
        ask(browser)
        assert browser.run("document.getElementById('model').selectedOptions[0].textContent") == attack
        assert "too long" in browser.run("document.getElementById('problem').textContent")
        assert browser.run("document.title") != "hit"
        assert browser.run("document.querySelectorAll('img').length") == 0
        check_quiet(browser)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_serious_is_wrong_for_a_screen_reader(browser: Browser, address: str, axe: str, dark: bool) -> None:
    visit(browser, f"{address}/?token={TOKEN}", dark=dark)
    assert serious_faults(browser, axe) == []
    click(browser, "#example")
    browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    browser.wait_until("document.querySelectorAll('#browse tbody tr').length > 0")
    ask(browser)
    browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    browser.wait_until("document.querySelectorAll('.numbers tbody tr').length > 0")
    assert serious_faults(browser, axe) == []


def test_another_model_is_chosen_with_what_was_made_with_it(browser: Browser, tiny: Model, folder: Path) -> None:
    found = Catalogue.found({"other": lambda: tiny, f"models/{tiny.name}": lambda: tiny}, folder=folder)
    with served(found) as address:
        visit(browser, f"{address}/?token={TOKEN}")
        assert browser.run("document.getElementById('direction').value") == "direction-1"
        browser.page.select_option("#direction", "")
        browser.page.select_option("#model", f"models/{tiny.name}")
        chosen = "['direction', 'monitor'].map((id) => document.getElementById(id).value)"
        assert browser.run(chosen) == ["direction-1", "monitor-1"]
        assert browser.run("document.getElementById('direction').textContent").startswith(f"lying, of {tiny.name}")
        browser.page.select_option("#model", "other")
        assert browser.run(chosen) == ["", ""]
        write(browser, "#query", "Who is it?")
        write(browser, "#longest", "4")
        ask(browser)
        assert len(shown_tokens(browser)) > 0
        assert [found.is_loaded(name) for name in found.loaders] == [True, False]
        check_quiet(browser)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 768, 1440])
def test_nothing_is_wider_than_the_window(browser: Browser, address: str, width: int, dark: bool) -> None:
    visit(browser, f"{address}/?token={TOKEN}", width=width, dark=dark)
    click(browser, "#example")
    browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    ask(browser)
    assert browser.run("document.documentElement.scrollWidth") <= width
    paper = browser.run("getComputedStyle(document.querySelector('.panel')).backgroundColor")
    assert paper == ("rgb(27, 31, 38)" if dark else "rgb(255, 255, 255)")
    unnamed = browser.run(
        "[...document.querySelectorAll('input, select, textarea, button')].filter((each) => !each.labels?.length && "
        "!each.ariaLabel && !each.textContent.trim()).map((each) => each.outerHTML)"
    )
    assert unnamed == []
    check_quiet(browser)


@pytest.mark.model
def test_the_embedded_model_answers_as_it_does_without_a_page(smollm2: Model) -> None:
    import foretell

    found = Catalogue.found({"smollm2": lambda: smollm2})
    run = foretell.read(smollm2, "What is the capital of France?", answers="generate", max_new_tokens=8, progress=False)
    with served(found) as address, opened(local=True) as browser:
        visit(browser, f"{address}/?token={TOKEN}")
        write(browser, "#query", "What is the capital of France?")
        write(browser, "#longest", "8")
        ask(browser)
        assert "".join(token["held"] for token in shown_tokens(browser)) == run.samples["answer"][0]
        check_quiet(browser)
