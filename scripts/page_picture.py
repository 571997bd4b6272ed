"""Save what a browser shows as a picture for the docs: few colours, so that it stays small."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from tests.showing.browser import Browser

from foretell.storage.atomic import written_whole

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def save_picture(browser: Browser, name: str, *, n_colours: int) -> None:
    """Save the window as `docs/images/NAME`, whole or not at all."""
    shown = Image.open(io.BytesIO(browser.page.screenshot())).convert("RGB")
    with written_whole(IMAGES / name) as draft:
        shown.quantize(n_colours, dither=Image.Dither.NONE).save(draft, "png", optimize=True)
