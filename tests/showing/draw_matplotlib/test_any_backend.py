"""Figures are drawn whatever backend a process inherited."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

DRAWN = """
import os
from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.draw_matplotlib.canvas import paper_style
from matplotlib.figure import Figure
import matplotlib
with paper_style():
    canvas = Figure()
    canvas.subplots().plot([1.0, 2.0])
assert to_matplotlib.render(canvas, "png").startswith(b"\\x89PNG")
print(os.environ.get("MPLBACKEND"), matplotlib.get_backend(auto_select=False))
"""


@pytest.mark.parametrize(
    ("inherited", "kept"),
    [
        ("module://matplotlib_inline.backend_inline", find_spec("matplotlib_inline") is not None),
        ("module://ipympl.backend_nbagg", False),
        ("no such thing", False),
        ("qtagg", True),
        ("svg", True),
        (None, False),
    ],
)
def test_an_inherited_backend_is_no_obstacle_and_a_good_one_stays(inherited: str | None, kept: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"MPLBACKEND", "DISPLAY"}}
    if inherited is not None:
        environment["MPLBACKEND"] = inherited
    done = subprocess.run([sys.executable, "-c", DRAWN], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    setting, backend = done.stdout.strip().rsplit(" ", 1)
    assert setting == str(inherited)
    assert (backend == inherited) == kept
