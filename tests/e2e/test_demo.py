"""The demo, a tenth of it: every stage real, and a second call that reuses what is there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import foretell
from foretell.cli.main import main
from foretell.demo import _QUICK_STUDY, _about_some_facts, run_demo
from foretell.reading.models.load import Model
from foretell.showing.behaviour_sentences import findings
from foretell.showing.overview import overview
from foretell.showing.report_folder import read_report_data
from foretell.storage.surfaces import Surface

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def demo(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert run_demo(folder, quick=True) == folder / "results" / "report.html"
    return folder


def test_every_dataset_has_both_labels_and_all_its_rows(demo: Path, smollm2: Model) -> None:
    run = foretell.open_run(demo / "run")
    counts = run.samples.drop_nulls("behavior_label").group_by("dataset").agg(pl.col("behavior_label").n_unique())
    names = ("alpaca", "flan", "sharegpt", "questions", "false-claims", "lies")
    assert dict(counts.rows()) == dict.fromkeys(names, 2)
    read = run.samples.filter(pl.col("reason").is_null())
    assert run.attention.height == read.height * smollm2.n_layers * smollm2.n_heads
    run.verify()


def test_every_signal_of_every_behaviour_is_in_the_run_and_on_the_first_screen(demo: Path, smollm2: Model) -> None:
    run = foretell.open_run(demo / "run")
    run.verify()
    layers = list(range(2, smollm2.n_layers, 3))
    assert run.hidden_states["layer"].unique().sort().to_list() == layers
    ids, states = run.hidden(layers[0], "mean over answer")
    assert states.shape == (len(ids), smollm2.width)
    data, _ = read_report_data(demo / "results")
    shown = overview(data)
    assert shown.signals == ("attention", "hidden states", "activity", "confidence", "all signals")
    assert [one.title for one in findings(shown)] == [
        "Followed the instruction",
        "Gave in to a false claim",
        "Said something false",
        "Answered correctly",
    ]
    assert all(row.n is not None and row.baseline is not None for row in shown.rows)


def test_the_demo_asks_always_the_same_and_all_about_a_fact() -> None:
    chosen = {name: _about_some_facts(name, 40) for name in ("questions", "false-claims", "lies")}
    assert chosen == {name: _about_some_facts(name, 40) for name in chosen}
    lies = Counter(one.group for one in chosen["lies"])
    assert set(lies.values()) == {2}
    assert len({one.stratum for one in chosen["false-claims"]}) > 5
    assert all(one.verifier and one.verifier["name"] != "without_label" for one in chosen["false-claims"])


def test_the_false_answer_runs_hotter_than_the_true_one(demo: Path) -> None:
    shown = Surface.read(demo / "surface")
    false, true = (answer.activity[5:21].mean() for answer in shown.answers)
    assert [answer.title for answer in shown.answers] == ["false answer", "true answer"]
    assert false > true


def test_a_second_call_makes_nothing_again(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.name not in {"labels.parquet", "run"}}
    lines: list[str] = []
    run_demo(demo, quick=True, print_line=lines.append)
    after = {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.name not in {"labels.parquet", "run"}}
    assert before == after
    assert not any("loading" in line for line in lines)


def test_a_demo_of_other_settings_or_other_files_is_refused(demo: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    for words in (["--seed", "1", "--quick"], []):
        assert main(["demo", *words, "--to", str(demo)]) == 2
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--quick", "--to", str(tmp_path)]) == 2
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_demos_table_as_csv_gives_the_demos_numbers(demo: Path, tmp_path: Path) -> None:
    foretell.open_run(demo / "run").table().write_csv(tmp_path / "table.csv")
    foretell.study(tmp_path / "table.csv", progress=False, **_QUICK_STUDY).write_tables(tmp_path / "tables")
    # All signals of a study share its error rate, so verdicts differ too.
    of_runs = {"early", "early_relative", "told_by", "hidden_layers", "verdicts"}
    for path in sorted((tmp_path / "tables").glob("*.parquet")):
        table, from_run = pl.read_parquet(path), pl.read_parquet(demo / "results" / "tables" / path.name)
        if path.stem in {"detectors", "held_out_scores"}:
            from_run = from_run.join(table.select("dataset", "detector"), on=["dataset", "detector"], how="semi")
        if path.stem not in of_runs:
            assert_frame_equal(table, from_run)


def test_attention_and_labels_apart_give_the_same_tests_of_heads(demo: Path, tmp_path: Path) -> None:
    run = foretell.open_run(demo / "run")
    run.attention.write_csv(tmp_path / "attention.csv")
    run.samples.select("id", "behavior_label", "group", "stratum").write_csv(tmp_path / "labels.csv")
    labels = tmp_path / "labels.csv"
    found = foretell.study(tmp_path / "attention.csv", labels=labels, progress=False, compute=False, **_QUICK_STUDY)
    for name in ("association", "roc", "thresholds"):  # forests are compared above
        table, of_demo = getattr(found, name), pl.read_parquet(demo / "results" / "tables" / f"{name}.parquet")
        of_baselines = {"p_max", "reason"} if name == "association" else set()  # what they leave; they are not here
        kept = [column for column in table.columns if column not in of_baselines]
        assert_frame_equal(table.select(kept), of_demo.select(kept))


def test_the_study_file_speaks_of_settings_and_versions(demo: Path) -> None:
    summary = json.loads((demo / "results" / "study.json").read_text())
    assert summary["settings"]["seed"] == 0
    assert {"foretell", "numpy", "scipy", "scikit-learn", "polars"} <= set(summary["versions"])
