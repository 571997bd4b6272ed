"""A user's families are read from frames, mappings, arrays and files, and refused where they do not fit the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.errors import InputError
from foretell.stats.signals.given import GivenFamily, given_families
from foretell.stats.signals.moment import Moment, after_tokens

IDS = ("a", "b", "c")
NUMBERS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def only(value: Any) -> GivenFamily:
    return given_families({"mine": value}, known=IDS, reserved=("attention",))[0]


def files(folder: Path) -> dict[str, Any]:
    np.save(folder / "plain.npy", NUMBERS)
    (folder / "plain.ids.json").write_text(json.dumps(IDS))
    np.savez(folder / "both.npz", ids=np.array(IDS), states=NUMBERS)
    frame = pl.DataFrame({"id": IDS, "x": NUMBERS[:, 0], "y": NUMBERS[:, 1]})
    frame.write_csv(folder / "table.csv")
    frame.write_parquet(folder / "table.parquet")
    return {
        "npy": folder / "plain.npy",
        "npz": str(folder / "both.npz"),
        "csv": folder / "table.csv",
        "parquet": folder / "table.parquet",
        "frame": frame,
        "columns": frame.to_dict(as_series=False),
        "mapping": dict(zip(IDS, NUMBERS, strict=True)),
        "pair": (IDS, NUMBERS),
    }


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "parquet", "frame", "columns", "mapping", "pair"])
def test_every_kind_gives_the_same_numbers(kind: str, tmp_path: Path) -> None:
    found = only(files(tmp_path)[kind])
    assert found.ids == IDS
    assert found.numbers.tolist() == NUMBERS.tolist()
    assert found.after is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1.0, "z": 2.0}, "1 ids are not in the run, such as 'z'"),
        ((["a", "a"], [1.0, 2.0]), "id 'a' has more than one row"),
        ((["a"], [1.0, 2.0]), r"1 ids need an array \(sample, column\)"),
        ({"a": "high"}, "no array of numbers"),
        ({"a": float("inf")}, "a number is infinite"),
        (pl.DataFrame({"id": ["a", "b"], "x": ["1", "high"]}), "column x, row 2: 'high' is no number"),
        (pl.DataFrame({"id": ["a"], "x": [[1.0]]}), "column x, row 1"),
        (pl.DataFrame({"name": ["a"], "x": [1.0]}), "there is no column id"),
        (pl.DataFrame({"id": ["a"]}), "no column of numbers"),
        ("nowhere.npy", "nowhere.npy: there is no such file"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        only(value)
    assert "signals['mine']" in str(caught.value)


def test_names_of_the_study_itself_are_taken() -> None:
    with pytest.raises(InputError, match="'attention' is a name of the study's own"):
        given_families({"attention": {"a": 1.0}}, known=IDS, reserved=("attention",))


def test_arrays_without_ids_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", NUMBERS)
    with pytest.raises(InputError, match="has no ids; give them, or write"):
        only(tmp_path / "plain.npy")
    np.savez(tmp_path / "both.npz", states=NUMBERS)
    with pytest.raises(InputError, match="has no ids"):
        only(tmp_path / "both.npz")
    np.savez(tmp_path / "many.npz", ids=np.array(IDS), states=NUMBERS, more=NUMBERS)
    with pytest.raises(InputError, match="must hold one array beside the ids, not 2"):
        only(tmp_path / "many.npz")
    (tmp_path / "broken.npz").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        only(tmp_path / "broken.npz")


def test_each_sample_has_its_latest_number_at_a_moment() -> None:
    frame = pl.DataFrame({"id": ["a", "a", "b"], "n_generated": [0, 4, 2], "x": [1.0, 2.0, 3.0]})
    found = only(frame)
    lengths = np.array([9, 9, 9])
    at = [np.asarray(found.at(after_tokens(IDS, lengths, after)).columns) for after in (0, 2, 4)]
    assert [np.nan_to_num(one, nan=-1.0)[:, 0].tolist() for one in at] == [
        [1.0, -1.0, -1.0],
        [1.0, 3.0, -1.0],
        [2.0, 3.0, -1.0],
    ]
    assert found.at(after_tokens(IDS, lengths, 4)).notes == ("mine: 1 samples have no row, such as 'c'",)


def test_a_number_of_a_later_token_counts_once_the_answer_has_ended_or_come_to_it() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c"], "n_generated": [4, 4, 4], "x": [1.0, 2.0, 3.0]})
    moment = Moment(IDS, np.array([9, 3, 9]), np.array([2, 3, 4]))
    assert np.nan_to_num(np.asarray(only(frame).at(moment).columns), nan=-1.0)[:, 0].tolist() == [-1.0, 2.0, 3.0]


def test_numbers_without_a_moment_are_of_whole_answers() -> None:
    found = only({"a": 1.0, "b": 2.0, "c": 3.0})
    lengths = np.array([2, 3, 4])
    assert "given for whole answers only" in str(found.at(after_tokens(IDS, lengths, 3)).reason)
    assert found.at(after_tokens(IDS, lengths, 4)).columns is not None
