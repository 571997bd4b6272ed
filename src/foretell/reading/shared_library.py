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
import subprocess
import sys
from pathlib import Path

from foretell.atomic import written_whole
from foretell.reading.caches import cache_folder

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


@functools.cache
def shared_library(source: Path) -> ctypes.CDLL | None:
    """Return a source as a library, compiled now if it was not before; None where that cannot be done.

    It takes less than a second and happens once: the library is kept in the user's cache folder under a name that
    tells its source and the compiler's command. `CC` names the compiler, `FORETELL_COMPILE=0` forbids it. Only Linux
    is tried, where the compiler's threads are those of the tensor library.

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
        if not library.is_file():
            with written_whole(library) as draft:
                subprocess.run(  # noqa: S603
                    [*command, "-o", str(draft), str(source), "-lm"],
                    check=True,
                    capture_output=True,
                    timeout=_LONGEST_SECONDS,
                )
        return ctypes.CDLL(str(library))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
