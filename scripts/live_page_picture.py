"""Draw the picture of docs/howto/serve.md: the live page with two given answers and a written one.

make demo
python scripts/live_page_picture.py demo/lying.safetensors
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from tests.serving.conftest import TOKEN, served
from tests.serving.live_browser import ask, click, visit, write
from tests.showing.browser import opened

import foretell
from foretell.serving.catalogue import Catalogue
from foretell.storage.atomic import written_whole

TARGET = Path(__file__).parents[1] / "docs" / "images" / "live-page.png"
SIZE = (1440, 900)
COLOURS = 256


def main(direction: Path) -> None:
    """Ask the example's question and take a picture of what the page shows."""
    catalogue = Catalogue.found({"smollm2": lambda: foretell.load_model("smollm2")}, directions=[direction])
    catalogue.model("smollm2")
    with tempfile.TemporaryDirectory() as folder, served(catalogue) as address, opened(local=True) as browser:
        visit(browser, f"{address}/?token={TOKEN}", width=SIZE[0], height=SIZE[1])
        click(browser, "#example")
        click(browser, "#add")
        write(browser, "#longest", "30")
        ask(browser)
        picture = Path(folder) / "page.png"
        browser.picture(picture)
        content = io.BytesIO(picture.read_bytes())
    with written_whole(TARGET) as draft:
        Image.open(content).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(draft, "png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/lying.safetensors"))
