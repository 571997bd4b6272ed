"""Draw the gallery in the docs from the demo's output: every kind of figure, as in a paper.

make demo
python scripts/gallery.py demo
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.figures.course_figures import course_figure
from foretell.showing.figures.figure import Figure
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.figures.token_figures import token_figure
from foretell.showing.report_folder import read_report_data
from foretell.storage.atomic import written_whole

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = "images/gallery"
DOTS_PER_INCH = 110
COLOURS = 64
SHOWN = (
    *("activity", "tokens", "course", "early", "families-increments", "hidden-layers", "map-auc", "leak"),
    *("roc-forest", "importances", "direction-by-layer"),
)
HEAD = """# Gallery

Every kind of figure, drawn from the output of `foretell demo` for two columns of a paper. Each title is a sentence made
by rule from the numbers; each figure comes with a line on how to read it. In the report the same figures are
interactive, with their numbers as a table and as CSV, and `figures/` has all of them as png and svg.

Figures for a paper are 3.25 or 6.75 inches wide, in small letters, with fonts embedded:

```python
from pathlib import Path
from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.report_folder import read_report_data

data, _ = read_report_data("demo/results")
for figure in study_figures(data):
    canvas = to_matplotlib.draw(figure, style="two-column")  # or "column"
    Path(f"{figure.words.name}.pdf").write_bytes(to_matplotlib.render(canvas, "pdf"))
```
"""


def main(demo: Path) -> None:
    """Draw the pictures and write the page."""
    figures = {figure.words.name: figure for figure in _figures(demo / "results")}
    chosen = [figures[name] for name in SHOWN if name in figures]
    (DOCS / FOLDER).mkdir(parents=True, exist_ok=True)
    for figure in chosen:
        with written_whole(DOCS / FOLDER / f"{figure.words.name}.png") as draft:
            draft.write_bytes(_picture(figure))
    with written_whole(DOCS / "gallery.md") as draft:
        draft.write_text("\n".join([HEAD, *map(_section, chosen)]), encoding="utf-8")


def _figures(results: Path) -> Sequence[Figure]:
    data, _ = read_report_data(results)
    of_surface: list[Figure | None] = []
    for surface in data.surfaces[:1]:
        of_surface += [surface_figures(surface)[0], token_figure(surface), course_figure(surface)]
    return [*(figure for figure in of_surface if figure is not None), *study_figures(data)]


def _picture(figure: Figure) -> bytes:
    canvas = to_matplotlib.draw(figure, style="two-column")
    drawn = to_matplotlib.render(canvas, "png", dots_per_inch=DOTS_PER_INCH)
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        few = image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _section(figure: Figure) -> str:
    words = figure.words
    return f"## {words.title}\n\n*{words.how}*\n\n![{words.alt.split('. ')[0]}]({FOLDER}/{words.name}.png)\n"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
