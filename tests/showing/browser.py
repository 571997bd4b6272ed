"""A real browser without a network, driven by the Chrome DevTools Protocol over a pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.optional import missing

__all__ = ["Browser", "opened"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-unsafe-swiftshader"),
    *("--remote-debugging-pipe", "--hide-scrollbars"),
)
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts the browser with the protocol's pipe where it expects it: on the file descriptors 3 and 4."""
_ADVICE = ("willReadFrequently", "GL Driver Message")
"""Remarks on speed, which a software renderer earns itself."""


class Browser:
    """One page in a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._write, self._read = to_browser, from_browser
        self._rest = b""
        self._last = 0
        self._session: str | None = None
        self.console: list[str] = []
        """What the page said: errors, warnings, violations of its policy."""
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 20)
            if not more:
                raise RuntimeError("the browser ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        said = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled":
                text = " ".join(str(each.get("value", each.get("description"))) for each in said["args"])
            case "Runtime.exceptionThrown":
                text = json.dumps(said["exceptionDetails"])
            case "Log.entryAdded":
                text = said["entry"]["text"]
            case _:
                return
        if not any(word in text for word in _ADVICE):
            self.console.append(text)

    def show(self, path: Path, *, width: int = 1400, height: int = 1000, seconds: float = 120.0) -> None:
        """Open a report at that window size and wait until its figures are drawn."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._send("Emulation.setDeviceMetricsOverride", **metrics)
        self._send("Page.navigate", url=path.as_uri())
        self._wait_until_drawn(seconds)

    def unfold(self, *, seconds: float = 120.0) -> None:
        """Open everything that is folded and wait until its figures are drawn."""
        self.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        while self.run(
            "[...document.querySelectorAll('details.figure figure')].some((each) => each.offsetWidth === 0)"
        ):
            time.sleep(0.05)
        time.sleep(0.2)  # until the page has heard of it
        self._wait_until_drawn(seconds)

    def _wait_until_drawn(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.run("document.documentElement?.dataset.drawn") != "yes":
            if time.monotonic() > end:
                raise TimeoutError(f"the figures are not drawn; the console said {self.console}")
            time.sleep(0.1)

    def run(self, script: str) -> Any:
        """Return the value of an expression on the page, awaited if it is a promise."""
        done = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(json.dumps(done["exceptionDetails"]))
        return done["result"].get("value")

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window."""
        self._send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save a picture of the window, or of the whole page."""
        data = self._send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile; it ends with the block."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        missing("Chromium")
    (theirs_in, to_browser), (from_browser, theirs_out) = os.pipe(), os.pipe()
    started = [sys.executable, "-c", _START, str(theirs_in), str(theirs_out), program, *_OPTIONS]
    process = subprocess.Popen(
        [*started, f"--user-data-dir={profile}"], pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(to_browser, from_browser)
    finally:
        os.close(to_browser)  # which ends it
        os.close(from_browser)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
