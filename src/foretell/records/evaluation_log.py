"""Samples of an inspect_ai log: one JSON object, or an archive with one file per sample."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foretell.records.skipped import BadRecords

__all__ = ["is_log_archive", "read_log_archive", "samples_of"]

_FOLDER = "samples/"


def samples_of(log: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the samples of a log with the name of its task as `dataset`, None where it is no log."""
    evaluation, samples = log.get("eval"), log.get("samples")
    if not isinstance(evaluation, Mapping) or not isinstance(samples, list):
        return None
    task = str(evaluation.get("task") or "inspect")
    return [{"dataset": task, **sample} for sample in samples if isinstance(sample, Mapping)]


def is_log_archive(path: Path) -> bool:
    """Whether a zip archive holds samples of a log."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith(_FOLDER) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def read_log_archive(path: Path, *, bad: BadRecords, limit: int | None) -> list[tuple[int, dict[str, Any]]]:
    """Return the number and the fields of every sample, in the order of their names.

    Args:
        path: A file that `is_log_archive` accepts.
        bad: Takes samples that cannot be read.
        limit: At most so many.
    """
    found = []
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith(_FOLDER)]
        names.sort(key=lambda name: (len(name), name))
        task = _task(archive)
        for row, name in enumerate(names[:limit], start=1):
            try:
                sample = json.loads(archive.read(name))
            except (ValueError, RecursionError, NotImplementedError, zipfile.BadZipFile, zlib.error) as cause:
                bad.add(row, f"{name} cannot be read: {str(cause)[:120]}", cause=cause)
                continue
            if isinstance(sample, dict):
                found.append((row, {"dataset": task, **sample}))
            else:
                bad.add(row, f"{name} is a {type(sample).__name__}, not an object with named fields")
    return found


def _task(archive: zipfile.ZipFile) -> str:
    for name in ("header.json", "_journal/start.json"):
        if name in archive.namelist():
            try:
                return str(json.loads(archive.read(name))["eval"]["task"])
            except (ValueError, KeyError, TypeError):
                continue
    return "inspect"
