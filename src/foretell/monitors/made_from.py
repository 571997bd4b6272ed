"""What a monitor was made from, and the refusal of runs and models that it was not made for."""

from __future__ import annotations

import json
import weakref
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foretell.errors import InputError
from foretell.storage.runs import Run

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

__all__ = ["SHIFTS", "MadeFrom", "check_model", "check_run", "differences", "precision"]

SHIFTS = ("weights", "template", "precision")
"""What another model can differ in, so that a monitor refuses it unless that is asked for by this name."""

_KNOWN: weakref.WeakKeyDictionary[Any, object] = weakref.WeakKeyDictionary()
"""Models whose weights were found to be those of a fingerprint, with what was said of their state then."""
_PRECISIONS = {"float64": "full", "float32": "full", "bfloat16": "half", "float16": "half"}


@dataclass(frozen=True)
class MadeFrom:
    """Model, samples and versions that a monitor was made from."""

    model: str
    """Name of the model."""
    weights: str
    """Its weights, see `foretell.reading.models.fingerprints`."""
    template: str
    """Its chat template and special tokens, see `foretell.reading.chat.chat_template`."""
    dtypes: tuple[str, ...]
    """Types of the weights that the monitor was calibrated or validated with."""
    n_layers: int
    """Layers up to the last one that the run has attention, activity or hidden states of."""
    n_heads: int
    """Most heads of a layer; 0 without attention."""
    behaviour: str | None
    """What label 1 means; None where the run does not say."""
    signals: tuple[str, ...]
    directions: tuple[tuple[str, str], ...]
    """Concept and hash of the vectors of each direction that the run was read with and the monitor looks at."""
    n_training_samples: int
    n_training_groups: int
    training_groups: str
    """Hash of the names of the groups that the score was fitted on."""
    n_calibration_samples: int
    n_calibration_groups: int
    calibration_groups: str
    """Hash of the names of the groups that the threshold was found on."""
    held_out_auc: float | None
    """AUC of each training answer's highest score by models that did not see its group."""
    sampling: str
    """How the answers were made, as JSON: whether they were given, and the sampling."""
    seed: int
    date: str
    version: str
    """Version of foretell."""
    notes: tuple[str, ...] = ()


def precision(dtype: str) -> str:
    """Return the family of a type: full, half, or the type itself (quantised)."""
    return _PRECISIONS.get(dtype, dtype)


def check_run(made: MadeFrom, run: Run, allow: Collection[str] = ()) -> None:
    """Refuse a run whose model, chat template or precision is not the monitor's.

    Args:
        made: What the monitor was made from.
        run: The run.
        allow: Of `SHIFTS`, what may be another.

    Raises:
        InputError: The message says what differs and what to do.
    """
    job: dict[str, Any] = run.manifest["job"]
    place = str(run.path)
    for name, what in (("weights", "model (its weights have another fingerprint)"), ("template", "chat template")):
        if (job.get(name) or "") != getattr(made, name) and name not in allow:
            _refuse(place, made, what, f"{getattr(made, name) or 'none'}, and here it is {job.get(name) or 'none'}")
    if "precision" not in allow:
        _check_dtype(place, made, str(job.get("dtype", "")))
    read = {one["concept"]: one["vectors"] for one in job.get("directions", ())}
    for concept, vectors in made.directions:
        if read.get(concept) != vectors:
            raise InputError(f'{place}: was not read with the direction "{concept}" that the monitor looks at')


def differences(made: MadeFrom, run: Run) -> list[str]:
    """Return in words how a run was made otherwise than what the monitor was made from, as far as both say it."""
    job: dict[str, Any] = run.manifest["job"]
    known = json.loads(made.sampling)
    weights = job.get("weights") or ""
    # A quantised model is called by the same name.
    name = ("weights", made.weights, weights) if made.model == job.get("model") else ("model", made.model, job["model"])
    pairs = [
        name if made.weights != weights else None,
        ("template", made.template, job.get("template") or ""),
        ("precision", made.dtypes[0], str(job.get("dtype", ""))),
        ("answers", known.get("answers"), job.get("answers")),
    ]
    before, here = known.get("sampling") or {}, job.get("sampling") or {}
    # The seed makes no other kind of answer.
    names = sorted({*before, *here} - {"seed"}) if before and here else []
    pairs += [(name.replace("_", " "), before.get(name), here.get(name)) for name in names]
    return [f"{one[0]} {one[2]}, not {one[1]}" for one in pairs if one is not None and one[1] != one[2]]


def check_model(made: MadeFrom, model: Model) -> None:
    """Refuse a model whose weights, layers, chat template or precision are not the monitor's.

    Raises:
        InputError: The message says what differs and what to do.
    """
    from foretell.reading.chat.chat_template import template_fingerprint
    from foretell.reading.models.fingerprints import weights_differ

    if model.n_layers < made.n_layers or (made.n_heads and model.n_heads and made.n_heads != model.n_heads):
        sizes = f"at least {made.n_layers} layers of {made.n_heads} heads, and here it has {model.n_layers} layers of"
        _refuse(model.name, made, "number of layers or heads", f"{sizes} {model.n_heads}")
    known = (made.weights, _state(model))
    reason = None if _KNOWN.get(model.model) == known else weights_differ(model.model, made.weights)
    if reason is not None:
        raise InputError(
            f"{model.name}: the monitor was made from {made.model}; the weights of this model {reason}: fit a monitor "
            "on answers of this model"
        )
    _KNOWN[model.model] = known
    template = template_fingerprint(model.tokenizer)
    if template != made.template:
        _refuse(model.name, made, "chat template", f"{made.template}, and here it is {template}")
    _check_dtype(model.name, made, str(model.dtype).removeprefix("torch."))


def _state(model: Model) -> object:
    """Return what is another where parameters were replaced, or changed in place; reading all of them takes long."""
    parameters = model.model.parameters()
    return tuple((one.data_ptr(), None if one.is_inference() else one._version) for one in parameters)


def _check_dtype(place: str, made: MadeFrom, dtype: str) -> None:
    if precision(dtype) not in {precision(known) for known in made.dtypes}:
        known = ", ".join(made.dtypes)
        _refuse(place, made, "precision", f"{known or 'unknown'}, and here it is {dtype or 'unknown'}")


def _refuse(place: str, made: MadeFrom, what: str, how: str) -> None:
    raise InputError(
        f"{place}: the monitor was made from {made.model} with another {what}: {how}; its guarantee does not hold "
        "here: fit a monitor on such answers, or try it on them with foretell.shift (foretell monitor shift), which "
        f"takes {', '.join(SHIFTS)} that are to differ by name (allow=, --allow)"
    )
