"""`check` and `show`: what they print, how they end, and that texts of others cannot play with a terminal."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretell.cli.main import main
from foretell.storage.runs import Run, open_run
from foretell.storage.writer_lock import writing_alone
from tests.directions.test_direction import direction_for
from tests.reading.tiny import tiny_model
from tests.storage.synthetic import append_part, copied, job, made


def call(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_whole_run_is_said_to_be_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied(tmp_path / "run", 3)
    code, out, err = call("check", tmp_path / "run", capsys=capsys)
    assert (code, err) == (0, "")
    assert out == f"whole: 9 samples in 3 parts, finished: {tmp_path / 'run'}\n"


def test_each_damaged_file_has_one_line_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(tmp_path / "run", 3)
    (run.path / "tokens" / "part-00001.parquet").unlink()
    (run.path / "samples" / "part-00002.parquet").write_text("x")
    (run.path / "samples" / "notes\x1b[31m.txt").write_text("mine")
    code, out, _ = call("check", run.path, capsys=capsys)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("tokens/part-00001.parquet: is missing; repair the run (--repair")
    assert lines[1].startswith("samples/part-00002.parquet: has 1 bytes")
    assert lines[2] == "  no part of the run, and harmless: samples/notes␛[31m.txt"
    assert lines[3].startswith("2 damaged: ")
    code, out, _ = call("check", run.path, "--repair", capsys=capsys)
    assert code == 0
    assert "repaired" in out
    assert call("check", run.path, capsys=capsys)[0] == 0
    made(run.path, 3)
    assert open_run(run.path).finished


def test_compaction_is_an_option_for_whole_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied(tmp_path / "run", 3)
    (run.path / "job.json").unlink()
    assert call("check", run.path, "--compact", capsys=capsys)[0] == 1
    assert len(run.parts) == 3
    run.repair()
    assert call("check", run.path, "--compact", capsys=capsys)[1].endswith("compacted: 1 parts\n")


def test_wrong_calls_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for verb, place, said in (
        ("check", "empty", "is no run"),
        ("check", "none", "is no run"),
        ("show", "none", "there is no such file or folder"),
        ("show", "empty", "is neither a run, nor a study, nor a direction"),
    ):
        code, _, err = call(verb, tmp_path / place, capsys=capsys)
        assert code == 2
        assert said in err
    run = copied(tmp_path / "run", 1)
    with writing_alone(run.path):
        code, _, err = call("check", run.path, "--repair", capsys=capsys)
        assert (code, "is writing into it" in err) in {(2, True), (0, False)}


def test_a_run_whose_manifest_is_gone_is_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied(tmp_path / "run", 2)
    (run.path / "manifest.json").unlink()
    code, out, _ = call("check", run.path, capsys=capsys)
    assert code == 1
    assert out.startswith("manifest.json: is missing; repair the run (--repair makes it again)")
    assert call("check", run.path, "--repair", capsys=capsys)[0] == 0
    assert open_run(run.path).finished


def test_a_run_is_shown_in_a_screenful(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.create(tmp_path / "run", job(4, model="evil\x1b[2J", n_conversations=12))
    append_part(run, 0)
    unread = {"id": ["u"], "dataset": "x\u202e", "group": "u", "messages": "[]", "model": "m", "reason": "a\nb"}
    run.append("unread", {"samples": pl.DataFrame(unread)})
    code, out, _ = call("show", run.path, capsys=capsys)
    assert code == 0
    assert len(out.splitlines()) < 40
    for expected in (
        "4 samples, unfinished (4 of 12)",
        "evil␛[2J (float32), weights v2:0123456789abcdef, template t",
        "not read: 1 (a↵b)",
        "x⟨U+202E⟩",
        "layers 0, 1; last prompt token, mean over answer, last answer token; float16",
        "attention",
    ):
        assert expected in out, expected
    assert "\x1b" not in out
    labels = pl.DataFrame({"id": run.samples["id"], "behavior_label": [1, 0, 1, None], "label_source": "file"})
    run.write_labels(labels)
    assert "0.667" in call("show", run.path, capsys=capsys)[1]


def test_a_large_run_is_shown_without_reading_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied(tmp_path / "run", 3)
    for table in ("attention", "tokens", "hidden", "rows"):
        shutil.rmtree(run.path / table)
    begun = time.perf_counter()
    assert call("show", run.path, capsys=capsys)[0] == 0
    assert time.perf_counter() - begun < 5


def test_a_direction_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    direction = dataclasses.replace(direction_for(tiny_model("llama"), np.random.default_rng(0)), concept="lying\x07")
    direction.save(tmp_path / "lying.safetensors")
    code, out, _ = call("show", tmp_path / "lying.safetensors", capsys=capsys)
    assert code == 0
    assert 'lying.safetensors: "lying␇"' in out
    assert f"weights {direction.source.fingerprint}" in out
    assert "--tables FOLDER" in out
    (tmp_path / "other.safetensors").write_bytes(b"none")
    assert call("show", tmp_path / "other.safetensors", capsys=capsys)[0] == 2


def test_a_study_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.cli.test_main import attention

    attention().write_csv(tmp_path / "table.csv")
    assert main(["study", str(tmp_path / "table.csv"), "--to", str(tmp_path / "out"), "--quiet"]) == 0
    capsys.readouterr()
    code, out, _ = call("show", tmp_path / "out", capsys=capsys)
    assert code == 0
    assert out.startswith(f"study {tmp_path / 'out'}")
    settings = json.loads((tmp_path / "out" / "study.json").read_text())["settings"]
    assert f"seed {settings['seed']}" in out
    assert "240 read, 240 kept" in out
    assert "What each signal tells beyond the baselines" in out
