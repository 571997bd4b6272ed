"""Draw the picture of the report's first screen in the README from the demo's output.

make demo
python -m scripts.first_screen_picture demo
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.page_picture import save_picture
from tests.showing.browser import opened

SIZE = (1280, 900)


def main(demo: Path) -> None:
    """Take the picture of the page in `demo` as it opens."""
    with opened() as browser:
        browser.show(demo.resolve() / "results" / "report.html", width=SIZE[0], height=SIZE[1])
        save_picture(browser, "first-screen.png", n_colours=128)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
