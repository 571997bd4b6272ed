"""The live page in a real browser."""

from __future__ import annotations

import json
from typing import Any

from tests.showing.browser import Browser

__all__ = ["ask", "click", "shown_tokens", "visit", "write"]


def visit(browser: Browser, address: str, *, width: int = 1440, height: int = 1000, dark: bool = False) -> None:
    """Open the page and wait until it can be used."""
    browser.page.set_viewport_size({"width": width, "height": height})
    browser.page.emulate_media(color_scheme="dark" if dark else "light")
    browser.page.goto(address)
    browser.wait_until("document.documentElement?.dataset.ready === 'yes'")


def click(browser: Browser, selector: str) -> None:
    """Click on an element."""
    browser.run(f"document.querySelector({json.dumps(selector)}).click()")


def write(browser: Browser, selector: str, text: str) -> None:
    """Put a text into a field, as somebody who types."""
    happened = "for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, {bubbles: true}));"
    field = f"document.querySelector({json.dumps(selector)})"
    browser.run(f"((field) => {{ field.value = {json.dumps(text)}; {happened} }})({field})")


def ask(browser: Browser) -> None:
    """Ask, and wait until everything has come."""
    click(browser, "#go")
    browser.wait_until("document.documentElement.dataset.running === 'no'")
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def shown_tokens(browser: Browser, place: int = 0) -> list[dict[str, Any]]:
    """The tokens of one answer as they are shown: text, what is held, colour of the paper."""
    found: list[dict[str, Any]] = browser.run(
        f"[...document.querySelectorAll('.panel')[{place}].querySelectorAll('.token')].map((each) => "
        "({text: each.textContent, held: each.dataset.text, paper: each.style.backgroundColor}))"
    )
    return found
