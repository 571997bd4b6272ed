"""Records of logs as harnesses write them, for tests of their readers."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADER: dict[str, Any] = {"version": 2, "status": "success", "eval": {"task": "sums", "model": "openai/small"}}
SAMPLE: dict[str, Any] = {
    "id": "s",
    "epoch": 1,
    "input": "Q",
    "target": "A",
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q", "source": "input"},
        {"role": "assistant", "content": "A", "source": "generate"},
    ],
    "output": {"choices": []},
    "scores": {"match": {"value": "C", "answer": "A"}},
}
DOCUMENT: dict[str, Any] = {
    "doc_id": 3,
    "doc": {"question": "Q"},
    "target": "A",
    "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": {"until": ["\n"]}}},
    "resps": [["A"]],
    "filtered_resps": ["A"],
    "filter": "none",
    "metrics": ["exact_match"],
    "exact_match": 1.0,
}
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def with_score(value: Any, **fields: Any) -> dict[str, Any]:
    """Return a sample that one scorer gave a value."""
    return {**SAMPLE, "scores": {"match": {"value": value}}, **fields}


def write_archive(path: Path, files: Mapping[str, Any], *, compression: int = DEFLATED) -> Path:
    """Write a log archive from what is in each of its files: text as it is, anything else as JSON."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def write_zstd_archive(path: Path, files: Mapping[str, Any], packed: Mapping[str, bytes]) -> Path:
    """Write an archive whose files are compressed by zstd, from their texts and what these are when compressed."""
    body, directory = b"", b""
    for name, content in files.items():
        text, data, place = json.dumps(content).encode(), packed[name], len(body)
        sizes = struct.pack("<III", zlib.crc32(text), len(data), len(text))
        middle = struct.pack("<HHHHH", 20, 0, 93, 0, 33) + sizes + struct.pack("<HH", len(name), 0)
        body += b"PK\x03\x04" + middle + name.encode() + data
        rest = struct.pack("<HHHII", 0, 0, 0, 0, place)
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + middle + rest + name.encode()
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path
