"""Compiled loops where nothing can be kept for the next process: containers, other users' packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import foretell

STATISTICS = """
import numpy as np, foretell
from foretell.stats.auc import compiled
compiled.share_deviations(np.full((2, 30), 0.5), found := np.empty(2))
assert found.tolist() == [0.0, 0.0]
print(foretell.__file__)
print(len(compiled.share_deviations.signatures), compiled.share_deviations.stats.cache_path)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that no user can put anything beside, not even one who may do everything."""
    package = tmp_path / "elsewhere" / "foretell"
    shutil.copytree(Path(foretell.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "stats" / "auc" / "__pycache__").write_text("in the way")
    return package


def run(package: Path, **environment: str) -> list[str]:
    """Compute a statistic with that package and without a home; return where it was and what was kept."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "FORETELL", "XDG"))}
    done = subprocess.run(
        [sys.executable, "-B", "-c", STATISTICS],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "HOME": "/dev/null/nobody", "PYTHONPATH": str(package.parent), **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    where, compiled = done.stdout.strip().splitlines()
    assert where == str(package / "__init__.py")
    return compiled.split(" ", 1)


def test_statistics_are_computed_where_nothing_can_be_written(package: Path) -> None:
    assert run(package) == ["1", "None"]


def test_what_is_compiled_is_kept_in_the_folder_that_is_set(package: Path, tmp_path: Path) -> None:
    compiled, kept = run(package, FORETELL_CACHE=str(tmp_path / "cache"))
    assert compiled == "1"
    assert Path(kept).is_relative_to(tmp_path / "cache" / "compiled")
    assert any("share_deviations" in path.name for path in Path(kept).iterdir())


def test_numbas_own_setting_goes_first(package: Path, tmp_path: Path) -> None:
    _, kept = run(package, FORETELL_CACHE=str(tmp_path / "cache"), NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    assert Path(kept).is_relative_to(tmp_path / "numba")


def test_a_folder_that_cannot_be_written_is_no_obstacle(package: Path) -> None:
    assert run(package, FORETELL_CACHE="/dev/null/cache") == ["1", "None"]
