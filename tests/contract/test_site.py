"""The documentation site builds without a warning, and its reference has every public name and member."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import foretell

pytest.importorskip("sphinx", reason="the site is built by Sphinx")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", foretell.__all__)
def test_the_reference_has_every_public_name_and_member(name: str, site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert f'id="foretell.{name}"' in page
    value = getattr(foretell, name)
    if inspect.isclass(value):
        members = [one for one, own in vars(value).items() if not one.startswith("_") and inspect.getdoc(own)]
        callables = [one for one in members if inspect.isroutine(getattr(value, one))]
        assert [one for one in callables if f'id="foretell.{name}.{one}"' not in page] == []
