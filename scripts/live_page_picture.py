"""Draw the picture of docs/howto/serve.md: the live page with two given answers and a written one.

make demo
python -m scripts.live_page_picture demo/lying.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.page_picture import save_picture
from tests.serving.conftest import TOKEN, served
from tests.serving.live_browser import ask, click, visit, write
from tests.showing.browser import opened

import foretell
from foretell.serving.catalogue import Catalogue

SIZE = (1440, 900)


def main(direction: Path) -> None:
    """Ask the example's question and take a picture of what the page shows."""
    catalogue = Catalogue.found({"smollm2": lambda: foretell.load_model("smollm2")}, directions=[direction])
    catalogue.model("smollm2")
    with served(catalogue) as address, opened(local=True) as browser:
        visit(browser, f"{address}/?token={TOKEN}", width=SIZE[0], height=SIZE[1])
        click(browser, "#example")
        click(browser, "#add")
        write(browser, "#longest", "30")
        ask(browser)
        save_picture(browser, "live-page.png", n_colours=256)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/lying.safetensors"))
