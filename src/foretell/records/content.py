"""What a file is, told by its first bytes and not by its name; compressed text is unpacked."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from foretell.errors import InputError, located
from foretell.records.logs.zipped_log import is_cut_log_archive, is_log_archive

__all__ = ["KINDS", "Container", "Content", "open_content"]

Container = Literal["json", "jsonl", "csv", "parquet", "arrow", "inspect", "frame", "objects"]
"""What records came in; "frame" and "objects" are in memory."""

KINDS = (
    "CSV, TSV, Parquet, Arrow, JSON and JSON lines (text may be gzipped), logs of inspect_ai and folders of Parquet "
    "parts are read"
)
_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
_OTHERS = {
    b"PK\x03\x04": "a zip archive (such as an Excel file)",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"FEA1": "a Feather file of version 1",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"%PDF": "a PDF",
}
"""Files that are not read, by their first bytes."""


@dataclass(frozen=True)
class Content:
    """A file whose kind is known."""

    path: Path
    container: Container
    head: bytes
    """Its beginning, unpacked."""
    unpacked: bytes | None = None
    """All of it where it was compressed."""

    def read(self) -> bytes:
        """Return all of it, unpacked."""
        return self.path.read_bytes() if self.unpacked is None else self.unpacked

    def source(self) -> Path | bytes:
        """Return what a library may read: the path, or the unpacked bytes."""
        return self.path if self.unpacked is None else self.unpacked

    def lines(self) -> io.TextIOWrapper:
        """Return the text as a stream in which bytes that are not UTF-8 are lone surrogates."""
        stream: BinaryIO = self.path.open("rb") if self.unpacked is None else io.BytesIO(self.unpacked)
        return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def open_content(path: Path, *, error: type[InputError]) -> Content:
    """Return a file with its kind.

    Raises:
        InputError: (as `error`) It is missing, empty, incomplete, no text in UTF-8, or of a kind that is not read.
    """
    head, unpacked = _beginning(path, error)
    if not head:
        raise error(located(path, "the file is empty"))
    for start, container in ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "arrow")):
        if head.startswith(start):
            return Content(path, container, head, unpacked)  # type: ignore[arg-type]
    if head.startswith(b"PK\x03\x04") and is_log_archive(path):
        return Content(path, "inspect", head)
    if head.startswith(b"PK\x03\x04") and is_cut_log_archive(head):
        message = "is a log of inspect_ai whose end is lacking or damaged: it was cut off, or is still being written"
        raise error(located(path, f"{message}; copy it again, or recover it with `inspect log recover`"))
    for start, kind in _OTHERS.items():
        if head.startswith(start):
            raise error(located(path, f"is {kind}, which is not read: {KINDS}"))
    _require_text(path, head, unpacked, error)
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not first and not (unpacked or path.read_bytes()).removeprefix(b"\xef\xbb\xbf").strip():
        raise error(located(path, "the file is empty: it holds blanks only"))
    return Content(path, "json" if first == b"[" else "jsonl" if first == b"{" else "csv", head, unpacked)


def _beginning(path: Path, error: type[InputError]) -> tuple[bytes, bytes | None]:
    """Return the first bytes of a file, and all of it where it is compressed."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if not head.startswith(b"\x1f\x8b"):
            return head, None
        unpacked = gzip.decompress(path.read_bytes())
        return unpacked[:_HEAD_BYTES], unpacked
    except FileNotFoundError as cause:
        raise error(located(path, "there is no such file or folder")) from cause
    except (EOFError, zlib.error, gzip.BadGzipFile) as cause:
        raise error(located(path, f"is not a complete gzip file ({cause}); write it again")) from cause
    except OSError as cause:
        raise error(located(path, f"cannot be read: {cause.strerror}")) from cause


def _require_text(path: Path, head: bytes, unpacked: bytes | None, error: type[InputError]) -> None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise error(located(path, "is UTF-16: save it as UTF-8"))
    n_lines = 0
    with io.BytesIO(unpacked) if unpacked is not None else path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            place = block.find(b"\0")
            n_lines += block.count(b"\n", 0, place if place >= 0 else len(block))
            if place >= 0:
                message = f"line {n_lines + 1} holds a null byte: this is no UTF-8 text, or it is damaged"
                raise error(located(path, message))
