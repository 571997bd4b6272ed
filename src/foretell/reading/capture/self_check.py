"""Refuse a model that cannot be read exactly, before it is read wrongly.

from foretell.reading.models.self_check import check_readable
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.capture.results import Heard
from foretell.reading.hooks.attention_interface import attention_named
from foretell.reading.models.trial import FAILURES, WIDTH, evaluating, first_line, identity_of, trial_text
from foretell.reading.signals.attention_mass import Wanted
from foretell.schema.tables import SEGMENTS

__all__ = ["check_readable"]

Path: TypeAlias = Literal["interface", "primitives"]
"""Where attention is heard: at the library's interface, or at the softmax or kernel inside a block."""

_PATHS: tuple[Path, ...] = ("interface", "primitives")
_READABLE: dict[tuple[object, ...], Path] = {}
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

Listen: TypeAlias = Callable[..., AbstractContextManager[Heard]]


def check_readable(model: PreTrainedModel, wanted: Wanted, *, listen: Listen) -> Path:
    """Compare the masses read from a short random text with those of the model's own eager attention.

    The result is remembered per model class, configuration, type of the weights and what is wanted.

    Args:
        model: a loaded decoder.
        wanted: what will be read beside masses.
        listen: how it will be read.

    Returns:
        Where its attention is to be heard.

    Raises:
        NotReadableError: They differ, or one of the two cannot be had; the message says which.
    """
    identity = (*identity_of(model), wanted)
    if identity in _READABLE:
        return _READABLE[identity]
    if getattr(model.config, "is_encoder_decoder", False):
        raise NotReadableError(
            f"{type(model).__name__}: it attends to an encoder's states, and that is not read; load its decoder alone"
        )
    errors: list[NotReadableError] = []
    with evaluating(model):
        expected = _eager(model)
        for path in _PATHS:
            try:
                _compare_path(model, wanted, path, expected, listen)
            except NotReadableError as error:
                errors.append(error)
                continue
            _READABLE[identity] = path
            return path
    raise NotReadableError("; ".join(dict.fromkeys(str(error) for error in errors)))


def known_path(model: PreTrainedModel, wanted: Wanted) -> Path:
    """Return the path that a check of this model found, or the interface if there was none."""
    return _READABLE.get((*identity_of(model), wanted), "interface")


def _eager(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return the model's own attention weights of the sample text, layer by layer."""
    name = type(model).__name__
    inputs, _ = trial_text(model)
    try:
        with attention_named(model, lambda _: "eager"):
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


def _compare_path(
    model: PreTrainedModel, wanted: Wanted, path: Path, expected: list[torch.Tensor], listen: Listen
) -> None:
    name = type(model).__name__
    inputs, codes = trial_text(model)
    settings = {"logprob": False, "chunk_bytes": 1 << 20, "wanted": wanted, "tallied": False, "path": path}
    try:
        with listen(model, codes, **settings) as heard:
            model(**inputs)
        _compare(name, heard, expected, codes, _TOLERANCE.get(model.dtype, 5e-2))
    except FAILURES as error:
        raise NotReadableError(f"{name}: reading a short text failed: {first_line(error)}") from error


def _compare(
    name: str,
    heard: Heard,
    attentions: list[torch.Tensor],
    codes: Int[np.ndarray, "sample token"],
    tolerance: float,
) -> None:
    mass: Float[np.ndarray, "sample layer head segment"] = heard.mass
    if len(attentions) != mass.shape[1]:
        raise NotReadableError(f"{name}: {len(attentions)} layers have attention, and {mass.shape[1]} were heard")
    for place, attention in enumerate(attentions):
        weights = attention.float().cpu().numpy()
        rows = weights[:, :, codes[0] == SEGMENTS.index("generated"), : codes.shape[1]]
        expected = np.stack(
            [(rows * (codes == code)[:, None, None, :]).sum(-1).mean(-1) for code in range(len(SEGMENTS))], axis=-1
        )
        if expected.shape != mass[:, place, : expected.shape[1]].shape:
            raise NotReadableError(f"{name}: attention of block {heard.layers[place]} has an unexpected shape")
        deviation = float(np.abs(expected - mass[:, place, : expected.shape[1]]).max())
        if not deviation <= tolerance:
            raise NotReadableError(
                f"{name}: masses of block {heard.layers[place]} are off by {deviation:.2g} from its eager attention"
            )
