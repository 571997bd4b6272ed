"""Hidden states come back from their shards as they were written, and only those that are asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from foretell.errors import InputError, RunError
from foretell.schema import tables as schema
from foretell.schema.tables import POOLS
from foretell.storage import shard_file
from foretell.storage.runs import Run, open_run
from foretell.storage.state_choice import PooledStates
from foretell.storage.state_shards import write_states
from tests.storage.test_runs import JOB, attention

PROMPT, MEAN, LAST = POOLS
LENGTHS = {"b": 3, "a": 8, "d": 1, "c": 8}
WIDTH = 4


def samples(lengths: dict[str, int | None]) -> pl.DataFrame:
    ids = list(lengths)
    frame = pl.DataFrame({"id": ids, "dataset": "alpaca", "group": ids, "messages": "[]", "model": "toy"})
    return frame.with_columns(n_tokens_generated=pl.Series(list(lengths.values()), dtype=pl.Int32))


def numbers(generator: np.random.Generator, length: int) -> dict[tuple[str, int], np.ndarray]:
    """Random states of layers 2 and 5 after 1, 2, 4, ... tokens and all."""
    after = sorted({1, 2, 4, 8, length} & set(range(length + 1)))
    keys = [(PROMPT, 0), *((pool, number) for pool in (MEAN, LAST) for number in after)]
    return {key: generator.normal(size=(2, WIDTH)).astype(np.float32) for key in keys}


@pytest.fixture
def states(generator: np.random.Generator) -> dict[str, dict[tuple[str, int], np.ndarray]]:
    return {own: numbers(generator, length) for own, length in LENGTHS.items()}


def made(folder: Path, states: dict[str, PooledStates], *, dtype: str = "float32", n_parts: int = 2) -> Run:
    run = Run.create(folder, JOB)
    for number, ids in enumerate(np.array_split(list(states), n_parts)):
        name, own = f"part-{number:05d}", {str(one): states[str(one)] for one in ids}
        index = write_states(run.path / "hidden", name, [2, 5], own, dtype)
        lengths: dict[str, int | None] = {one: LENGTHS[one] for one in own}
        run.append(name, {"samples": samples(lengths), "attention": attention(*own), "hidden": index})
    return run


@pytest.mark.parametrize("n_parts", [1, 2, 4])
def test_every_state_comes_back_by_its_key(tmp_path: Path, states: dict[str, Any], n_parts: int) -> None:
    run = made(tmp_path / "run", states, n_parts=n_parts)
    assert run.hidden_states.height == 2 * sum(map(len, states.values()))
    for place, layer in enumerate((2, 5)):
        for pool in POOLS:
            for number in (0,) if pool == PROMPT else (1, 2, 3, 4, 8):
                ids, found = run.hidden(layer, pool, number)
                assert ids == sorted(own for own in states if (pool, number) in states[own])
                np.testing.assert_array_equal(found, [states[own][pool, number][place] for own in ids])
            ids, found = run.hidden(layer, pool)
            assert ids == sorted(LENGTHS)
            whole = [states[own][pool, 0 if pool == PROMPT else LENGTHS[own]][place] for own in ids]
            np.testing.assert_array_equal(found, whole)
    expected = run.hidden(5, MEAN)[1]
    moved = Path(shutil.move(run.path, tmp_path / "elsewhere"))
    np.testing.assert_array_equal(open_run(moved).hidden(5, MEAN)[1], expected)


def test_only_the_rows_that_are_asked_for_are_read(
    tmp_path: Path, states: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole answers lie together, and so do those after the same number of tokens."""
    run, read = made(tmp_path / "run", states, n_parts=1), []
    own = shard_file._filled

    def watched(file: Any, buffer: memoryview) -> bool:
        read.append(len(buffer))
        return own(file, buffer)

    monkeypatch.setattr(shard_file, "_filled", watched)
    monkeypatch.setattr(shard_file, "_GAP", 0)
    run.hidden(5, MEAN)
    assert read == [4 * WIDTH * 4]
    read.clear()
    run.hidden(2, LAST, 4)
    assert read == [2 * WIDTH * 4]


def test_a_number_beyond_half_precision_keeps_its_tensor_in_single(tmp_path: Path, states: dict[str, Any]) -> None:
    states["a"][MEAN, 2][1, 3] = -65_505.0
    run = made(tmp_path / "run", states, dtype="float16")
    stored = {name: one.dtype for name, one in load_file(run.path / "hidden" / "part-00000.safetensors").items()}
    assert {str(dtype) for dtype in stored.values()} == {"float16", "float32"}
    assert [name for name, dtype in stored.items() if dtype == np.float32] == [f"5/{MEAN}"]
    ids, found = run.hidden(5, MEAN, 2)
    assert found[ids.index("a"), 3] == -65_505.0


def test_the_same_states_make_the_same_bytes(tmp_path: Path, states: dict[str, Any]) -> None:
    one, other = (made(tmp_path / name, states, dtype="float16") for name in ("one", "other"))
    for file in (one.path / "hidden").glob("*.safetensors"):
        assert file.read_bytes() == (other.path / "hidden" / file.name).read_bytes()


