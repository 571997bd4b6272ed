"""The verb causes: what it prints, writes and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import foretell
from foretell.cli import cause_verbs
from foretell.cli.main import main
from foretell.reading.models.load import Model
from tests.interventions.toy import answered, toy_model


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    model, folder = toy_model(), tmp_path_factory.mktemp("causes")
    run = answered(model, 44)
    copied = foretell.read(model, run.conversations(), to=folder / "run", progress=False)
    foretell.label(copied)
    return model, folder


def test_a_table_is_printed_and_written(
    run_folder: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = run_folder

    def opened(_name: str, options: dict[str, Any]) -> Model:
        for name in ("dtype", "device", "trust_remote_code"):
            options.pop(name)
        return model

    monkeypatch.setattr(cause_verbs, "opened_model", opened)
    arguments = ["causes", "smollm2", str(folder / "run"), "--heads", "0.2,1.1", "--controls", "5", "--quiet"]
    to = str(folder / "out")
    assert main([*arguments, "--max-new-tokens", "1", "--to", to]) == 0
    printed = capsys.readouterr().out
    assert "predicts and causes" in printed
    assert "layer 1 head 1: log-odds: no conversation has a second answer of the other label" in " ".join(
        printed.split()
    )
    table = pl.read_parquet(folder / "out" / "causes.parquet")
    assert table["verdict"].to_list() == ["predicts and causes", "predicts only"]
    assert (folder / "out" / "report.html").exists()
    assert main([*arguments, "--to", to]) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "three"], "'three' is neither a number of heads nor heads such as 3.5,7.1 (layer.head)"),
        (["--heads", "3,5"], "is neither a number of heads"),
        (["--layers", "1.5"], "is no list of whole numbers"),
        (["--doses", "x"], "'x' is no list of numbers"),
        (["--ablation", "noise"], "'noise' is not one of"),
        (["--held-out", "1"], "is not in the range"),
        (["--monitor", "none.safetensors"], "there is no such monitor file"),
    ],
)
def test_wrong_calls_are_refused(
    run_folder: tuple[Model, Path], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = run_folder
    assert main(["causes", "smollm2", str(folder / "run"), "--to", str(folder / "never"), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (folder / "never").exists()
