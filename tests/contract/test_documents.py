"""The code in the README and the tutorials runs as it stands."""

import asyncio
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import foretell
from foretell.monitors.live.watched_answers import watched_answers
from foretell.reading.models.load import Model
from tests.monitors.made_runs import answered_run, conversations, label_sure_answers
from tests.reading.tiny import tiny_model

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
@pytest.mark.parametrize(
    ("page", "output"),
    [("first-study", "results/report.html"), ("direction", "lying.safetensors"), ("signals", "results/report.html")],
)
def test_the_tutorial_runs_from_top_to_bottom(page: str, output: str) -> None:
    names: dict[str, object] = {}
    for snippet in snippets(f"docs/tutorial/{page}.md"):
        exec(snippet, names)  # noqa: S102
    assert Path(output).exists()


@pytest.fixture
def small_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a page's code run on a tiny model, with labels made of its own numbers, in an empty folder."""
    model = tiny_model()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(foretell, "load_model", lambda _name: model, raising=False)
    monkeypatch.setattr(foretell, "label", label_sure_answers, raising=False)
    every = foretell.builtin_conversations
    monkeypatch.setattr(foretell, "builtin_conversations", lambda *a, **b: every(*a, **b)[::9], raising=False)
    read = foretell.read
    monkeypatch.setattr(foretell, "read", lambda *a, **b: read(*a, **{**b, "max_new_tokens": 8}), raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("small_answers")
def test_the_tutorial_on_monitors_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for snippet in snippets("docs/tutorial/running-monitor.md"):
        exec(snippet, names)  # noqa: S102
    assert foretell.Monitor.load("monitor.safetensors").threshold.reason is not None
    text = capsys.readouterr().out
    assert "cannot say yet" in text


@pytest.mark.slow
@pytest.mark.usefixtures("small_answers")
def test_the_server_of_the_tutorial_survives_clients_that_leave_and_its_own_end() -> None:
    """One request is cancelled before its turn, one while its answer is written, and then the server itself."""
    model = foretell.load_model("tiny")
    run = answered_run(model, conversations(24))
    monitor = foretell.fit_monitor(run, max_false_positive_rate=0.4, confidence=0.6)
    names: dict[str, Any] = {"model": model, "monitor": monitor, "watched_answers": watched_answers}
    [code] = [one for one in snippets("docs/tutorial/running-monitor.md") if "class WatchedModel" in one]
    exec(code.partition("async def main")[0], names)  # noqa: S102

    async def serve() -> None:
        server = names["WatchedModel"](model, monitor, largest=2)
        first, second, third = (asyncio.create_task(server.answer(text)) for text in ("one", "two", "three"))
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0)
        second.cancel()
        assert (await first).scores
        assert (await third).scores
        both = asyncio.create_task(server.answer("four"))
        await asyncio.sleep(0.01)
        both.cancel()
        assert (await server.answer("five")).scores
        last = asyncio.create_task(server.answer("six"))
        await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.wait([serving])
        assert serving.cancelled()
        last.cancel()

    asyncio.run(serve())
    assert "generate" not in vars(model.model)
    assert watched_answers(model, monitor, ["one"])[0].scores


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
