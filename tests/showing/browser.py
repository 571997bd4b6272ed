"""A real browser without a network, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser as PlaywrightBrowser
from playwright.sync_api import Page, Request, sync_playwright

from tests.optional import missing

__all__ = ["Browser", "another", "opened"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader")
_ADVICE = ("willReadFrequently", "GL Driver Message")
"""Remarks on speed, which a software renderer earns itself."""
_LOCAL = ("file:", "data:", "blob:")
_SECONDS = 180.0


class Browser:
    """One page in a browser."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.console: list[str] = []
        """What the page said: errors, warnings, violations of its policy."""
        self.requests: list[str] = []
        """What it asked of the network."""
        page.set_default_timeout(1000 * _SECONDS)
        page.on("console", lambda message: self._note(message.text))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("request", self._ask)

    def _note(self, text: str) -> None:
        if not any(word in text for word in _ADVICE):
            self.console.append(text)

    def _ask(self, request: Request) -> None:
        if not request.url.startswith(_LOCAL):
            self.requests.append(request.url)

    def show(
        self, path: Path, *, width: int = 1400, height: int = 1000, theme: Literal["light", "dark"] = "light"
    ) -> None:
        """Open a report at that window size and wait until its figures are drawn."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(media="screen", color_scheme=theme)
        self.page.goto(path.as_uri())
        self.wait_until_drawn()

    def wait_until_drawn(self) -> None:
        """Wait until no figure is left to draw."""
        self.page.wait_for_selector("html[data-drawn=yes]")

    def unfold(self) -> None:
        """Open everything that is folded and wait until its figures are drawn and its tables filled."""
        self.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        self.page.wait_for_selector("details.figure figure:not(.live)", state="detached")
        self.page.wait_for_selector("details.frame:not(:has(tbody))", state="detached")
        self.wait_until_drawn()

    def run(self, script: str) -> Any:
        """Return the value of an expression on the page, awaited if it is a promise."""
        return self.page.evaluate(script)

    def wait_until(self, condition: str) -> None:
        """Wait until an expression on the page is true; it is asked from here, where the page's policy allows it."""
        end = time.monotonic() + _SECONDS
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition}: not after {_SECONDS:g} s; the console said {self.console}")
            self.page.wait_for_timeout(30)

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window."""
        self.page.mouse.move(x, y)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save a picture of the window, or of the whole page."""
        self.page.screenshot(path=path, full_page=whole)


def program() -> str:
    """Return the browser of the system; the calling test is skipped where there is none."""
    found = os.environ.get("FORETELL_CHROMIUM") or next((path for name in _NAMES if (path := shutil.which(name))), None)
    return found or missing("Chromium")


@contextmanager
def opened(*, local: bool = False) -> Iterator[Browser]:
    """Start a browser with an empty profile; it ends with the block.

    Args:
        local: Whether it reaches servers on this machine; otherwise it reaches nothing.
    """
    executable = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_OPTIONS))
        try:
            yield _fresh(browser, local=local)
        finally:
            browser.close()


@contextmanager
def another(beside: Browser) -> Iterator[Browser]:
    """Open a page of somebody else beside that of `opened(local=True)`: it shares no cookies with it."""
    browser = beside.page.context.browser
    assert browser is not None
    found = _fresh(browser, local=True)
    try:
        yield found
    finally:
        found.page.context.close()


def _fresh(browser: PlaywrightBrowser, *, local: bool) -> Browser:
    context = browser.new_context(offline=not local, reduced_motion="reduce")
    context.route(lambda url: not url.startswith((*_LOCAL, "http://127.0.0.1:")), lambda route: route.abort())
    return Browser(context.new_page())