def test_damage_is_noticed(tmp_path: Path, states: dict[str, Any]) -> None:
    run = made(tmp_path / "run", states)
    run.verify()
    shard = run.path / "hidden" / "part-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-4] + b"nan!")
    with pytest.raises(RunError, match=r"part-00001\.safetensors: is missing or was changed"):
        run.verify()
    shard.write_bytes(whole[:100])
    with pytest.raises(RunError, match=r"part-00001\.safetensors: is damaged"):
        run.hidden(2, MEAN)
    shard.unlink()
    with pytest.raises(RunError, match=r"part-00001\.safetensors: is missing though the index names it"):
        run.hidden(2, MEAN)
    for name in ("samples", "hidden"):
        folder = shutil.copytree(run.path, tmp_path / f"without {name}")
        (folder / name / "part-00000.parquet").unlink()
        with pytest.raises(RunError, match=rf"{name}.part-00000\.parquet: is missing though its part is complete"):
            open_run(folder).hidden(2, MEAN)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((3, MEAN, None), r"no hidden states of layer 3, 'mean over answer'; it has layers \[2, 5\]"),
        ((2, "mean", None), r"of layer 2, 'mean'; .*pools \['last answer token', 'last prompt token', 'mean over"),
        ((2, MEAN, 16), r"no states of 16 generated tokens at layer 2, .*stored are those after \[1, 2, 3, 4, 8\]"),
        ((2, MEAN, 0), r"no states of 0 generated tokens"),
        ((2, PROMPT, 1), r"read before the first token; n_generated is 0 or None"),
    ],
)
def test_what_is_not_stored_is_refused_by_name(
    tmp_path: Path, states: dict[str, Any], asked: tuple[int, str, int | None], message: str
) -> None:
    run = made(tmp_path / "run", states)
    with pytest.raises(InputError, match=message):
        run.hidden(*asked)


def test_a_run_without_states_has_an_empty_table(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    with pytest.raises(InputError, match="has no hidden states"):
        run.hidden(0, MEAN)
    run.append("part", {"samples": samples({"a": 3})})
    assert dict(run.hidden_states.schema) == schema.HIDDEN.dtypes
    assert run.hidden_states.is_empty()
    with pytest.raises(InputError, match=r"has no hidden states; read it with hidden=\.\.\."):
        run.hidden(0, MEAN)


def older(run: Run) -> dict[str, Any]:
    """Return a manifest that lists the parts of a run, as other programs write them, and make it the run's only one."""
    parts = [{"name": "part", "files": {"samples": {"rows": 2, "sha256": ""}}}]
    (run.path / "parts" / "part.json").unlink()
    return {"format": 2, "foretell": "0", "job": run.job, "parts": parts, "finished": False}


def test_a_folder_that_was_made_elsewhere_is_read(tmp_path: Path, generator: np.random.Generator) -> None:
    """With shards of another writer, named in the index, and no checksums of them."""
    run = Run.create(tmp_path / "run", JOB)
    run.append("part", {"samples": samples({"a": 2, "b": 5})})
    values = generator.normal(size=(3, WIDTH)).astype(np.float16)
    (run.path / "hidden").mkdir()
    save_file({f"7/{MEAN}": values}, run.path / "hidden" / "mine.safetensors")
    index = pl.DataFrame({"id": ["b", "a"], "n_generated": [5, 2], "row": [0, 2]}).with_columns(
        layer=7, pool=pl.lit(MEAN), shard=pl.lit("mine.safetensors")
    )
    schema.conform(index, schema.HIDDEN).write_parquet(run.path / "hidden" / "own.parquet")
    manifest = older(run)
    manifest["parts"].append({"name": "own", "files": {"hidden": {"rows": 2, "sha256": ""}}})
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    ids, found = open_run(run.path).hidden(7, MEAN)
    assert ids == ["a", "b"]
    np.testing.assert_array_equal(found, values[[2, 0]].astype(np.float32))
    hostile = schema.conform(index.with_columns(shard=pl.lit("../../secret.safetensors")), schema.HIDDEN)
    hostile.write_parquet(run.path / "hidden" / "own.parquet")
    manifest["parts"][-1]["files"]["hidden"]["sha256"] = "other"
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    save_file({f"7/{MEAN}": values}, tmp_path.parent / "secret.safetensors")
    with pytest.raises(RunError, match="is missing though the index names it"):
        open_run(run.path).hidden(7, MEAN)


def test_parts_of_older_versions_have_nulls_in_newer_columns(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", JOB)
    run.append("new", {"samples": samples({"a": 2}), "attention": attention("a")})
    run.append("old", {"samples": samples({"b": 2}), "attention": attention("b")})
    file = run.path / "attention" / "old.parquet"
    pl.read_parquet(file).drop("lookback").write_parquet(file)
    assert dict(run.attention.schema) == schema.ATTENTION.dtypes
    assert run.attention["id"].to_list() == ["a", "a", "b", "b"]
