"""Draw the picture of the report's first screen in the README from the demo's output.

make demo
python scripts/first_screen_picture.py demo
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from tests.showing.browser import opened

from foretell.storage.atomic import written_whole

TARGET = Path(__file__).parents[1] / "docs" / "images" / "first-screen.png"
SIZE = (1280, 900)
COLOURS = 128


def main(demo: Path) -> None:
    """Take the picture of the page in `demo` as it opens."""
    with tempfile.TemporaryDirectory() as folder, opened() as browser:
        browser.show(demo.resolve() / "results" / "report.html", width=SIZE[0], height=SIZE[1])
        picture = Path(folder) / "page.png"
        browser.picture(picture)
        content = io.BytesIO(picture.read_bytes())
    with written_whole(TARGET) as draft:
        Image.open(content).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(draft, "png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
