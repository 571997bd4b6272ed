"""Draw the picture in the README from the surface in the demo's output.

make demo
python scripts/readme_picture.py demo
"""

from __future__ import annotations

import sys
from pathlib import Path

from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.storage.atomic import written_whole
from foretell.storage.surfaces import Surface

TARGET = Path(__file__).parents[1] / "docs" / "images" / "surfaces.png"
DOTS_PER_INCH = 75


def main(demo: Path) -> None:
    """Draw the 3-D surfaces in `demo` at a size that suits a page."""
    figure = surface_figures(Surface.read(demo / "surface"))[0]
    picture = to_matplotlib.render(to_matplotlib.draw(figure), "png", dots_per_inch=DOTS_PER_INCH)
    with written_whole(TARGET) as draft:
        draft.write_bytes(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
