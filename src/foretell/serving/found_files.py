"""What lies in a folder: models, directions, monitors, runs and reports, told by their names and headers alone.

Nothing is loaded to find it, and only safetensors are offered. Whatever leads out of the folder, by a link or by the
names that a file has in it, is left out, and looked for again when it is loaded.

    for one in found_files(Path("demo")):
        print(one.kind, one.name, one.facts)
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from safetensors import SafetensorError, safe_open

from foretell.errors import InputError
from foretell.storage.targets import MANIFEST

__all__ = ["FoundFile", "Kind", "found_files"]

Kind: TypeAlias = Literal["model", "direction", "monitor", "run", "report"]

_MOST_BYTES = 256 << 20
"""Of a file that may be a direction or a monitor; what is larger holds weights or hidden states."""
_DEPTH = 4
"""Folders below the given one that are looked into."""
_REPORT = "report.html"
_CONFIGURATION = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""Files of which a model has at least one; transformers then takes no others, which might be pickles."""
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class FoundFile:
    """Something in the folder."""

    kind: Kind
    name: str
    """Its place in the folder, as it is shown."""
    path: Path
    root: Path
    """The folder that it was found in."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What its header says, of a direction or a monitor."""
    problem: str | None = None
    """Why it cannot be used."""

    def checked(self) -> Path:
        """Return its path, if it is still what it was and in the folder.

        Raises:
            InputError: It leads out of the folder, or is no longer there.
        """
        problem = _model_problem(self.path, self.root) if self.kind == "model" else _problem(self.path, self.root)
        if problem is not None:
            raise InputError(f"{self.name}: {problem}")
        return self.path


def found_files(folder: Path) -> Iterator[FoundFile]:
    """Yield what is in a folder and in those in it, in order, without following links.

    Args:
        folder: Hidden folders in it, and the parts of runs, are not looked into.
    """
    for place, folders, names in os.walk(folder, followlinks=False):
        here = Path(place)
        is_run = MANIFEST in names
        depth = len(here.relative_to(folder).parts)
        folders[:] = [] if is_run or depth >= _DEPTH else sorted(one for one in folders if not one.startswith("."))
        if _CONFIGURATION in names and any(name in names for name in _WEIGHTS):
            problem = _model_problem(here, folder)
            yield FoundFile("model", _shown(here, folder), here, folder, problem=problem)
        for name in sorted(names):
            path = here / name
            if path.is_symlink() or not path.is_file():
                continue
            if name == MANIFEST:
                yield FoundFile("run", _shown(here, folder), here, folder)
            elif name == _REPORT:
                yield FoundFile("report", _shown(here, folder), path, folder)
            elif path.suffix == ".safetensors" and (found := _stored(path, folder)) is not None:
                yield found


def _shown(path: Path, folder: Path) -> str:
    """Return a place in the folder as text; names may hold bytes that are none."""
    relative = path.relative_to(folder).as_posix()
    name = (path.absolute().name or relative) if relative == "." else relative
    return os.fsencode(name).decode("utf-8", "replace")


def _stored(path: Path, folder: Path) -> FoundFile | None:
    """Return a direction or a monitor with what its header says; None of another file."""
    if path.stat().st_size > _MOST_BYTES:
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    name = _shown(path.with_suffix(""), folder)
    for kind, facts_of in _FACTS.items():
        if str(metadata.get("format", "")).startswith(f"foretell {kind}"):
            try:
                return FoundFile(kind, name, path, folder, facts_of(json.loads(metadata["foretell"])))
            except (KeyError, ValueError, TypeError) as error:
                problem = f"its header is damaged: {error}"
                return FoundFile(kind, name, path, folder, problem=problem)
    return None


def _of_direction(described: Any) -> Mapping[str, Any]:
    concept, model = _text(described["concept"]), _text(described["source"]["model"])
    return {"concept": concept, "model": model, "n_layers": len(described["reasons"])}


def _of_monitor(described: Any) -> Mapping[str, Any]:
    made_from, score = described["made_from"], described["threshold"]["score"]
    behaviour = made_from["behaviour"]
    if score is not None and not math.isfinite(score):
        raise ValueError("its threshold is no number")
    known = {"model": _text(made_from["model"]), "threshold": score}
    return known | {"behaviour": None if behaviour is None else _text(behaviour)}


_FACTS: Mapping[Kind, Callable[[Any], Mapping[str, Any]]] = {"direction": _of_direction, "monitor": _of_monitor}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _problem(path: Path, folder: Path) -> str | None:
    """Say why a file must not be opened; None where it may be."""
    if not path.exists():
        return "it is no longer there"
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        return "it leads out of the folder"
    return None


def _model_problem(model: Path, folder: Path) -> str | None:
    """Say why a model must not be loaded; None where it may be.

    Links are followed as far as the folder: a cache of the hub is full of them.
    """
    if (outside := _problem(model, folder)) is not None:
        return outside
    root = folder.resolve()
    for path in model.iterdir():
        if not path.resolve().is_relative_to(root):
            return f"{path.name} leads out of the folder"
    if not any((model / name).is_file() for name in _WEIGHTS):
        return "it has no weights as safetensors"
    if (model / _ADAPTER).exists():
        return f"its {_ADAPTER} names another model: merge the adapter first"
    return _index_problem(model / _WEIGHTS[1])


def _index_problem(index: Path) -> str | None:
    """Say what is wrong with the list of a model's files of weights, if it has one."""
    if not index.is_file():
        return None
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{index.name} cannot be read: {error}"
    for name in named:
        if not isinstance(name, str) or Path(name).name != name or Path(name).suffix != ".safetensors":
            return f"{index.name} names a file that is not beside it as safetensors"
    return None
