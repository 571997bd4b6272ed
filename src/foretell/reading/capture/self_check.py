"""Refuse a model that cannot be read exactly, before it is read wrongly.

Masses of a short random text are compared with those of the model's own eager attention, once per configuration.

    path = checked_path(model, quantities, read=read)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.results import Capture
from foretell.reading.hooks.attention_interface import eager_attention
from foretell.reading.models.load import first_line
from foretell.reading.models.trial import FAILURES, WIDTH, evaluating, identity_of, trial_text
from foretell.reading.signals.attention_mass import Quantities
from foretell.schema.tables import SEGMENTS

__all__ = ["AttentionPath", "checked_path", "known_path"]

AttentionPath: TypeAlias = Literal["interface", "primitives"]
"""Where attention is observed: at the library's interface, or at the softmax or kernel inside a block."""

ReadText: TypeAlias = Callable[[AttentionPath, Int[np.ndarray, "sample token"], Callable[[], object]], Capture]
"""Runs something under a capture without a check: gets the path, segment codes and what to run."""

_PATHS: tuple[AttentionPath, ...] = ("interface", "primitives")
_CHECKED: dict[tuple[object, ...], AttentionPath] = {}
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference of a mass. Exact readings of float32 models differ by some 1e-6; in half precision the model's own
two attention functions differ by as much as is allowed here, and readings of something else by a tenth and more."""
_DEPTH = 16
"""So many blocks add as much rounding again: fused and eager attention feed each block slightly different states. The
deepest of 35 random blocks was off by 1.2e-4 on one processor, and by less than 1e-4 on another."""


def checked_path(model: PreTrainedModel, quantities: Quantities, *, read: ReadText) -> AttentionPath:
    """Return where a model's attention is to be observed, after a comparison with its own eager attention.

    The result is remembered per model class, configuration, type of the weights and what is read.

    Args:
        model: a loaded decoder.
        quantities: what will be read beside masses.
        read: runs a text under a capture.

    Raises:
        NotReadableError: They differ, or one of the two cannot be had; the message says which.
    """
    identity = (*identity_of(model), quantities)
    if identity in _CHECKED:
        return _CHECKED[identity]
    if getattr(model.config, "is_encoder_decoder", False):
        raise NotReadableError(
            f"{type(model).__name__}: it attends to an encoder's states, and that is not read; load its decoder alone"
        )
    errors: list[NotReadableError] = []
    with evaluating(model):
        expected = _eager(model)
        for path in _PATHS:
            try:
                _compare_path(model, path, expected, read)
            except NotReadableError as error:
                errors.append(error)
                continue
            _CHECKED[identity] = path
            return path
    raise NotReadableError("; ".join(dict.fromkeys(str(error) for error in errors)))


def known_path(model: PreTrainedModel, quantities: Quantities) -> AttentionPath:
    """Return the path that a check of this model found, or the interface if there was none."""
    return _CHECKED.get((*identity_of(model), quantities), "interface")


def _eager(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return the model's own attention weights of the sample text, layer by layer."""
    name = type(model).__name__
    inputs, _ = trial_text(model)
    try:
        with eager_attention(model):
            attentions = model(**inputs, output_attentions=True).attentions
    except FAILURES as error:
        raise NotReadableError(
            f"{name}: it gives no attention weights to compare with: {type(error).__name__}: {first_line(error)}"
        ) from error
    # Attention-free layers of a hybrid give None, or a state of another shape.
    every = [one for one in attentions or () if isinstance(one, torch.Tensor)]
    found = [one for one in every if one.ndim == 4 and one.shape[2] == one.shape[3] == WIDTH]
    if not found:
        raise NotReadableError(f"{name}: it gives no attention weights over the tokens to compare with")
    return found


def _compare_path(model: PreTrainedModel, path: AttentionPath, expected: list[torch.Tensor], read: ReadText) -> None:
    name = type(model).__name__
    inputs, codes = trial_text(model)
    try:
        capture = read(path, codes, lambda: model(**inputs))
        _compare(name, capture, expected, codes, _TOLERANCE.get(model.dtype, 5e-2))
    except (*FAILURES, InputError) as error:
        raise NotReadableError(f"{name}: reading a short text failed: {first_line(error)}") from error


def _compare(
    name: str,
    capture: Capture,
    attentions: list[torch.Tensor],
    codes: Int[np.ndarray, "sample token"],
    tolerance: float,
) -> None:
    mass: Float[np.ndarray, "sample layer head segment"] = capture.mass
    if len(attentions) != mass.shape[1]:
        raise NotReadableError(f"{name}: {len(attentions)} layers have attention, and {mass.shape[1]} were observed")
    for place, attention in enumerate(attentions):
        weights = attention.float().cpu().numpy()
        rows = weights[:, :, codes[0] == SEGMENTS.index("generated"), : codes.shape[1]]
        expected = np.stack(
            [(rows * (codes == code)[:, None, None, :]).sum(-1).mean(-1) for code in range(len(SEGMENTS))], axis=-1
        )
        if expected.shape != mass[:, place, : expected.shape[1]].shape:
            raise NotReadableError(f"{name}: attention of block {capture.layers[place]} has an unexpected shape")
        # In float64 the library's own eager attention has no numbers for a padded text; the other text remains.
        known = [sample for sample, own in enumerate(expected) if sample == 0 or np.isfinite(own).all()]
        deviation = float(np.abs(expected - mass[:, place, : expected.shape[1]])[known].max())
        if not deviation <= tolerance * (1 + capture.layers[place] / _DEPTH):
            raise NotReadableError(
                f"{name}: masses of block {capture.layers[place]} are off by {deviation:.2g} from its eager attention"
            )
