"""The reference pages say what the code says."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the reference of the reading wing needs torch")

from scripts.reference import FOLDER, pages


@pytest.mark.parametrize("name", ["python.md", "command-line.md", "tables.md"])
def test_the_page_is_what_the_script_writes(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == pages()[name], "run: python scripts/reference.py"


def test_every_link_between_pages_leads_somewhere() -> None:
    import re

    docs = FOLDER.parent
    for page in [*docs.rglob("*.md"), docs.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
            assert isinstance(page, Path)
