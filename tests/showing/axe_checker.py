"""axe, the checker of accessibility that browsers' own audits use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.showing.browser import Browser

__all__ = ["fetched_axe", "serious_faults"]

_VERSION = "axe-core@4.14.1"


def fetched_axe(folder: Path) -> str:
    """Return the checker, fetched by npm; it is no part of the package. The test is skipped where it does not come."""
    npm = shutil.which("npm")
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


def serious_faults(browser: Browser, axe: str) -> list[tuple[str, str]]:
    """Return name and place of what is seriously wrong on the page as it is shown."""
    browser.run(axe)
    found = browser.run("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in {"serious", "critical"}]
