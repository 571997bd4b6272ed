"""The verbs for monitors: what they print, write and refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest

import foretell
from foretell.cli.main import main
from foretell.reading.models.load import Model
from tests.monitors.made_runs import answered_run, conversations
from tests.reading.tiny import tiny_model
from tests.stats.runs import planted_run

RATES = ("--max-false-positive-rate", "0.3", "--confidence", "0.8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    planted_run(folder / "run", planted=("attention",), since=1, effect=3.0, hidden=False)
    assert main(["monitor", "fit", str(folder / "run"), "--to", str(folder / "m.safetensors"), *RATES]) == 0
    return folder


def test_a_monitor_is_fitted_shown_and_applied(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "show", str(folder / "m.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "With confidence 0.8, at most 30.00% of new groups with label 0 have a false alarm" in text
    assert "Recall at that threshold" in text
    assert "Best baseline at the same false-positive rate" in text
    scores = folder / "scores.csv"
    assert main(["monitor", "apply", str(folder / "m.safetensors"), str(folder / "run"), "--to", str(scores)]) == 0
    text = capsys.readouterr().out
    assert "label 0 (false alarms)" in text
    assert "Drift: undefined: 0 new groups" in text
    frame = pl.read_csv(scores)
    assert frame.columns == ["id", "n_generated", "score", "probability", "alarm"]
    expected = foretell.Monitor.load(folder / "m.safetensors").apply(folder / "run")
    assert frame["score"].to_list() == expected["score"].to_list()


def test_a_monitor_is_tried_on_other_runs_and_batches(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted_run(tmp_path / "other", planted=("attention",), since=1, effect=3.0, hidden=False, prefix="o", seed=4)
    monitor, other, to = folder / "m.safetensors", tmp_path / "other", tmp_path / "shifts.csv"
    arguments = [f"again={folder / 'run'}", str(other), "--to", str(to)]
    assert main(["monitor", "shift", str(monitor), *arguments]) == 0
    text = capsys.readouterr().out
    assert "again, all: no new group with label 0" in text
    frame = pl.read_csv(to)
    assert frame["run"].to_list() == ["again", "other"]
    assert frame["verdict"][1] in text
    assert main(["monitor", "drift", str(monitor), str(other)]) == 0
    text = capsys.readouterr().out
    assert "Drift: no difference was found" in text
    assert "probability above" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "RUN", "--to", "new"], "299 groups with label 0 are needed for calibration"),
        (["fit", "RUN", "--to", "m.safetensors", *RATES], "exists already"),
        (["fit", "RUN", "--to", "new", *RATES, "--scored-at", "3"], "scored_at must be"),
        (["fit", "RUN", "--to", "new", "--max-false-positive-rate", "1.5"], "is not in the range"),
        (["apply", "m.safetensors", "RUN", "--to", "scores.txt"], "must end with"),
        (["apply", "none", "RUN"], "there is no such monitor file"),
        (["show", "RUN/manifest.json"], "holds no monitor"),
        (["shift", "m.safetensors"], "Missing argument 'RUNS...'"),
        (["shift", "m.safetensors", "RUN", "run=other"], "two runs are called 'run': write NAME=other"),
        (["shift", "m.safetensors", "a=none"], "'none' does not exist"),
        (["shift", "m.safetensors", "RUN", "--to", "shifts.txt"], "must end with"),
        (["shift", "m.safetensors", "RUN", "--allow", "dtype"], "allow must be some of"),
        (["drift", "m.safetensors", "RUN", "--behaviour", "sings"], "has no behaviour or dataset 'sings'"),
    ],
)
def test_wrong_calls_are_refused(
    folder: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    assert main(["monitor", *(one.replace("RUN", "run") for one in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "new").exists()


def test_with_too_few_groups_a_monitor_without_threshold_is_made_when_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "none.safetensors"
    assert main(["monitor", "fit", str(folder / "run"), "--to", str(to), "--allow-no-threshold"]) == 0
    assert "no threshold: not enough data" in capsys.readouterr().out
    assert foretell.Monitor.load(to).threshold.score is None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    model, to = tiny_model(), tmp_path_factory.mktemp("watched") / "m.safetensors"
    run = answered_run(model, conversations())
    foretell.fit_monitor(run, max_false_positive_rate=0.4, confidence=0.8).save(to)
    return model, to


@pytest.mark.parametrize("options", [[], ["--batch", "3", "--every", "1"], ["--stop", "--batch", "2"]])
def test_prompts_in_answers_and_scores_out(
    watched: tuple[Model, Path],
    options: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, file = watched
    monkeypatch.setattr(foretell, "load_model", lambda *_, **__: model)
    lines = 'Who wrote Emma?\n\n{"id": "x", "query": "Two?"}\n[{"role": "user", "content": "Three?"}]\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert main(["watch", "smollm2", str(file), "--max-new-tokens", "6", *options]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["id"] for one in found] == ["line-1", "x", "line-4"]
    for one in found:
        alarms = [score["n_generated"] for score in one["scores"] if score["alarm"]]
        assert one["alarm"] == (alarms[0] if alarms else None)
        assert one["scores"][-1]["n_generated"] == one["n_generated"] <= 6
        if "--every" in options:
            assert [score["n_generated"] for score in one["scores"]] == list(range(1, one["n_generated"] + 1))


def test_a_line_that_is_no_prompt_is_refused_by_its_number(
    watched: tuple[Model, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = watched
    monkeypatch.setattr(foretell, "load_model", lambda *_, **__: model)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('one\n{"query": \n')
    assert main(["watch", "smollm2", str(file), "--prompts", str(prompts), "--max-new-tokens", "2"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["id"] == "line-1"
    assert "prompts.jsonl, row 2: is no JSON" in captured.err
