"""C sources of the package, compiled once on each machine that has a compiler.

Nothing depends on them: whoever asks for one has another way, which is slower.

    library = shared_library(Path("strips.c"))
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path

from foretell.reading.models.cache_folder import cache_folder
from foretell.storage.atomic import written_whole

__all__ = ["shared_library"]

_OPTIONS = (
    "-std=c11",
    "-O3",
    "-fopenmp",
    "-shared",
    "-fPIC",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
)
_LONGEST_SECONDS = 120
_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def shared_library(source: Path) -> ctypes.CDLL | None:
    """Return a source as a library, compiled now if it was not before; None where that cannot be done.

    It takes about a second and happens once: the library is kept in the user's cache folder under a name that
    tells its source and the compiler's command. Nothing is loaded from a folder that others may write to. `CC` names
    the compiler, `FORETELL_COMPILE=0` forbids it. Only Linux is tried, where the compiler's threads are those of the
    tensor library.

    Example:
        >>> shared_library(Path("no such source.c")) is None
        True
    """
    if sys.platform != "linux" or os.environ.get("FORETELL_COMPILE") == "0":
        return None
    try:
        command = [*shlex.split(os.environ.get("CC") or "cc"), *_OPTIONS]
        identity = "\0".join([platform.machine(), *command]).encode() + source.read_bytes()
        library = cache_folder() / f"{source.stem}-{hashlib.sha256(identity).hexdigest()[:16]}.so"
        with _ONE_AT_A_TIME:
            if not library.is_file():
                _compile(command, source, library)
        return ctypes.CDLL(str(library)) if all(map(_is_trusted, (library, library.parent))) else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _compile(command: list[str], source: Path, library: Path) -> None:
    with written_whole(library) as draft:
        whole = [*command, "-o", str(draft), str(source), "-lm"]
        subprocess.run(whole, check=True, capture_output=True, timeout=_LONGEST_SECONDS)  # noqa: S603


def _is_trusted(path: Path) -> bool:
    """Tell whether nobody but this user (and the machine's owner) can have put something there."""
    found = path.stat()
    return found.st_uid in {0, os.getuid()} and not found.st_mode & stat.S_IWOTH
