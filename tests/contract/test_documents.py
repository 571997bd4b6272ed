"""The code in the README and the tutorial runs as it stands."""

import re
import warnings
from pathlib import Path

import pytest

import foretell
from foretell.reading.models.load import Model

ROOT = Path(__file__).parents[2]


def snippets(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def small_sets(smollm2: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the pages' code run on the first prompts and facts only, in an empty folder."""
    prompts, pairs = foretell.builtin_conversations("alpaca")[:6], foretell.fact_pairs(per_topic=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(foretell, "load_model", lambda _name: smollm2, raising=False)
    monkeypatch.setattr(foretell, "builtin_conversations", lambda _name: prompts, raising=False)
    monkeypatch.setattr(foretell, "fact_pairs", lambda **_options: pairs, raising=False)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.usefixtures("small_sets")
def test_the_example_of_the_readme_runs() -> None:
    first, listening = snippets("README.md")
    names: dict[str, object] = {}
    exec(first, names)  # noqa: S102
    assert Path("results/report.html").exists()
    import torch

    names.update(segments=[[3, 2, 2, 4, 4]], token_ids=torch.arange(5)[None])
    exec(listening, names)  # noqa: S102


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.usefixtures("small_sets")
def test_the_tutorial_runs_from_top_to_bottom() -> None:
    names: dict[str, object] = {}
    for snippet in snippets("docs/tutorial/first-study.md"):
        exec(snippet, names)  # noqa: S102
    assert Path("results/report.html").exists()


@pytest.mark.model
@pytest.mark.slow
def test_the_notebook_runs_and_its_objects_show_themselves(tmp_path: Path, smollm2: Model) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "docs/tutorial/first-study.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs are not kept in the repository"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that speak to the kernel
        nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in code:
        shown = [output.data for output in cell.outputs if "data" in output]
        assert shown, cell.source
        assert {"text/html", "image/png"} & set(shown[-1]) or cell.id == "numpy", cell.source
        said = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        assert "Warning" not in said, said
        bars = {"read": "reading", "study": "study", "direction": "reading pairs"}
        if cell.id in bars:
            assert f"{bars[cell.id]}: 100%" in said
