"""foretell: do a language model's internals foretell what it does?

    import foretell
    model = foretell.load_model("smollm2")
    run = foretell.read(model, foretell.builtin_conversations(), answers="generate", to="run")
    study = foretell.study(run)

Names are loaded when they are first used, so that `import foretell` imports no torch, no plotting and no sklearn.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretell.conversations.builtin import builtin_conversations as builtin_conversations
    from foretell.conversations.builtin import builtin_facts as builtin_facts
    from foretell.conversations.conversation import Conversation as Conversation
    from foretell.conversations.conversation import Message as Message
    from foretell.conversations.conversation import Span as Span
    from foretell.conversations.formats import as_conversations as as_conversations
    from foretell.conversations.formats import read_conversations as read_conversations
    from foretell.conversations.pairs import ContrastPair as ContrastPair
    from foretell.conversations.pairs import instructed_pairs as instructed_pairs
    from foretell.conversations.pairs import read_pairs as read_pairs
    from foretell.directions.direction import Direction as Direction
    from foretell.directions.fit import fit_direction as fit_direction
    from foretell.directions.fit_and_judge import fact_pairs as fact_pairs
    from foretell.directions.fit_and_judge import judge_directions as judge_directions
    from foretell.directions.fit_and_judge import steer as steer
    from foretell.directions.surface import surface as surface
    from foretell.interventions.causes import causes as causes
    from foretell.jobs.ray_pool import Workers as Workers
    from foretell.labels.label import label as label
    from foretell.monitors.fit_monitor import fit_monitor as fit_monitor
    from foretell.monitors.live.watch import watch as watch
    from foretell.monitors.monitor import Monitor as Monitor
    from foretell.monitors.shifts.drift import drift as drift
    from foretell.monitors.shifts.shift import shift as shift
    from foretell.reading.capture.listen import listen as listen
    from foretell.reading.models.load import Model as Model
    from foretell.reading.models.load import load_model as load_model
    from foretell.reading.runs.read import read as read
    from foretell.showing.report import report as report
    from foretell.stats.comparison.compared import compare as compare
    from foretell.stats.comparison.comparison import Comparison as Comparison
    from foretell.stats.heads.out_of_core import stream_association as stream_association
    from foretell.stats.study import Study as Study
    from foretell.stats.study import study as study
    from foretell.storage.export import export as export
    from foretell.storage.runs import Run as Run
    from foretell.storage.runs import open_run as open_run
    from foretell.storage.surfaces import Surface as Surface

_HOME = {
    "Comparison": "foretell.stats.comparison.comparison",
    "ContrastPair": "foretell.conversations.pairs",
    "Conversation": "foretell.conversations.conversation",
    "Direction": "foretell.directions.direction",
    "Message": "foretell.conversations.conversation",
    "Model": "foretell.reading.models.load",
    "Monitor": "foretell.monitors.monitor",
    "Run": "foretell.storage.runs",
    "Span": "foretell.conversations.conversation",
    "Study": "foretell.stats.study",
    "Surface": "foretell.storage.surfaces",
    "Workers": "foretell.jobs.ray_pool",
    "as_conversations": "foretell.conversations.formats",
    "builtin_conversations": "foretell.conversations.builtin",
    "builtin_facts": "foretell.conversations.builtin",
    "causes": "foretell.interventions.causes",
    "drift": "foretell.monitors.shifts.drift",
    "compare": "foretell.stats.comparison.compared",
    "export": "foretell.storage.export",
    "fact_pairs": "foretell.directions.fit_and_judge",
    "fit_direction": "foretell.directions.fit",
    "fit_monitor": "foretell.monitors.fit_monitor",
    "instructed_pairs": "foretell.conversations.pairs",
    "judge_directions": "foretell.directions.fit_and_judge",
    "label": "foretell.labels.label",
    "listen": "foretell.reading.capture.listen",
    "load_model": "foretell.reading.models.load",
    "open_run": "foretell.storage.runs",
    "read": "foretell.reading.runs.read",
    "read_conversations": "foretell.conversations.formats",
    "read_pairs": "foretell.conversations.pairs",
    "report": "foretell.showing.report",
    "shift": "foretell.monitors.shifts.shift",
    "steer": "foretell.directions.fit_and_judge",
    "stream_association": "foretell.stats.heads.out_of_core",
    "study": "foretell.stats.study",
    "surface": "foretell.directions.surface",
    "watch": "foretell.monitors.live.watch",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("foretell")
    if name not in _HOME:
        raise AttributeError(f"module 'foretell' has no attribute {name!r}")
    from foretell.errors import missing_extra

    try:
        with warnings.catch_warnings():
            # of a library that imports notebook widgets, which a notebook without them would be warned of
            warnings.filterwarnings("ignore", message="IProgress not found")
            value = getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error, f"foretell.{name}")) is None:
            raise
        raise missing from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
