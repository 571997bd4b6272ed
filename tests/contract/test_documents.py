"""The code in the README and the tutorial runs as it stands."""

import re
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
@pytest.mark.parametrize(
    ("page", "output"),
    [("first-study", "results/report.html"), ("direction", "lying.safetensors"), ("signals", "results/report.html")],
)
def test_the_tutorial_runs_from_top_to_bottom(page: str, output: str) -> None:
    names: dict[str, object] = {}
    for snippet in snippets(f"docs/tutorial/{page}.md"):
        exec(snippet, names)  # noqa: S102
    assert Path(output).exists()
