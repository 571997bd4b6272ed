"""Rows of safetensors come back as the library gives them, and a damaged file is refused, never read beyond its end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from foretell.storage.shard_file import read_tensor_rows, tensors_of


@pytest.fixture
def path(tmp_path: Path, generator: np.random.Generator) -> Path:
    half, single = generator.normal(size=(40_000, 3)).astype(np.float16), generator.normal(size=(5, 7))
    save_file({"half": half, "single": single.astype(np.float32)}, tmp_path / "a.safetensors", {"any": "thing"})
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("rows", [[0], [4, 0, 2], [1, 1, 3], [0, 0, 2], [4, 3, 2, 1, 0], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize(("name", "scale"), [("half", 1), ("half", 9_999), ("single", 1)])
def test_rows_are_those_of_the_library(path: Path, name: str, scale: int, rows: list[int]) -> None:
    chosen = np.asarray(rows) * scale
    expected = load_file(path)[name][chosen].astype(np.float32)
    np.testing.assert_array_equal(read_tensor_rows(path, name, chosen), expected)


@pytest.mark.parametrize(("name", "row"), [("half", 40_000), ("half", -1), ("none", 0)])
def test_a_row_that_is_not_there_is_refused(path: Path, name: str, row: int) -> None:
    with pytest.raises(ValueError, match=r"rows, and the index names|no tensor none"):
        read_tensor_rows(path, name, np.array([row]))


def test_a_file_that_was_cut_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for size in (0, 4, 8, 20, 100, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"header|end|Expecting|Unterminated|delimiter"):
            tensors_of(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F64", "shape": [1, 1], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 6]},
        {"dtype": "F16", "shape": [2, 2], "data_offsets": [-8, 0]},
        {"dtype": "F16", "shape": [-2, -2], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [2, 2], "data_offsets": [1_000_000, 1_000_008]},
        {"dtype": "F16", "shape": ["2", 2], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [2, 2]},
        3,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, entry: object) -> None:
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(ValueError, match="x"):
        tensors_of(tmp_path / "x")
