"""Every verb that writes a folder is told who writes there already, before any work, and leaves it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foretell.cli.main import main
from foretell.storage.writer_lock import writing_alone
from tests.directions.test_direction import direction_for
from tests.reading.tiny import tiny_model
from tests.storage.synthetic import copied

VERBS = {
    "study": "study run --to held",
    "study again": "study run --to held --overwrite",
    "report": "report held",
    "report elsewhere": "report run --to held",
    "compare": "compare run run --to held",
    "surface": "surface model --question Who? --answer Me. --to held",
    "steer": "steer model --direction d.safetensors --layers 1 --to held",
    "causes": "causes model run --heads 1 --to held",
    "direction": "direction model --to new.safetensors --tables held",
    "read": "read model builtin --answers generate --to held",
    "demo": "demo --to held",
    "label": "label held",
    "check": "check held --repair",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the verbs take."""
    folder = tmp_path_factory.mktemp("verbs")
    model = tiny_model("llama")
    model.model.save_pretrained(folder / "model")
    direction_for(model, np.random.default_rng(0)).save(folder / "d.safetensors")
    copied(folder / "run", 2)
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_somebody_writes_into_is_refused(
    folder: Path, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    if verb in {"label", "check"}:
        copied(tmp_path / "held", 2)
    (tmp_path / "held").mkdir(exist_ok=True)
    with writing_alone(tmp_path / "held"):
        before = sorted(tmp_path.rglob("*"))
        assert main(VERBS[verb].split()) == 2
        assert "is writing into it; wait until that ends, or choose another folder" in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before
