"""Hidden states that were computed elsewhere come into a run, or are refused by what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from foretell.errors import InputError
from foretell.schema.tables import POOLS
from foretell.storage.runs import Run, open_run
from tests.storage.test_runs import JOB
from tests.storage.test_state_shards import samples

PROMPT, MEAN, LAST = POOLS
IDS = ["b", "a", "c"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "run", JOB)
    made.append("part-00000", {"samples": samples({"a": 3, "b": 8, "c": 1, "unread": None})})
    return made


@pytest.fixture
def states(generator: np.random.Generator) -> np.ndarray:
    return generator.normal(size=(3, 4))


def in_order(states: np.ndarray) -> np.ndarray:
    return np.asarray(states[[1, 0, 2]].astype(np.float16).astype(np.float32))


def test_own_states_are_read_like_those_of_the_run(run: Run, states: np.ndarray) -> None:
    run.add_hidden(4, MEAN, IDS, states)
    run.add_hidden(4, LAST, IDS[:2], states[:2], 2)
    run.add_hidden(0, PROMPT, IDS, states.astype(np.float32), dtype="float32")
    again = open_run(run.path)
    again.verify()
    assert again.hidden(4, MEAN)[0] == ["a", "b", "c"]
    np.testing.assert_array_equal(again.hidden(4, MEAN)[1], in_order(states))
    np.testing.assert_array_equal(again.hidden(4, MEAN, 8)[1], in_order(states)[1:2])
    np.testing.assert_array_equal(again.hidden(4, LAST, 2)[1], in_order(states)[:2])
    np.testing.assert_array_equal(again.hidden(0, PROMPT)[1], states[[1, 0, 2]].astype(np.float32))
    with pytest.raises(InputError, match="no states of whole answers at layer 4, 'last answer token'"):
        again.hidden(4, LAST)
    assert again.part_names == {"part-00000", "states-00000", "states-00001", "states-00002"}


def as_npz(folder: Path, states: np.ndarray) -> Path:
    np.savez(folder / "own.npz", ids=np.array(IDS), states=states)
    return folder / "own.npz"


def as_npy(folder: Path, states: np.ndarray) -> Path:
    np.save(folder / "own.npy", states)
    (folder / "own.ids.json").write_text(json.dumps(IDS))
    return folder / "own.npy"


def as_safetensors(folder: Path, states: np.ndarray) -> Path:
    save_file({"states": states.astype(np.float32)}, folder / "own.safetensors", metadata={"ids": json.dumps(IDS)})
    return folder / "own.safetensors"


def as_safetensors_with_a_list(folder: Path, states: np.ndarray) -> Path:
    save_file({"states": states.astype(np.float32)}, folder / "own.safetensors")
    (folder / "own.ids.json").write_text(json.dumps(IDS))
    return folder / "own.safetensors"


@pytest.mark.parametrize("written", [as_npz, as_npy, as_safetensors, as_safetensors_with_a_list])
def test_files_of_every_kind_are_imported(
    run: Run, states: np.ndarray, tmp_path: Path, written: Callable[[Path, np.ndarray], Path]
) -> None:
    path = written(tmp_path, states)
    run.import_hidden(path, 4, MEAN)
    np.testing.assert_array_equal(run.hidden(4, MEAN)[1], in_order(states))
    with pytest.raises(InputError, match="has ids of its own; do not give others"):
        run.import_hidden(path, 5, MEAN, ids=IDS)


def test_ids_may_be_given(run: Run, states: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", states)
    run.import_hidden(tmp_path / "own.npy", 4, MEAN, ids=IDS)
    np.testing.assert_array_equal(run.hidden(4, MEAN)[1], in_order(states))
    with pytest.raises(InputError, match=r"own\.npy: has no ids; give them, or write .*own\.ids\.json"):
        run.import_hidden(tmp_path / "own.npy", 5, MEAN)


class Harmful:
    """Would run when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("pickled code ran",))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("gone.npz", lambda path: None, "there is no such file"),
        ("own.csv", lambda path: path.write_text("1,2"), r"are read from \.npy, \.npz, \.safetensors"),
        ("own.npz", lambda path: path.write_bytes(b"PK nothing"), "cannot be read as hidden states"),
        ("own.safetensors", lambda path: path.write_bytes(b"x" * 40), "cannot be read as hidden states"),
        ("own.npy", lambda path: np.save(path, np.array([Harmful()]), allow_pickle=True), "cannot be read as hidden"),
        (
            "own.npz",
            lambda path: np.savez(path, ids=["a"], x=np.ones((1, 2)), y=np.ones(1)),
            r"one array .* not 2 \(x, y\)",
        ),
        ("own.npz", lambda path: np.savez(path, ids=["a"]), "one array beside the ids, not 0"),
    ],
)
def test_files_that_hold_no_states_are_refused(
    run: Run, tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=message):
        run.import_hidden(tmp_path / name, 4, MEAN)
    assert run.hidden_states.is_empty()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": "mean"}, "'mean' is no pool; pools are 'last prompt token'"),
        ({"layer": -1}, "a layer is a block index from 0, not -1"),
        ({"n_generated": 0}, "'mean over answer' cannot be pooled after 0 generated tokens"),
        ({"pool": PROMPT, "n_generated": 2}, "'last prompt token' cannot be pooled after 2"),
        ({"ids": ["b", "a", "zebra"]}, "1 ids are not in the run, such as 'zebra'"),
        ({"ids": ["b", "a", "a"]}, "1 ids stand there more than once, such as 'a'"),
        ({"ids": ["b", "a", "unread"]}, "have fewer generated tokens than 1, or were not read, such as 'unread'"),
        ({"n_generated": 4}, "2 ids have fewer generated tokens than 4"),
        ({"ids": ["b", "a"]}, r"a row for each of 2 ids is needed, not float64 of \(3, 4\)"),
        ({"states": np.ones(3)}, r"not float64 of \(3,\)"),
        ({"states": np.array([["x"], ["y"], ["z"]])}, "not <U1 of"),
        ({"states": np.array([[1.0], [np.nan], [2.0]])}, "1 rows are not finite in float32, such as row 1"),
        ({"states": np.array([[1.0], [2.0], [1e39]])}, "1 rows are not finite in float32, such as row 2"),
    ],
)
def test_states_that_do_not_fit_the_run_are_refused(
    run: Run, states: np.ndarray, change: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"layer": 4, "pool": MEAN, "ids": IDS, "states": states, **change}
    with pytest.raises(InputError, match=message):
        run.add_hidden(**given)
    assert run.part_names == {"part-00000"}


def test_states_are_added_once_and_have_one_width(run: Run, states: np.ndarray) -> None:
    run.add_hidden(4, MEAN, ["a"], states[:1])
    with pytest.raises(InputError, match="1 ids have states of layer 4, 'mean over answer' already"):
        run.add_hidden(4, MEAN, ["b", "a"], states[:2])
    with pytest.raises(InputError, match="'mean over answer' are 4 wide, and these 2"):
        run.add_hidden(4, MEAN, ["b"], states[:1, :2])
    run.add_hidden(4, MEAN, ["b", "c"], states[1:])
    run.add_hidden(4, MEAN, ["a"], states[:1], 2)
    assert run.hidden(4, MEAN)[0] == ["a", "b", "c"]
    assert run.hidden(4, MEAN, 2)[0] == ["a"]
