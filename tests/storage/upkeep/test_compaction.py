"""Compaction changes files and nothing else; wherever it is killed, the run is the old one or the new one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretell.errors import RunError
from foretell.schema.tables import POOLS
from foretell.storage.runs import Run, open_run
from foretell.storage.upkeep import compact_states, compaction
from foretell.storage.upkeep.check import check_run
from tests.storage.synthetic import append_part, contents, copied, job, made


def same(run: Run, expected: dict[str, pl.DataFrame]) -> bool:
    found = contents(run)
    return set(found) == set(expected) and all(frame.equals(expected[name]) for name, frame in found.items())


def test_tables_stay_the_same_in_fewer_files(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 6)
    ids = run.samples["id"].to_list()[:5]
    run.add_hidden(9, POOLS[1], ids, np.ones((5, 4)))
    expected, states = contents(run), run.hidden(9, POOLS[1])
    run.compact()
    assert same(run, expected)
    assert run.hidden(9, POOLS[1])[0] == states[0]
    assert [part.name for part in run.parts] == ["compact-00000"]
    assert {f"part-{number:05d}" for number in range(6)} | {"states-00000"} < run.part_names
    assert run.finished
    found = check_run(run)
    assert (found.damages, found.leftovers, found.n_samples) == ((), (), 18)


def test_a_compacted_part_that_is_gone_is_named_and_read_again(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 3)
    expected = contents(run)
    run.compact()
    (run.path / "parts" / "compact-00000.json").unlink()
    assert not run.finished
    assert [damage.file for damage in run.check()] == ["parts/compact-00000.json"]
    run.repair()
    assert check_run(run).leftovers == ()
    assert same(made(run.path, 3), expected)
    assert run.finished


def test_each_file_has_one_dataset_and_layer_in_order(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 6)
    run.compact()
    for table, order in (("attention", ["head", "id"]), ("checkpoints", ["head", "id", "n_generated"])):
        pairs = []
        for path in sorted((run.path / table).iterdir()):
            frame = pl.read_parquet(path)
            pairs += frame.select("dataset", "layer").unique().rows()
            assert frame.select(order).equals(frame.select(order).sort(order))
        assert pairs == sorted(set(pairs))
        assert len(pairs) == 2 * run.samples["dataset"].n_unique()


def test_a_run_goes_on_after_compaction(tmp_path: Path) -> None:
    expected = contents(copied(tmp_path / "whole", 6))
    run = Run.create(tmp_path / "run", job(6))
    for number in (0, 3):
        append_part(run, number)
    run.compact()
    made(run.path, 6)
    assert {part.name for part in run.parts} == {"compact-00000", *(f"part-{number:05d}" for number in (1, 2, 4, 5))}
    run.compact()
    run.compact()
    assert [part.name for part in run.parts] == ["compact-00001"]
    assert same(made(run.path, 6), expected)


def test_small_files_and_shards_are_split_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_ROWS", 20)
    monkeypatch.setattr(compaction, "_AT_ONCE", 2)
    monkeypatch.setattr(compact_states, "_BYTES", 600)
    run = copied(tmp_path / "run", 6)
    expected = contents(run)
    run.compact()
    assert same(run, expected)
    assert len(list((run.path / "hidden").glob("*.safetensors"))) > 2
    assert max(pl.read_parquet(path).height for path in (run.path / "rows").iterdir()) < run.rows.height / 4
    assert run.check() == []


def test_damage_is_not_compacted(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 3)
    path = run.path / "tokens" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(RunError, match=r"tokens/part-00001\.parquet: is missing or was changed"):
        run.compact()
    assert len(run.parts) == 3


class _KilledError(BaseException):
    """What stands for a kill: nothing catches it."""


@pytest.mark.parametrize("after", range(1, 40, 8))
def test_it_may_stop_at_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Stopped before the n-th file that is replaced or deleted, without any clearing up."""
    run = copied(tmp_path / "run", 4)
    expected = contents(run)
    steps: list[str] = []
    real = {"replace": Path.replace, "unlink": Path.unlink}

    def step(kind: str, path: Path, *args: object, **options: object) -> object:
        if path.suffix != ".part" or kind == "replace":
            steps.append(f"{kind} {path.name}")
        if len(steps) > after:
            raise _KilledError
        return real[kind](path, *args, **options)  # type: ignore[operator]

    for kind in real:
        monkeypatch.setattr(Path, kind, lambda path, *args, _kind=kind, **options: step(_kind, path, *args, **options))
    with contextlib.suppress(_KilledError):
        run.compact()
    monkeypatch.undo()
    for lock in run.path.glob(".writer.json"):
        lock.unlink()
    resumed = open_run(run.path)
    assert same(resumed, expected)
    assert resumed.check() == []
    resumed.compact()
    assert same(resumed, expected)
    assert check_run(resumed).leftovers == ()
    assert not [name for name in os.listdir(run.path) if name.startswith(".comp")]  # noqa: PTH208


@pytest.mark.parametrize("table", ["attention", "hidden"])
def test_a_reader_that_listed_the_old_parts_reads_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    run = copied(tmp_path / "run", 4)
    expected, reader = contents(run), open_run(run.path)
    own, done = Run.fetch, False

    def compacting(self: Run, names: Iterable[str], *, anew: bool = False) -> None:
        nonlocal done
        listed = list(names)
        if not done and any(name.startswith(f"{table}/") for name in listed):
            done = True
            run.compact()
        own(self, listed, anew=anew)

    monkeypatch.setattr(Run, "fetch", compacting)
    if table == "attention":
        assert reader.attention.equals(expected["attention"])
    else:
        assert reader.hidden(1, POOLS[1])[0] == expected[f"1/{POOLS[1]}"]["id"].to_list()
    assert done
