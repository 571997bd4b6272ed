"""A repair removes exactly what is broken; the call that made the run then makes the same tables again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from foretell.errors import FolderTakenError, RunError
from foretell.storage.runs import Run
from foretell.storage.writer_lock import writing_alone
from tests.storage.synthetic import contents, copied, made

ROUNDS = os.environ.get("FORETELL_TEST_ROUNDS")


def files(run: Run) -> dict[str, bytes]:
    return {str(path.relative_to(run.path)): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def restored(run: Run, n_parts: int) -> Run:
    assert run.repair()
    assert run.check() == []
    return made(run.path, n_parts)


def test_whole_parts_are_not_touched(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 4)
    before, expected = files(run), contents(run)
    (run.path / "tokens" / "part-00001.parquet").write_bytes(b"PAR1")
    (run.path / "parts" / "part-00003.json").write_text("{")
    (damaged, other) = run.repair()
    assert {damaged.part, other.part} == {"part-00001", "part-00003"}
    assert not run.finished
    left = files(run)
    assert {name for name in before if name not in left} == {
        name for name in before if "part-00001" in name or "part-00003" in name
    }
    assert all(left[name] == data for name, data in before.items() if name in left and "part-" in name)
    again = made(tmp_path / "run", 4)
    assert again.finished
    assert files(again) == before
    assert all(frame.equals(expected[name]) for name, frame in contents(again).items())


@pytest.mark.parametrize("name", ["manifest.json", "job.json"])
def test_a_manifest_is_made_again_from_its_copy(tmp_path: Path, name: str) -> None:
    run = copied(tmp_path / "run", 2)
    before = files(run)
    for damage in (b"", b"{}", before[name].replace(b"toy", b"tow")):
        (run.path / name).write_bytes(damage)
        assert [found.file for found in run.repair()] == [name]
        assert files(run) == before


def test_without_manifest_and_copy_there_is_nothing_to_repair_with(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 2)
    for name in ("manifest.json", "job.json"):
        (run.path / name).write_text("{")
    with pytest.raises(RunError, match="neither the manifest nor its copy can be read; read again into a new folder"):
        run.repair()
    assert (run.path / "samples" / "part-00000.parquet").exists()


def test_a_run_that_somebody_writes_is_not_repaired(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 1)
    with writing_alone(run.path), pytest.raises(FolderTakenError, match="is writing into it"):
        run.repair()


def test_drafts_go_and_files_of_others_stay(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 1)
    for name in ("samples/.part-00001.parquet.1-ab.part", "notes.txt", "samples/mine.parquet"):
        (run.path / name).write_text("mine")
    assert run.repair() == []
    assert {"notes.txt", "samples/mine.parquet"} <= set(files(run))
    assert "samples/.part-00001.parquet.1-ab.part" not in files(run)
    assert run.finished


def test_states_that_were_added_are_said_to_be_lost(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 2)
    ids = run.samples["id"].to_list()
    run.add_hidden(9, "mean over answer", ids, np.ones((len(ids), 4)))
    (run.path / "hidden" / "states-00000.safetensors").unlink()
    (damage,) = run.check()
    assert "run.add_hidden" in damage.todo
    run.repair()
    made(run.path, 2).add_hidden(9, "mean over answer", ids, np.ones((len(ids), 4)))
    assert run.check() == []


@pytest.mark.slow
@pytest.mark.parametrize("compacted", [False, True])
def test_a_byte_or_a_cut_anywhere_is_found_and_mended(
    tmp_path: Path, generator: np.random.Generator, compacted: bool
) -> None:
    """Each round changes one random byte, cuts one file, or removes it."""
    run = copied(tmp_path / "run", 4)
    run.write_labels(run.samples.select("id", "behavior_label", "label_source"))
    expected = contents(run)
    for number in range(int(ROUNDS or (3 if compacted else 12))):
        if compacted:
            run.compact()
        known = sorted(path for path in run.path.rglob("*") if path.is_file())
        sizes = np.array([path.stat().st_size for path in known])
        path = known[generator.choice(len(known), p=None if number % 2 else sizes / sizes.sum())]
        data = bytearray(path.read_bytes())
        place = int(generator.integers(len(data)))
        kind = ("byte", "byte", "cut", "removed")[number % 4]
        if kind == "byte":
            data[place] ^= int(generator.integers(1, 256))
            path.write_bytes(data)
        elif kind == "cut":
            path.write_bytes(data[:place])
        else:
            path.unlink()
        if kind == "removed" and path.name in {"labels.parquet", "labels.json"}:
            run.write_labels(run.samples.select("id", "behavior_label", "label_source"))
            continue  # a run without labels is whole
        named = str(path.relative_to(run.path))
        assert named in {damage.file for damage in run.check()}, (kind, named, place)
        run = restored(run, 4)
        if not (run.path / "labels.parquet").exists():
            run.write_labels(run.samples.select("id", "behavior_label", "label_source"))
        found = contents(run)
        assert all(frame.equals(expected[name]) for name, frame in found.items()), (kind, named, place)
        assert run.check() == []
