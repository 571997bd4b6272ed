"""Whether what was read of an answer are numbers, and if not, which are not and what to do.

Half precision ends at 65,504: one text can pass it where others do not, and from there on nothing is a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from foretell.jobs.readable_direction import ReadableDirection
from foretell.storage.answered import Answered

__all__ = ["in_precision", "not_finite"]

_REMEDY = {
    "float16": "in float16; load the model in bfloat16 or float32",
    "bfloat16": "in bfloat16; load the model in float32",
}


def not_finite(answered: Answered, directions: Sequence[ReadableDirection], dtype: object) -> str | None:
    """Return which signals of an answer are not finite, and what to do for a torch dtype; None if all are.

    What is undefined by itself does not count: lift on a segment without tokens, activity in a layer without a
    direction, what was not asked for.
    """
    found = []
    heads = np.isfinite(answered.mass).all(axis=(1, 2))
    if not heads.all():
        found.append(f"attention masses ({_layers(~heads, answered.layers)})")
    # Shares of one head that are partly undefined come from norms that passed what the precision holds.
    shares = np.isfinite(answered.contribution)
    torn = (shares.any(axis=2) & ~shares.all(axis=2)).any(axis=1)
    if torn.any():
        found.append(f"contributions ({_layers(torn, answered.layers)})")
    if not np.isfinite(answered.logprob).all():
        found.append("log-probabilities")
    states = [np.isfinite(one).all(axis=1) for one in answered.hidden.values()]
    if not np.all(states):
        found.append("hidden states")
    for index, direction in enumerate(directions):
        defined = np.nan_to_num(np.asarray(direction.standard_deviation, dtype=np.float64)) > 0
        blocks = ~np.isfinite(answered.activity[:, :, index]).all(axis=1) & defined
        if blocks.any():
            found.append(f'activity of "{direction.concept}" ({_layers(blocks, range(len(blocks)))})')
    if not found:
        return None
    return f"{' and '.join(found)} are not finite {in_precision(dtype)}"


def in_precision(dtype: object) -> str:
    """Return in which precision something is not finite, and what to do."""
    name = str(dtype).removeprefix("torch.")
    return _REMEDY.get(name, f"in {name}; the model itself computes what is no number")


def _layers(chosen: Bool[np.ndarray, " layer"], layers: Sequence[int]) -> str:
    named = [layer for layer, is_chosen in zip(layers, chosen, strict=True) if is_chosen]
    return f"layer {named[0]}" if len(named) == 1 else f"layers {named[0]} to {named[-1]}"
