"""Refuse a model that cannot be read exactly, before it is read wrongly.

from foretell.reading.readable import check_readable
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.attention import attention_named
from foretell.reading.heard import Heard
from foretell.schema import SEGMENTS

__all__ = ["check_readable"]

_READABLE: set[tuple[str, str, torch.dtype]] = set()
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_WIDTH = 12


def check_readable(model: PreTrainedModel, *, listen: Callable[..., AbstractContextManager[Heard]]) -> None:
    """Compare the masses read from a short random text with those of the model's own eager attention.

    The result is remembered per model class, configuration and type of the weights.

    Args:
        model: a loaded decoder.
        listen: how it will be read.

    Raises:
        NotReadableError: They differ, or one of the two cannot be had; the message says which.
    """
    identity = (type(model).__qualname__, repr(model.config.to_dict()), model.dtype)
    if identity in _READABLE:
        return
    name = type(model).__name__
    inputs, codes = _sample_text(model)
    failures = (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError, NotImplementedError)
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            with listen(model, codes, logprob=False, chunk_bytes=1 << 20) as heard:
                model(**inputs)
            with attention_named(model, lambda _: "eager"):
                attentions = model(**inputs, output_attentions=True).attentions
    except failures as error:
        raise NotReadableError(f"{name}: reading a short text failed: {str(error).splitlines()[0][:300]}") from error
    finally:
        model.train(training)
    _compare(
        name, heard, [one for one in attentions or () if one is not None], codes, _TOLERANCE.get(model.dtype, 5e-2)
    )
    _READABLE.add(identity)


def _sample_text(model: PreTrainedModel) -> tuple[dict[str, Any], Int[np.ndarray, "sample token"]]:
    """Return two random texts, the second one padded on the left, and segment codes for them."""
    generator = np.random.default_rng(0)
    n_tokens = int(model.config.get_text_config(decoder=True).vocab_size)
    token_ids = generator.integers(min(10, n_tokens - 1), min(n_tokens, 1000), size=(2, _WIDTH))
    codes = np.tile(np.array([3, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 4]), (2, 1))
    codes[1, :3] = -1
    inputs = {
        "input_ids": torch.from_numpy(token_ids).to(model.device),
        "attention_mask": torch.from_numpy((codes >= 0).astype(np.int64)).to(model.device),
        "use_cache": False,
    }
    return inputs, codes


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
