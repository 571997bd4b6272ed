"""Draw the picture of the report's first screen in the README from the demo's output, with a headless Chromium.

make demo
python scripts/first_screen_picture.py demo
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from foretell.storage.atomic import written_whole

TARGET = Path(__file__).parents[1] / "docs" / "images" / "first-screen.png"
SIZE = (1280, 900)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main(demo: Path) -> None:
    """Take the picture of the page in `demo` as it opens."""
    browser = next((found for found in map(shutil.which, NAMES) if found), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(NAMES)} is installed")
    page = (demo / "results" / "report.html").resolve().as_uri()
    with written_whole(TARGET) as draft:
        window = f"--window-size={SIZE[0]},{SIZE[1]}"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=9000")
        subprocess.run([browser, *options, window, f"--screenshot={draft}", page], check=True, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
