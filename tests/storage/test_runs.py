"""The run store loses nothing, mixes nothing, and notices damage."""

import json
from pathlib import Path

import polars as pl
import pytest

from foretell.errors import FolderTakenError, InputError, RunError, TableError
from foretell.schema import tables as schema
from foretell.storage.runs import Run, open_run

JOB = {"model": "toy", "seed": 0}


def samples(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids), "dataset": "alpaca", "group": list(ids), "messages": "[]", "model": "toy"})


def attention(*ids: str) -> pl.DataFrame:
    rows = [{"id": id_, "dataset": "alpaca", "layer": layer, "head": 0} for id_ in ids for layer in (1, 0)]
    masses = {"SAM": 0.1, "PAM": 0.2, "QAM": 0.1, "TAM": 0.3, "GAM": 0.3}
    return pl.DataFrame(rows).with_columns(**{name: pl.lit(value) for name, value in masses.items()})


def labels(**of: int | None) -> pl.DataFrame:
    return pl.DataFrame({"id": list(of), "behavior_label": list(of.values()), "label_source": "file"})


def test_parts_come_back_in_axis_order_with_the_schema_columns(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    run.append("b", {"samples": samples("b"), "attention": attention("b")})
    run.append("a", {"samples": samples("a"), "attention": attention("a")})
    assert run.samples["id"].to_list() == ["a", "b"]
    assert run.attention.select("id", "layer").rows() == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert dict(run.attention.schema) == schema.ATTENTION.dtypes
    assert run.tokens.is_empty()


def test_same_job_resumes_and_knows_its_parts(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", JOB).append("a", {"samples": samples("a")})
    assert Run.create(tmp_path / "run", JOB).part_names == {"a"}


def test_another_job_is_refused_by_the_setting_that_differs(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", JOB)
    with pytest.raises(FolderTakenError, match=r"another job \(differs in seed: 0 in the run, 1 now\)"):
        Run.create(tmp_path / "run", {**JOB, "seed": 1})


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderTakenError, match="holds no run"):
        Run.create(tmp_path, JOB)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_part_cut_off_while_writing_is_not_in_the_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    run.append("a", {"samples": samples("a")})
    (run.path / "samples" / "b.parquet").write_bytes(b"PAR1 half")
    assert run.samples["id"].to_list() == ["a"]
    run.append("b", {"samples": samples("b")})
    assert run.samples["id"].to_list() == ["a", "b"]


def test_a_wrong_frame_leaves_nothing_behind(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    with pytest.raises(TableError, match='"group" is missing'):
        run.append("a", {"samples": samples("a").drop("group")})
    assert run.part_names == frozenset()
    assert not (run.path / "samples").exists()


def test_verify_names_the_part_that_changed(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    run.append("a", {"samples": samples("a")})
    run.verify()
    file = run.path / "samples" / "a.parquet"
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(RunError, match=r"a\.parquet: is missing or was changed"):
        run.verify()


def test_labels_join_the_table_and_unlabelled_samples_stay(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    named = samples("a", "b").with_columns(behaviour=pl.Series(["answered correctly", None]))
    run.append("part", {"samples": named, "attention": attention("a", "b")})
    run.write_labels(labels(a=1))
    table = run.table().select("id", "behaviour", "behavior_label")
    assert table.unique(maintain_order=True).rows() == [("a", "answered correctly", 1), ("b", None, None)]
    assert table.height == 4
    run.write_labels(labels(a=0, b=1))
    assert run.samples["behavior_label"].to_list() == [0, 1]


def test_labels_of_unknown_or_repeated_ids_are_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    run.append("part", {"samples": samples("a")})
    with pytest.raises(InputError, match="'zebra'"):
        run.write_labels(labels(zebra=1))
    with pytest.raises(InputError, match="more than one row"):
        run.write_labels(pl.concat([labels(a=1), labels(a=0)]))
    assert not (run.path / "labels.parquet").exists()


def test_a_run_without_a_folder_lives_with_its_object() -> None:
    run = Run.create(None, JOB)
    path = run.path
    run.append("a", {"samples": samples("a")})
    assert path.exists()
    del run
    assert not path.exists()


def test_open_run_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run"):
        open_run(tmp_path)
    run = Run.create(tmp_path / "run", JOB)
    assert not open_run(run.path).finished
    run.finish()
    assert open_run(run.path).finished
    (run.path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        open_run(run.path)
    (run.path / "manifest.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="format 99"):
        open_run(run.path)


def test_a_run_of_an_older_version_is_refused_by_name_and_never_mixed(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    run.append("a", {"samples": samples("a")})
    path = run.path / "manifest.json"
    path.write_text(json.dumps({**run.manifest, "format": 1, "foretell": "0.1.0"}))
    older = (
        r"was written by an older version of foretell \(0\.1\.0, run format 1.*read the conversations again into a new"
    )
    with pytest.raises(RunError, match=older):
        open_run(run.path)
    with pytest.raises(RunError, match=older):
        Run.create(run.path, JOB)
    with pytest.raises(RunError, match=older):
        _ = run.samples
    path.write_text(json.dumps({"format": 99, "foretell": "9.0"}))
    with pytest.raises(RunError, match=r"was written by a newer version of foretell \(9\.0, .*install that version"):
        open_run(run.path)
