"""Logs of inspect_ai that are zip archives, sample by sample; nothing is ever unpacked to a file.

A sample is one file (`samples/ID_epoch_N.json`), or a folder of parts whose messages and long texts are stored apart.
Newer versions compress by zstd, which `zipfile` reads from Python 3.14 on; here polars unpacks it.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from foretell.records.skipped import BadRecords

__all__ = ["is_cut_log_archive", "is_log_archive", "read_archive_header", "read_log_archive"]

_FOLDER = "samples/"
_HEADERS = ("header.json", "_journal/start.json")
_ZSTD = 93
_LOCAL_HEADER = 30
"""Bytes before the name of a file that is stored in an archive."""
_PART = re.compile(r"(samples/.+)/(messages|attachments)/(\d+)\.json")
_LARGEST = 1 << 31
_UNREADABLE = (
    *(ValueError, LookupError, RecursionError, OSError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pl.exceptions.PolarsError),
)
"""What a damaged archive may raise anywhere."""


def is_log_archive(path: Path) -> bool:
    """Whether a zip archive holds samples of a log."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith(_FOLDER) or name in _HEADERS for name in archive.namelist())
    except _UNREADABLE:
        return False


def is_cut_log_archive(head: bytes) -> bool:
    """Whether a zip archive starts as a log does; where it cannot be opened, its end is lacking or damaged."""
    name = head[_LOCAL_HEADER:][:64]
    return name.startswith((b"_journal/start.json", b"header.json", _FOLDER.encode()))


def read_archive_header(path: Path) -> dict[str, Any]:
    """Return the header of a log, or of one that was not finished; empty where it has none that can be read."""
    with zipfile.ZipFile(path) as archive:
        for name in _HEADERS:
            if name in archive.namelist():
                try:
                    header = json.loads(_read(archive, name))
                except _UNREADABLE:
                    continue
                if isinstance(header, dict):
                    return header
    return {}


def read_log_archive(path: Path, *, bad: BadRecords, limit: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the fields of every sample, in the order of their names, one at a time.

    Args:
        path: A file that `is_log_archive` accepts.
        bad: Takes samples that cannot be read.
        limit: At most so many.
    """
    with zipfile.ZipFile(path) as archive:
        names = sorted(dict.fromkeys(archive.namelist()), key=lambda name: (len(name), name))
        names = [name for name in names if name.startswith(_FOLDER)]
        parts = _parts_by_sample(names)
        whole = [name for name in names if name.count("/") == 1 or name.endswith("/sample.json")]
        for row, name in enumerate(whole[:limit], start=1):
            try:
                sample = json.loads(_read(archive, name))
                if isinstance(sample, dict) and name.endswith("/sample.json"):
                    sample = _joined(archive, sample, name.removesuffix("/sample.json"), parts)
            except _UNREADABLE as cause:
                bad.add(row, f"{name} cannot be read: {str(cause)[:120]}", cause=cause)
                continue
            if isinstance(sample, dict):
                yield row, sample
            else:
                bad.add(row, f"{name} is a {type(sample).__name__}, not an object with named fields")


def _parts_by_sample(names: Sequence[str]) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Return the files of each sequence that belongs to a sample, with the number of the first entry of each."""
    parts: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        if found := _PART.fullmatch(name):
            parts.setdefault((found[1], found[2]), []).append((int(found[3]), name))
    return parts


def _joined(
    archive: zipfile.ZipFile, sample: dict[str, Any], folder: str, parts: dict[tuple[str, str], list[tuple[int, str]]]
) -> dict[str, Any]:
    """Return a sample with its messages and long texts, which are stored in parts."""
    sequences = {
        kind: [entry for _, name in sorted(parts.get((folder, kind), [])) for entry in json.loads(_read(archive, name))]
        for kind in ("messages", "attachments")
    }
    metadata = f"{folder}/metadata.json"
    if metadata in archive.NameToInfo:
        sample = {**sample, "metadata": json.loads(_read(archive, metadata))}
    attachments = {str(number): text for number, text in enumerate(sequences["attachments"])}
    return {**sample, "message_pool": sequences["messages"], "attachments": attachments}


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of a file in an archive.

    Raises:
        ValueError: It is larger than any sample, or its sum is wrong.
    """
    info = archive.getinfo(name)
    if info.file_size > _LARGEST:
        raise ValueError(f"it says that it is {info.file_size} bytes long")
    if info.compress_type != _ZSTD:
        return archive.read(name)
    stream = archive.fp
    if stream is None:
        raise ValueError("the archive is closed")
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile("its place in the archive holds something else")
    stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    found = _unpacked(stream.read(info.compress_size))
    if len(found) != info.file_size or zlib.crc32(found) != info.CRC:
        raise zipfile.BadZipFile("its checksum is wrong")
    return found


def _unpacked(packed: bytes) -> bytes:
    """Return what zstd packed: polars unpacks tables, and lines of JSON are one whose cells end nowhere else."""
    lines = pl.read_csv(
        packed, has_header=False, separator="\x01", quote_char=None, infer_schema=False, new_columns=["line"]
    )
    return "\n".join(lines.get_column("line").fill_null("")).encode()
