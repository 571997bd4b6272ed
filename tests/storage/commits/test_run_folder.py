"""Parts are there as a whole or not at all, from several processes, and never of another job or from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from foretell.errors import FolderTakenError, InputError, RunError
from foretell.storage.commits.part_commit import Part
from foretell.storage.runs import Run, open_run
from tests.storage.synthetic import append_part, contents, copied, frames, job, made

APPEND = """
import sys
from pathlib import Path
from foretell.storage.runs import open_run
from tests.storage.synthetic import append_part
run = open_run(sys.argv[1])
for number in map(int, sys.argv[2:]):
    append_part(run, number)
"""


def test_several_processes_of_one_job_add_parts_to_one_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", job(6))
    shares = (("0", "3", "4"), ("1", "2", "0", "5"))
    workers = [subprocess.Popen([sys.executable, "-c", APPEND, str(run.path), *own]) for own in shares]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    run.finish()
    expected = contents(copied(tmp_path / "alone", 6))
    assert all(frame.equals(expected[name]) for name, frame in contents(run).items())
    assert run.check() == []


def test_adding_a_part_costs_the_same_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in files of parts that are read, because times depend on the machine."""
    run = copied(tmp_path / "run", 8)
    read: list[str] = []
    own = Part.of
    monkeypatch.setattr(Part, "of", lambda text, name: read.append(name) or own(text, name))
    append_part(open_run(run.path), 8)
    assert read == []


def test_a_part_that_is_there_is_kept_as_it_is(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 1)
    before = (run.path / "samples" / "part-00000.parquet").read_bytes()
    run.append("part-00000", {"samples": frames(0)["samples"].with_columns(answer=pl.lit("other"))})
    assert (run.path / "samples" / "part-00000.parquet").read_bytes() == before


@pytest.mark.parametrize("name", ["../part", "a/b", "", ".part", "part.1"])
def test_a_part_has_a_name_that_is_a_file_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a part"):
        Run.create(tmp_path / "run", job(1)).append(name, frames(0))


def test_a_part_of_another_job_is_refused_by_name(tmp_path: Path) -> None:
    run, other = copied(tmp_path / "run", 2), copied(tmp_path / "other", 3)
    (run.path / "parts" / "part-00002.json").write_bytes((other.path / "parts" / "part-00002.json").read_bytes())
    with pytest.raises(RunError, match=r"part-00002\.json: belongs to another job \(.* check .*run --repair"):
        _ = run.samples


def test_a_finished_run_that_lost_a_part_is_not_finished(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 3)
    expected = contents(run)
    (run.path / "parts" / "part-00001.json").unlink()
    assert not run.finished
    again = made(tmp_path / "run", 3)
    assert again.finished
    assert all(frame.equals(expected[name]) for name, frame in contents(again).items())


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_out_of_the_run_is_neither_followed_nor_deleted(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 2)
    outside = tmp_path / "elsewhere"
    (run.path / "tokens").rename(outside)
    (run.path / "tokens").symlink_to(outside)
    file = run.path / "samples" / "part-00000.parquet"
    file.rename(tmp_path / "samples.parquet")
    file.symlink_to(tmp_path / "samples.parquet")
    for name in ("tokens", "samples"):
        with pytest.raises(RunError, match="is a link that leads out of the run"):
            getattr(run, name)
    with pytest.raises(RunError, match="is a link that leads out of the run"):
        append_part(run, 2)
    with pytest.raises(RunError, match="is a link that leads out of the run"):
        Run.create(run.path, job(2), overwrite=True)
    assert len(list(outside.glob("part-*.parquet"))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_run_may_be_reached_by_a_link(tmp_path: Path) -> None:
    expected = contents(copied(tmp_path / "run", 2))
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert contents(made(tmp_path / "link", 2))["tokens"].equals(expected["tokens"])


def test_files_can_be_read_by_whom_the_umask_allows_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run = made(tmp_path / "run", 1)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in run.path.rglob("*") if path.is_file()} == {0o640}


def test_other_jobs_are_refused_with_both_values(tmp_path: Path) -> None:
    copied(tmp_path / "run", 1)
    said = r"differs in dtype: float32 in the run, bfloat16 now; weights: v2:0123456789abcdef in the run, v2:ff now"
    with pytest.raises(FolderTakenError, match=said):
        Run.create(tmp_path / "run", job(1, dtype="bfloat16", weights="v2:ff"))
    assert Run.create(tmp_path / "run", job(1, model="/elsewhere/toy", batch_tokens=64.0)).finished
