"""What the page can choose from: models, directions, monitors, runs and reports, each with an id.

Everything is found once, when serving starts, and only ids of what was found then are accepted later: no request can
name a path. What is in the folder is loaded when it is first chosen.

    catalogue = Catalogue.found({"smollm2": load}, folder=Path("demo"), load_folder=foretell.load_model)
    catalogue.direction("direction-1")
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from foretell.directions.direction import Direction
from foretell.errors import TemplateWarning
from foretell.monitors.monitor import Monitor
from foretell.serving.found_files import FoundFile, found_files
from foretell.serving.request_bounds import MAX_NAME, RefusedError

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

__all__ = ["Catalogue", "Offered", "offered_direction"]

_MOST_FOUND = 500
"""Entries of one kind."""
_Value = TypeVar("_Value")


class Offered(Generic[_Value]):
    """A direction or a monitor to choose, loaded when it is first chosen.

    Args:
        name: As the page shows it.
        facts: What the page says of it.
        load: Returns it.
    """

    def __init__(self, name: str, facts: Mapping[str, Any], load: Callable[[], _Value]) -> None:
        self.name = _shown(name)
        self.facts: dict[str, Any] = {
            key: _shown(value) if isinstance(value, str) else value for key, value in facts.items()
        }
        self._load = load
        self._value: _Value | None = None
        self._lock = threading.Lock()

    def value(self) -> _Value:
        """Return it.

        Raises:
            InputError: It is damaged, or no longer where it was found.
        """
        with self._lock:
            if self._value is None:
                self._value = self._load()
            return self._value


def offered_direction(name: str, one: Direction) -> Offered[Direction]:
    """Return a direction that is in memory."""
    return Offered(name, {"concept": one.concept, "model": one.source.model, "n_layers": one.n_layers}, lambda: one)


def _offered_monitor(name: str, one: Monitor) -> Offered[Monitor]:
    facts = {"model": one.made_from.model, "behaviour": one.made_from.behaviour, "threshold": one.threshold.score}
    return Offered(name, facts, lambda: one)


@dataclass
class Catalogue:
    """Everything by id. Models are loaded when they are first used, by one thread at a time."""

    loaders: Mapping[str, Callable[[], Model]]
    """By the name that the user gave, or that a folder has."""
    directions: Mapping[str, Offered[Direction]] = field(default_factory=dict)
    monitors: Mapping[str, Offered[Monitor]] = field(default_factory=dict)
    runs: Mapping[str, FoundFile] = field(default_factory=dict)
    reports: Mapping[str, FoundFile] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    """What in the folder cannot be used, and why."""
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
        load_folder: Callable[[Path], Model] | None = None,
    ) -> Catalogue:
        """Return what was named, and what lies in a folder.

        Args:
            loaders: Loads each model, by name.
            directions: Files of directions; each must be one.
            monitors: Files of monitors; each must be one.
            folder: Also offer directions, monitors, runs, reports and models in it; links out of it are not followed.
            load_folder: Loads a model that is in the folder; None offers none of them.

        Raises:
            InputError: A named file is no direction or no monitor.
        """
        known_directions = [offered_direction(path.stem, Direction.load(path)) for path in directions]
        known_monitors = [_offered_monitor(path.stem, Monitor.load(path)) for path in monitors]
        given = {path.resolve() for path in (*directions, *monitors)}
        in_folder = [] if folder is None else [one for one in found_files(folder) if one.path.resolve() not in given]
        usable: dict[str, list[FoundFile]] = {}
        for one in in_folder:
            if one.problem is None:
                usable.setdefault(one.kind, []).append(one)
        known_directions += [_in_folder(one, Direction.load) for one in usable.get("direction", ())]
        known_monitors += [_in_folder(one, Monitor.load) for one in usable.get("monitor", ())]
        models = () if load_folder is None else _models_by_name(usable.get("model", ()), loaders)
        return cls(
            {**loaders, **{one.name: _folder_loader(one, load_folder) for one in models if load_folder}},
            _by_id("direction", known_directions),
            _by_id("monitor", known_monitors),
            _by_id("run", usable.get("run", [])),
            _by_id("report", usable.get("report", [])),
            tuple(f"{one.name}: {one.problem}" for one in in_folder if one.problem is not None),
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

    def check_ids(self, direction: str | None, monitor: str | None) -> None:
        """Refuse ids that nothing has, without loading what has them."""
        if direction is not None:
            _known(self.directions, direction, "direction")
        if monitor is not None:
            _known(self.monitors, monitor, "monitor")

    def direction(self, name: str) -> Direction:
        """Return the direction of an id, or refuse it."""
        return _known(self.directions, name, "direction").value()

    def monitor(self, name: str) -> Monitor:
        """Return the monitor of an id, or refuse it."""
        return _known(self.monitors, name, "monitor").value()

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

    def run(self, name: str) -> FoundFile:
        """Return the run of an id, or refuse it."""
        return _known(self.runs, name, "run")

    def report(self, name: str) -> FoundFile:
        """Return the report of an id, or refuse it."""
        return _known(self.reports, name, "report")

    def as_json(self) -> dict[str, Any]:
        """Return what there is to choose from."""
        return {
            "models": [{"id": name, "is_loaded": self.is_loaded(name)} for name in self.loaders],
            "directions": [{"id": key, "name": one.name, **one.facts} for key, one in self.directions.items()],
            "monitors": [{"id": key, "name": one.name, **one.facts} for key, one in self.monitors.items()],
            "runs": [{"id": key, "name": one.name} for key, one in self.runs.items()],
            "reports": [{"id": key, "name": one.name} for key, one in self.reports.items()],
            "skipped": list(self.skipped),
        }


def _shown(text: str) -> str:
    """Return a text as JSON can have it: a file may hold half a character."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _known(entries: Mapping[str, _Value], name: str, what: str) -> _Value:
    if name not in entries:
        raise RefusedError(404, f"there is no such {what} on this page")
    return entries[name]


def _by_id(kind: str, values: Sequence[_Value]) -> dict[str, _Value]:
    return {f"{kind}-{number}": value for number, value in enumerate(values[:_MOST_FOUND], start=1)}


def _in_folder(one: FoundFile, load: Callable[[Path], _Value]) -> Offered[_Value]:
    """Return what is in the folder, looked at again when it is loaded."""
    return Offered(one.name, one.facts, lambda: load(one.checked()))


def _folder_loader(one: FoundFile, load: Callable[[Path], Model]) -> Callable[[], Model]:
    return lambda: load(one.checked())


def _models_by_name(found: Sequence[FoundFile], named: Mapping[str, Any]) -> list[FoundFile]:
    """Return the models of the folder, without those that the user named already."""
    given = {Path(name).expanduser().resolve() for name in named}
    fresh = [one for one in found if one.path.resolve() not in given and one.name not in named]
    return [one for one in fresh if len(one.name) <= MAX_NAME][:_MOST_FOUND]
