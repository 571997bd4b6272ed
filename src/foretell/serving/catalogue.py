"""What the page can choose from: models, directions, monitors, runs and reports, each with an id.

Everything is found once, when serving starts, and only ids of what was found then are accepted later: no request can
name a path.

    catalogue = Catalogue.found(["smollm2"], folder=Path("demo"))
    catalogue.direction("direction-1")
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open

from foretell.directions.direction import Direction
from foretell.errors import ForetellError, TemplateWarning
from foretell.monitors.monitor import Monitor
from foretell.serving.request_bounds import RefusedError
from foretell.storage.targets import MANIFEST

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

__all__ = ["Catalogue", "Named"]

_MOST_BYTES = 256 << 20
"""Of a file in the folder that may be a direction or a monitor; what is larger holds weights or hidden states."""
_DEPTH = 4
"""Folders below the given one that are looked into."""
_MOST_FOUND = 500
"""Entries of one kind."""
_REPORT = "report.html"
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Named:
    """Something on disk, with the name that the page shows."""

    name: str
    path: Path


@dataclass
class Catalogue:
    """Everything by id. Models are loaded when they are first used, by one thread at a time."""

    loaders: Mapping[str, Callable[[], Model]]
    """By the name that the user gave."""
    directions: Mapping[str, tuple[str, Direction]] = field(default_factory=dict)
    monitors: Mapping[str, tuple[str, Monitor]] = field(default_factory=dict)
    runs: Mapping[str, Named] = field(default_factory=dict)
    reports: Mapping[str, Named] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    """What in the folder could not be read, and why."""
    _models: dict[str, Model] = field(default_factory=dict)
    _notes: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Of a model and a direction or monitor that fits it."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def found(
        cls,
        loaders: Mapping[str, Callable[[], Model]],
        *,
        directions: Sequence[Path] = (),
        monitors: Sequence[Path] = (),
        folder: Path | None = None,
    ) -> Catalogue:
        """Return what was named, and what lies in a folder.

        Args:
            loaders: Loads each model, by name.
            directions: Files of directions; each must be one.
            monitors: Files of monitors; each must be one.
            folder: Also take directions, monitors, runs and reports in it; links out of it are not followed.

        Raises:
            InputError: A named file is no direction or no monitor.
        """
        known_directions = [(path.stem, Direction.load(path)) for path in directions]
        known_monitors = [(path.stem, Monitor.load(path)) for path in monitors]
        runs: list[Named] = []
        reports: list[Named] = []
        skipped: list[str] = []
        given = {path.resolve() for path in (*directions, *monitors)}
        for path in () if folder is None else _files(folder):
            name = path.relative_to(folder).as_posix() if folder is not None else path.name
            if path.name == MANIFEST:
                runs.append(Named(_parent(name), path.parent))
            elif path.name == _REPORT:
                reports.append(Named(_parent(name), path))
            elif path.suffix == ".safetensors" and path.resolve() not in given:
                try:
                    match _format(path):
                        case "direction":
                            known_directions.append((name.removesuffix(path.suffix), Direction.load(path)))
                        case "monitor":
                            known_monitors.append((name.removesuffix(path.suffix), Monitor.load(path)))
                except ForetellError as error:
                    skipped.append(str(error))
        return cls(
            loaders,
            _by_id("direction", known_directions),
            _by_id("monitor", known_monitors),
            _by_id("run", runs),
            _by_id("report", reports),
            tuple(skipped),
        )

    def is_loaded(self, name: str) -> bool:
        """Whether a model is in memory already."""
        return name in self._models

    def model(self, name: str) -> Model:
        """Return a model, loaded where it is not yet.

        Raises:
            RefusedError: There is none of that name.
            ModelError: It cannot be loaded.
            NotReadableError: It cannot be read exactly.
        """
        load = _known(self.loaders, name, "model")
        if name in self._models:  # without waiting for another that is being loaded
            return self._models[name]
        with self._lock:
            if name not in self._models:
                from foretell.serving.one_answer import warmed_up

                self._models[name] = warmed_up(load())
            return self._models[name]

    def direction(self, name: str) -> Direction:
        """Return the direction of an id, or refuse it."""
        return _known(self.directions, name, "direction")[1]

    def monitor(self, name: str) -> Monitor:
        """Return the monitor of an id, or refuse it."""
        return _known(self.monitors, name, "monitor")[1]

    def fitting(
        self, model: str, direction: str | None, monitor: str | None
    ) -> tuple[Direction | None, Monitor | None, tuple[str, ...]]:
        """Return direction and monitor of these ids for a model, with what is to be said of them.

        Whether they fit is found out once: it takes the sum of all weights.

        Raises:
            RefusedError: There are none of these ids.
            InputError: One of them was made for another model.
        """
        chosen = None if direction is None else self.direction(direction)
        watching = None if monitor is None else self.monitor(monitor)
        notes: list[str] = []
        for name, check in (
            (direction, None if chosen is None else chosen.check_fits),
            (monitor, None if watching is None else watching.check_model),
        ):
            if check is None:
                continue
            if (model, str(name)) not in self._notes:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always", TemplateWarning)
                    check(self.model(model))
                self._notes[model, str(name)] = tuple(str(one.message) for one in said)
            notes += self._notes[model, str(name)]
        return chosen, watching, tuple(notes)

    def run(self, name: str) -> Named:
        """Return the run of an id, or refuse it."""
        return _known(self.runs, name, "run")

    def report(self, name: str) -> Named:
        """Return the report of an id, or refuse it."""
        return _known(self.reports, name, "report")

    def as_json(self) -> dict[str, Any]:
        """Return what there is to choose from."""
        return {
            "models": [{"id": name, "is_loaded": self.is_loaded(name)} for name in self.loaders],
            "directions": [
                {"id": key, "name": name, "concept": one.concept, "model": one.source.model, "n_layers": one.n_layers}
                for key, (name, one) in self.directions.items()
            ],
            "monitors": [
                {"id": key, "name": name, "model": one.made_from.model, "behaviour": one.made_from.behaviour}
                | {"threshold": one.threshold.score}
                for key, (name, one) in self.monitors.items()
            ],
            "runs": [{"id": key, "name": one.name} for key, one in self.runs.items()],
            "reports": [{"id": key, "name": one.name} for key, one in self.reports.items()],
            "skipped": list(self.skipped),
        }


def _known(entries: Mapping[str, _Value], name: str, what: str) -> _Value:
    if name not in entries:
        raise RefusedError(404, f"there is no such {what} on this page")
    return entries[name]


def _by_id(kind: str, values: Sequence[_Value]) -> dict[str, _Value]:
    return {f"{kind}-{number}": value for number, value in enumerate(values[:_MOST_FOUND], start=1)}


def _parent(name: str) -> str:
    return name.rpartition("/")[0] or "."


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those in it, in order, without following links."""
    for place, folders, names in os.walk(folder, followlinks=False):
        here = Path(place)
        is_run = MANIFEST in names
        depth = len(here.relative_to(folder).parts)
        # The parts of a run are no entries of their own.
        folders[:] = [] if is_run or depth >= _DEPTH else sorted(one for one in folders if not one.startswith("."))
        for name in sorted(names):
            path = here / name
            if not path.is_symlink() and path.is_file():
                yield path


def _format(path: Path) -> str | None:
    """Return "direction" or "monitor" where a file says that it is one; nothing else of it is read."""
    if path.stat().st_size > _MOST_BYTES:
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            stated = str((file.metadata() or {}).get("format", ""))
    except (SafetensorError, OSError):
        return None
    return next((kind for kind in ("direction", "monitor") if stated.startswith(f"foretell {kind}")), None)
