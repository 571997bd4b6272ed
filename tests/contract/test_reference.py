"""The reference pages say what the code says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the reference of the reading wing needs torch")

from scripts.reference import FOLDER

_PRINT = "import json; from scripts.reference import pages; print(json.dumps(pages()))"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """What the script writes in a process of its own: click remembers how each verb was called before."""
    done = subprocess.run([sys.executable, "-c", _PRINT], cwd=FOLDER.parents[1], stdout=subprocess.PIPE, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["command-line.md", "tables.md"])
def test_the_page_is_what_the_script_writes(name: str, pages: dict[str, str]) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == pages[name], "run: python scripts/reference.py"


def test_every_link_between_pages_leads_somewhere() -> None:
    docs = FOLDER.parent
    for page in [*docs.rglob("*.md"), docs.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
            assert isinstance(page, Path)
