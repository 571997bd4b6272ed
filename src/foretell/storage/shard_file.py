"""Rows of one tensor of a safetensors file, read by position.

Mapping a file into memory reads it page by page as it is touched, which is several times slower than the disk; here the
rows that are asked for are read at once. The format is that of https://github.com/huggingface/safetensors: eight bytes
with the length of a JSON header, the header, and the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Tensor", "read_tensor_rows", "tensors_of"]

_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
_LONGEST_HEADER = 100_000_000
_GAP = 1 << 16
"""Bytes between two rows that are read along rather than skipped."""


@dataclass(frozen=True)
class Tensor:
    """Where a matrix is in a file."""

    dtype: np.dtype[Any]
    n_rows: int
    width: int
    start: int
    """Place of its first byte."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.width * self.dtype.itemsize


def tensors_of(path: Path) -> Mapping[str, Tensor]:
    """Return the matrices of a file, by name.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or has other tensors than matrices of float16 and float32.
    """
    found = path.stat()
    return _tensors(path, (found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=4096)
def _tensors(path: Path, version: tuple[int, int]) -> Mapping[str, Tensor]:
    _, n_bytes = version
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_LONGEST_HEADER, n_bytes - 8):
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header names no tensors")
    header.pop("__metadata__", None)
    return {name: _tensor(name, one, 8 + length, n_bytes) for name, one in header.items()}


def _tensor(name: str, described: Any, begin: int, n_bytes: int) -> Tensor:
    try:
        kind, shape, (start, stop) = described["dtype"], described["shape"], described["data_offsets"]
        if kind not in _DTYPES or len(shape) != 2:
            raise ValueError(f"{name} is {kind} of shape {shape}, not a matrix of float16 or float32")
        size = prod(shape) * _DTYPES[kind].itemsize
        if min(*shape, start) < 0 or stop - start != size or begin + stop > n_bytes:
            raise ValueError(f"{name} lies beyond the end of the file")
        return Tensor(_DTYPES[kind], shape[0], shape[1], begin + start)
    except (KeyError, TypeError) as error:
        raise ValueError(f"its header does not describe {name} ({error!r})") from error


def read_tensor_rows(path: Path, name: str, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row width"]:
    """Return rows of one tensor as float32, in the order they are asked for; what is between far rows is not read.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or has no such tensor or row.
    """
    tensors = tensors_of(path)
    if name not in tensors:
        raise ValueError(f"it has no tensor {name}")
    tensor = tensors[name]
    if rows.min() < 0 or rows.max() >= tensor.n_rows:
        raise ValueError(f"{name} has {tensor.n_rows} rows, and the index names rows {rows.min()} to {rows.max()}")
    order = np.argsort(rows, kind="stable")
    far = np.diff(rows[order]) > 1 + _GAP // max(1, tensor.row_bytes)
    found = np.empty((len(rows), tensor.width), dtype=np.float32)
    with path.open("rb", buffering=0) as file:
        for block in np.split(order, np.flatnonzero(far) + 1):
            first, last = int(rows[block[0]]), int(rows[block[-1]])
            values = np.empty((last + 1 - first, tensor.width), dtype=tensor.dtype)
            file.seek(tensor.start + first * tensor.row_bytes)
            if not _filled(file, values.reshape(-1).view(np.uint8).data):
                raise ValueError("it ends before its last row")
            places = rows[block] - first
            if len(places) == len(values) and (np.diff(places) == 1).all() and (np.diff(block) == 1).all():
                found[block[0] : block[-1] + 1] = values
            else:
                found[block] = values[places]
    return found


def _filled(file: Any, buffer: memoryview) -> bool:
    """Read until a buffer is full; one call may give less than it is asked for."""
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done:])
        if not count:
            return False
        done += count
    return True
