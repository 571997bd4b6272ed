"""What is installed and shown on a package page: the package and its data, whole metadata, no dead links."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import PackageNotFoundError
from importlib.metadata import metadata as installed
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.optional import missing

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "foretell"
DATA = ("py.typed", "data/*", "serving/static/*", "showing/page/templates/**/*")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source archive."""
    if not (find_spec("hatchling") and find_spec("hatch_fancy_pypi_readme")):
        missing("hatchling with hatch-fancy-pypi-readme")
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def metadata(built: Path) -> Message:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(wheel.read(name).decode("utf-8"))


def test_the_wheel_holds_the_package_its_data_and_nothing_else(built: Path) -> None:
    expected = set(PACKAGE.rglob("*.py"))
    expected |= {path for pattern in DATA for path in PACKAGE.glob(pattern) if path.is_file()}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        described = {name.partition(".dist-info/")[2] for name in wheel.namelist() if ".dist-info/" in name}
    assert names == {f"foretell/{path.relative_to(PACKAGE).as_posix()}" for path in expected}
    assert described == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_metadata_is_whole(built: Path) -> None:
    found = metadata(built)
    assert (found["Name"], found["License-Expression"], found["Requires-Python"]) == (
        "foretell",
        "Apache-2.0",
        ">=3.11",
    )
    assert found["Author"] == found["Maintainer"] == "foretell maintainers"
    assert "@" not in str(found["Author"])
    assert found["Description-Content-Type"] == "text/markdown"
    assert set(found.get_all("Provides-Extra", [])) == {"models", "ray", "remote", "serve", "all", "test", "dev"}
    assert all(re.search(r"[>=]=|-stubs|types-", one) for one in found.get_all("Requires-Dist", []))
    pythons = [one for one in found.get_all("Classifier", []) if re.search(r"Python :: 3\.\d+$", one)]
    assert [one.rpartition(" ")[2] for one in pythons] == ["3.11", "3.12", "3.13"]


def test_the_page_has_no_link_or_picture_that_leads_nowhere_on_it(built: Path) -> None:
    page = str(metadata(built).get_payload())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", readme), "the README has such links"
    assert not re.findall(r"\]\((?!https?://|#)[^)]*\)", page)
    assert not re.findall(r"""(?:src|href)=["'](?!https?://|#)""", page)
    headings = re.findall(r"(?m)^#+ .*$", readme)
    assert re.findall(r"(?m)^#+ .*$", page) == headings
    assert "Documentation" in page


def test_a_package_can_be_built_from_the_source_archive(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src/foretell/py.typed", "src/foretell/data/facts.csv"} <= names
    assert not any(name.startswith((".venv", "dist/", "demo/")) for name in names)


def test_every_tested_version_can_be_installed_on_every_supported_python() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for name, version in pinned.items():
        try:
            found = installed(name)
        except PackageNotFoundError:
            continue
        if Version(found["Version"]).public == version:
            allowed = SpecifierSet(found["Requires-Python"] or "")
            assert all(python in allowed for python in ("3.11.0", "3.12.0", "3.13.0")), (name, version, str(allowed))
