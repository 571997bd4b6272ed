"""Labels of a log for a run and a table on the command line, and what is exported of a run."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from foretell.cli.main import main
from foretell.schema.tables import SAMPLES, conform
from foretell.storage.runs import Run, open_run
from tests.cli.test_main import attention
from tests.records.logs.logged import DOCUMENT, HEADER, with_score


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = Run.create(tmp_path / "run", {"model": "m"})
    rows = [{"id": name, "dataset": "sums", "group": name, "messages": "[]", "model": "m"} for name in ("1", "2")]
    made.append("part", {"samples": conform(pl.DataFrame(rows), SAMPLES)})
    made.finish()
    return made.path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    samples = [{**with_score(value), "id": n} for n, value in ((1, "C"), (2, "P"), (3, "I"))]
    for sample in samples:
        sample["scores"]["other"] = {"value": 0}
    path = tmp_path / "log.json"
    path.write_text(json.dumps({**HEADER, "samples": samples}))
    return path


def test_a_run_is_labelled_by_a_score_of_a_log(run: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", str(run), "--labels", str(log)]) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 samples labelled, 1 of them 1" in printed
    assert "no label: 1 (no score is 0 or 1 (match is P))" in printed
    assert "labels of no sample: 1, such as 3" in printed
    assert main(["label", str(run), "--labels", str(log), "--scorer", "other"]) == 0
    assert open_run(run).samples["label_source"].to_list() == ["inspect other"] * 2
    assert main(["label", str(run), "--labels", str(log), "--scorer", "f1"]) == 2
    assert "there is no score 'f1'" in capsys.readouterr().err


def test_a_run_is_exported_once(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(run), "--to", str(tmp_path / "scores.parquet")]
    assert main(words) == 0
    assert "2 samples" in capsys.readouterr().out
    assert pl.read_parquet(tmp_path / "scores.parquet")["id"].to_list() == ["1", "2"]
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_a_table_is_studied_with_the_labels_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = attention()
    table.drop("behavior_label").write_csv(tmp_path / "attention.csv")
    truth = dict(table.select("id", "behavior_label").unique().iter_rows())
    records = [
        {**DOCUMENT, "doc_id": name, "filter": filter_, "exact_match": float(value if filter_ == "loose" else 0)}
        for filter_ in ("strict", "loose")
        for name, value in truth.items()
    ]
    log = tmp_path / "samples.jsonl"
    log.write_text("\n".join(map(json.dumps, records)))
    words = ["study", str(tmp_path / "attention.csv"), "--quiet", "--to", str(tmp_path / "results")]
    assert main([*words, "--scorer", "loose"]) == 2
    assert "--scorer names a score of the log that --labels names" in capsys.readouterr().err
    assert main([*words, "--labels", str(log), "--scorer", "loose"]) == 0
    found = pl.read_parquet(tmp_path / "results" / "tables" / "association.parquet")
    assert found["n_positive"].unique().to_list() == [sum(truth.values())]


@pytest.mark.model
def test_a_log_is_read_with_a_note_that_another_model_wrote_it(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", "smollm2", str(log), "--to", str(tmp_path / "read"), "--quiet"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "answers by openai/small are read by smollm2" in printed
    assert "3 samples, " in printed
    samples = open_run(tmp_path / "read").samples
    assert samples.select("id", "behavior_label", "writer").rows() == [
        ("1", 1, "openai/small"),
        ("2", None, "openai/small"),
        ("3", 0, "openai/small"),
    ]
