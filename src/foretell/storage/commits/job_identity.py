"""What makes two jobs the same: what was read and how, never how it was spelled.

job = plain_job({"weights": "v2:ab", "model": "./smollm2", "sampling": {"temperature": 0}})
job_hash(job)
differences(job, other)         # ["sampling.temperature: 0 in the run, 1 now"]
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from hashlib import sha256
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

__all__ = ["differences", "job_hash", "plain_job"]

_SHOWN = 40


def plain_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as plain JSON: numbers of other libraries, tuples and paths as what they mean.

    Raises:
        TypeError: A value is nothing that JSON has.
    """
    return {str(key): _plain(value) for key, value in job.items()}


def job_hash(job: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that are the same for the same job, however it is spelled."""
    return sha256(json.dumps(_identity(job), sort_keys=True).encode()).hexdigest()[:16]


def differences(known: Mapping[str, Any], job: Mapping[str, Any], keys: Collection[str] | None = None) -> list[str]:
    """Return what differs between the job of a run and another one, each with both values.

    The model's name does not count where its weights are known, and neither do the order of a list, the type of an
    equal number, and a setting that is absent in one and off in the other.

    Args:
        known: The run's job.
        job: The other.
        keys: Settings that are compared; None: all.
    """
    there, here = (_flat(_chosen(_identity(one), keys)) for one in (known, job))
    return [
        f"{key}: {_shown(there.get(key))} in the run, {_shown(here.get(key))} now"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return plain_job(value)
    if isinstance(value, list | tuple | set | frozenset | range):
        return [_plain(one) for one in value]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if hasattr(value, "item"):  # numpy's own booleans are no number
        return _plain(value.item())
    raise TypeError(f"a job must be plain JSON, not {type(value).__name__}")


def _identity(job: Mapping[str, Any]) -> dict[str, Any]:
    named = "weights" in job
    return {key: _canonical(value) for key, value in job.items() if _is_set(value) and not (named and key == "model")}


def _is_set(value: Any) -> bool:
    return value is not None and value is not False


def _canonical(value: Any) -> Any:
    """Return one form for equal settings: whole numbers as integers, lists sorted, nothing that is off."""
    if isinstance(value, Mapping):
        return {key: _canonical(one) for key, one in value.items() if _is_set(one)}
    if isinstance(value, list | tuple):
        return sorted(map(_canonical, value), key=_order)
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value


def _order(value: Any) -> tuple[float, str]:
    return (value, "") if isinstance(value, int | float) else (math.inf, json.dumps(value, sort_keys=True))


def _chosen(job: Mapping[str, Any], keys: Collection[str] | None) -> dict[str, Any]:
    return {key: value for key, value in job.items() if keys is None or key in keys}


def _flat(job: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in job.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return found


def _shown(value: Any) -> str:
    """Return a value in few characters; hashes are told apart by their beginning."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return value[:8]
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({sha256(text.encode()).hexdigest()[:8]})"
