"""A short random text that a model is tried on before it is read, so that nothing is ever read wrongly.

It knows nothing of what is tried.

    from foretell.reading.models.trial import evaluating, trial_text
    inputs, codes = trial_text(model)
    with evaluating(model):
        model(**inputs)
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from foretell.reading.models.load import device_of

__all__ = ["FAILURES", "WIDTH", "evaluating", "first_line", "identity_of", "trial_text"]

WIDTH = 12
"""Tokens of the trial text."""

FAILURES = (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError, NotImplementedError)
"""What an unknown architecture may raise when it is asked for something it does not give."""

_SPELLED: weakref.WeakKeyDictionary[PreTrainedModel, tuple[dict[str, Any], str]] = weakref.WeakKeyDictionary()


def identity_of(model: PreTrainedModel) -> tuple[object, ...]:
    """Return what a trial's outcome depends on: class, configuration, type of the weights and attention."""
    implementation = str(model.config.get_text_config(decoder=True)._attn_implementation)
    return (type(model).__qualname__, _spelled(model), model.dtype, implementation)


def _spelled(model: PreTrainedModel) -> str:
    """Return a model's configuration as text, remembered while it stays the same: spelling it takes long."""
    known = _SPELLED.get(model)
    settings = vars(model.config)
    if known is None or known[0] != settings:
        known = _SPELLED[model] = (copy.deepcopy(settings), repr(model.config.to_dict()))
    return known[1]


def trial_text(model: PreTrainedModel) -> tuple[dict[str, Any], Int[np.ndarray, "sample token"]]:
    """Return two random texts, the second one padded on the left, and segment codes for them."""
    generator = np.random.default_rng(0)
    n_tokens = int(model.config.get_text_config(decoder=True).vocab_size)
    token_ids = generator.integers(min(10, n_tokens - 1), min(n_tokens, 1000), size=(2, WIDTH))
    codes = np.tile(np.array([3, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 4]), (2, 1))
    codes[1, :3] = -1
    device = device_of(model)
    inputs = {
        "input_ids": torch.from_numpy(token_ids).to(device),
        "attention_mask": torch.from_numpy((codes >= 0).astype(np.int64)).to(device),
        "use_cache": False,
    }
    return inputs, codes


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Switch dropout off and gradients too inside the block; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, of bounded length."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
