"""foretell: do a language model's internals foretell what it does?

    import foretell
    model = foretell.load_model("smollm2")
    run = foretell.read(model, foretell.builtin_conversations(), answers="generate", to="run")
    study = foretell.study(run)

Names are loaded when they are first used, so that `import foretell` imports no torch, no plotting and no sklearn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretell.builtin import builtin_conversations as builtin_conversations
    from foretell.builtin import builtin_facts as builtin_facts
    from foretell.conversations import Conversation as Conversation
    from foretell.conversations import Message as Message
    from foretell.conversations import Span as Span
    from foretell.directing import fact_pairs as fact_pairs
    from foretell.directing import judge_directions as judge_directions
    from foretell.directing import steer as steer
    from foretell.formats import read_conversations as read_conversations
    from foretell.labels import label as label
    from foretell.reading.capture import read as read
    from foretell.reading.directions import Direction as Direction
    from foretell.reading.fitting import fit_direction as fit_direction
    from foretell.reading.listening import listen as listen
    from foretell.reading.models import Model as Model
    from foretell.reading.models import load_model as load_model
    from foretell.reading.pairs import ContrastPair as ContrastPair
    from foretell.reading.pairs import instructed_pairs as instructed_pairs
    from foretell.reading.pairs import read_pairs as read_pairs
    from foretell.reading.surface import surface as surface
    from foretell.runs import Run as Run
    from foretell.runs import open_run as open_run
    from foretell.showing.report import report as report
    from foretell.stats.streaming import stream_association as stream_association
    from foretell.stats.study import Study as Study
    from foretell.stats.study import study as study
    from foretell.surfaces import Surface as Surface

_HOME = {
    "ContrastPair": "foretell.reading.pairs",
    "Conversation": "foretell.conversations",
    "Direction": "foretell.reading.directions",
    "Message": "foretell.conversations",
    "Model": "foretell.reading.models",
    "Run": "foretell.runs",
    "Span": "foretell.conversations",
    "Study": "foretell.stats.study",
    "Surface": "foretell.surfaces",
    "builtin_conversations": "foretell.builtin",
    "builtin_facts": "foretell.builtin",
    "fact_pairs": "foretell.directing",
    "fit_direction": "foretell.reading.fitting",
    "instructed_pairs": "foretell.reading.pairs",
    "judge_directions": "foretell.directing",
    "label": "foretell.labels",
    "listen": "foretell.reading.listening",
    "load_model": "foretell.reading.models",
    "open_run": "foretell.runs",
    "read": "foretell.reading.capture",
    "read_conversations": "foretell.formats",
    "read_pairs": "foretell.reading.pairs",
    "report": "foretell.showing.report",
    "steer": "foretell.directing",
    "stream_association": "foretell.stats.streaming",
    "study": "foretell.stats.study",
    "surface": "foretell.reading.surface",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("foretell")
    if name not in _HOME:
        raise AttributeError(f"module 'foretell' has no attribute {name!r}")
    from foretell.errors import MissingExtraError

    try:
        value = getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name in {"torch", "transformers", "safetensors"}:
            raise MissingExtraError("models", f"foretell.{name}") from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
