"""Draw the picture of docs/concepts/reading.md: when hooks run in a forward pass, and what each of them records.

python scripts/reading_picture.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from foretell.storage.atomic import written_whole

TARGET = Path(__file__).parents[1] / "docs" / "images" / "reading.png"
DOTS_PER_INCH = 110
MODEL, HOOK, RECORD = "#e8edf3", "#fff3d6", "#e3f1e5"
EDGE = "#5b6770"

STAGES = (
    "block 0: attention",
    "block 0: projection, MLP",
    "block 1 begins",
    "block 1: attention",
    "the last block ends",
    "final norm",
)
"""What runs inside the decoder, from top to bottom."""

HOOKS = (
    (0, "before the model", "token ids, mask, positions, cache of this call"),
    (1, "before the decoder", "a pass starts: its columns and its rows"),
    (2, "attention call", "mass, lift, entropy, contribution of the rows"),
    (4, "before block 1", "residual stream after block 0: activity"),
    (5, "attention call", "mass, lift, entropy, contribution of the rows"),
    (6, "after the last block", "residual stream after block L-1: activity"),
    (7, "after the decoder", "the pass counts; before, nothing of it does"),
    (8, "after the model", "logits: log-probability of the next tokens"),
)
"""Row, when the hook runs, and what it records."""


def box(axes: Axes, place: tuple[float, float], size: tuple[float, float], colour: str) -> None:
    """Draw one rounded box; `place` is its left upper corner, from the top."""
    (left, top), (width, height) = place, size
    shape = FancyBboxPatch(
        (left, -top - height), width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=colour, ec=EDGE, lw=0.9
    )
    axes.add_patch(shape)


def draw() -> Figure:
    """Return the picture."""
    figure, axes = plt.subplots(figsize=(9.2, 5.6))
    axes.set(xlim=(0, 11.6), ylim=(-9.2, 0.7))
    axes.axis("off")
    for left, title in ((0.2, "the model runs"), (4.0, "a hook is called"), (7.3, "and records, by column")):
        axes.text(left, 0.3, title, fontsize=11, fontweight="bold")
    box(axes, (0.1, 0.0), (3.3, 9.0), "#f7f9fb")
    box(axes, (0.3, 0.9), (2.9, 7.05), "#f1f4f8")
    for row, name in enumerate(("model.forward(...)", "decoder.forward(...)")):
        axes.text(0.35 + 0.2 * row, -row - 0.45, name, fontsize=9.5, va="center", family="monospace")
    for row, name in enumerate((*STAGES, "language-model head"), start=2):
        indent = 0.5 if row < 8 else 0.3
        box(axes, (indent, 0.15 + row), (3.2 - indent - (0.15 if row < 8 else 0), 0.6), MODEL)
        axes.text(indent + 0.12, -row - 0.45, name, fontsize=8.8, va="center")
    for row, when, what in HOOKS:
        top = 0.2 + row
        box(axes, (3.9, top), (2.6, 0.5), HOOK)
        axes.text(4.02, -top - 0.26, when, fontsize=9, va="center")
        box(axes, (7.2, top), (4.3, 0.5), RECORD)
        axes.text(7.32, -top - 0.26, what, fontsize=8.6, va="center")
        for start, end in ((3.45, 3.86), (6.55, 7.16)):
            axes.annotate("", (end, -top - 0.25), (start, -top - 0.25), arrowprops={"arrowstyle": "->", "color": EDGE})
    figure.tight_layout(pad=0.3)
    return figure


def main() -> None:
    """Write the picture."""
    with written_whole(TARGET) as draft:
        draw().savefig(draft, format="png", dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    main()
