"""The file of a monitor: arrays as safetensors, everything else as JSON in its metadata, and a checksum of every byte.

The checksum is that of the whole file with zeros in place of the checksum itself, so that no byte of it, also of the
header, can change unseen.

The number of the format changes where an older reader would take a file for something that it is not; such files are
refused. What is only added (the reference, the best baseline) may be missing: such a file is read, and says what it
cannot be used for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as tensors

from foretell.errors import InputError, located
from foretell.monitors.alarm_threshold import Threshold
from foretell.monitors.baseline_monitor import BestBaseline
from foretell.monitors.made_from import MadeFrom
from foretell.monitors.monitor import Monitor, StoredDirections
from foretell.monitors.monitor_columns import Columns
from foretell.monitors.recall import Recall, Share
from foretell.monitors.reference import Reference
from foretell.monitors.run_columns import check_moments
from foretell.storage.atomic import written_whole
from foretell.storage.targets import check_file

__all__ = ["load", "save"]

_FORMAT = "foretell monitor 1"
_NO_CHECKSUM = "0" * 64
_NUMBERS = ("intercept", "slope", "shift", "scored_at")
_ARRAYS = ("centre", "weight")
_DIRECTIONS = ("vectors", "mean", "standard_deviation")
_REFERENCE = ("values", "components", "training_groups", "calibration_groups")
_LENGTH_BYTES = 8
"""Bytes before the header of a safetensors file, which say how long it is."""

Described = TypeVar("Described", Columns, MadeFrom, Threshold, Share, Recall, BestBaseline)


def save(monitor: Monitor, path: Path | str, *, overwrite: bool) -> None:
    """Write a monitor; see `Monitor.save`."""
    check_file(path, overwrite=overwrite)
    described = {
        **{name: getattr(monitor, name) for name in _NUMBERS},
        **{name: asdict(getattr(monitor, name)) for name in ("columns", "threshold", "recall", "made_from")},
    }
    arrays = {name: np.ascontiguousarray(getattr(monitor, name)) for name in _ARRAYS}
    arrays |= {name: np.ascontiguousarray(getattr(monitor.directions, name)) for name in _DIRECTIONS}
    if monitor.reference is not None:
        described["reference"] = list(monitor.reference.names)
        arrays |= {f"reference.{name}": getattr(monitor.reference, name) for name in _REFERENCE}
    if monitor.baseline is not None:
        described["baseline"] = asdict(monitor.baseline)
    text = json.dumps(described, ensure_ascii=False, allow_nan=False)
    metadata = {"format": _FORMAT, "foretell": text, "sha256": _NO_CHECKSUM}
    empty = tensors.save(arrays, metadata=metadata)
    checksum = sha256(empty).hexdigest()
    with written_whole(Path(path)) as draft:
        draft.write_bytes(empty.replace(_NO_CHECKSUM.encode(), checksum.encode(), 1))


def load(path: Path | str) -> Monitor:
    """Return the monitor of a file; see `Monitor.load`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(located(path, "there is no such monitor file"))
    content = path.read_bytes()
    try:
        metadata = _metadata(content)
        if metadata.get("format") != _FORMAT:
            raise InputError(located(path, f'is safetensors, but no "{_FORMAT}"'))
        checksum = metadata["sha256"]
        empty = content.replace(checksum.encode(), _NO_CHECKSUM.encode(), 1)
        if sha256(empty).hexdigest() != checksum:
            raise ValueError("its checksum is another, so it was changed after it was saved; fit it again")
        return _built(json.loads(metadata["foretell"]), tensors.load(content))
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(located(path, f"holds no monitor: {error}")) from error


def _metadata(content: bytes) -> Mapping[str, str]:
    """Return the metadata of a safetensors file.

    Raises:
        ValueError: (or KeyError) It is none.
    """
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES + length:
        raise ValueError("it is no safetensors file, or not whole")
    found = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length].decode("utf-8"))["__metadata__"]
    return dict(found)


def _built(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Monitor:
    columns = _of(Columns, _tuples(described["columns"]))
    recall = described["recall"]
    caught_by = {int(moment): share for moment, share in recall["caught_by"].items()}
    check_moments(described["scored_at"])
    monitor = Monitor(
        columns=columns,
        threshold=_of(Threshold, described["threshold"]),
        recall=_of(Recall, {**recall, "caught_by": caught_by, "share": _of(Share, recall["share"])}),
        made_from=_of(MadeFrom, _tuples(described["made_from"])),
        directions=StoredDirections(**{name: arrays[name] for name in _DIRECTIONS}),
        centre=arrays["centre"],
        weight=arrays["weight"],
        reference=_reference(described.get("reference"), arrays),
        baseline=_baseline(described.get("baseline")),
        **{name: described[name] for name in _NUMBERS},
    )
    n_columns = sum(columns.sizes.values())
    if not monitor.centre.shape == monitor.weight.shape == (n_columns,):
        raise ValueError("its arrays do not belong to its columns")
    return monitor


def _reference(names: Sequence[str] | None, arrays: Mapping[str, np.ndarray]) -> Reference | None:
    if names is None:
        return None
    return Reference(tuple(names), **{name: arrays[f"reference.{name}"] for name in _REFERENCE})


def _baseline(values: Mapping[str, Any] | None) -> BestBaseline | None:
    return None if values is None else _of(BestBaseline, {**values, "recall": _of(Share, values["recall"])})


def _of(kind: type[Described], values: Mapping[str, Any]) -> Described:
    return kind(**{item.name: values[item.name] for item in fields(kind)})


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with tuples in place of lists, as they were before they were JSON."""
    return {name: _as_tuple(value) for name, value in values.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
