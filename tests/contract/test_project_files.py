"""What stands beside the code agrees with it: hosted checks, citation, pre-commit settings, forms for reports."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
yaml: Any = pytest.importorskip("yaml", reason="these files are YAML")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_every_supported_python_is_checked_by_the_one_command(project: dict[str, Any]) -> None:
    jobs = read(".github/workflows/check.yml")["jobs"]
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert jobs["check"]["strategy"]["matrix"]["python"] == supported
    assert any(step.get("run", "").startswith("make check ") for step in jobs["check"]["steps"])


def test_every_target_that_is_called_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z][a-z ]*):", makefile))
    names = {name for line in targets for name in line.split()}
    jobs = read(".github/workflows/check.yml")["jobs"]
    assert {"check", *jobs["versions"]["strategy"]["matrix"]["versions"]} <= names


def test_the_citation_is_of_this_version(project: dict[str, Any]) -> None:
    citation = read("CITATION.cff")
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_hooks_call_tools_that_the_project_installs(project: dict[str, Any]) -> None:
    installed = {re.split(r"[\[<>=]", one)[0] for one in project["optional-dependencies"]["dev"]}
    tools = {"lint-imports": "import-linter"}
    for repository in read(".pre-commit-config.yaml")["repos"]:
        for hook in repository["hooks"]:
            program = Path(hook["entry"].split()[0]).name
            assert tools.get(program, program) in installed, hook["id"]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*-*.yml")), ids=lambda path: path.stem
)
def test_a_form_asks_for_something(form: Path) -> None:
    asked = read(str(form.relative_to(ROOT)))
    assert {"name", "description", "body"} <= set(asked)
    assert any(field.get("validations", {}).get("required") for field in asked["body"])
