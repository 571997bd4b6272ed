"""A short random text that a model is tried on before it is read, so that nothing is ever read wrongly.

It knows nothing of what is tried.

    from foretell.reading.models.trial import evaluating, trial_text
    inputs, codes = trial_text(model)
    with evaluating(model):
        model(**inputs)
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from foretell.reading.models.load import device_of

__all__ = ["FAILURES", "WIDTH", "evaluating", "identity_of", "in_this_thread", "trial_text", "unchanged"]

WIDTH = 12
"""Tokens of the trial text."""

FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What an unknown architecture may raise when it is asked for something it does not give."""

_PLAIN_TOKENS = range(10, 1000)
"""Ids that are ordinary tokens in most vocabularies; the first ones often stand for padding and the like."""
_HELD: ContextVar[tuple[PreTrainedModel, tuple[object, ...]] | None] = ContextVar("foretell_identity", default=None)
_NAMED = ("_token_id", "_token_index", "_token_ids")
"""How a configuration's names of single tokens end."""


def identity_of(model: PreTrainedModel) -> tuple[object, ...]:
    """Return what a trial's outcome depends on: class, configuration, type of the weights, attention, and modules.

    A model is another one after some of its modules were wrapped, replaced or removed, or given another `forward`.
    """
    held = _HELD.get()
    if held is not None and held[0] is model:
        return held[1]
    implementation = str(model.config.get_text_config(decoder=True)._attn_implementation)
    return (type(model), repr(_settings_of(model.config)), model.dtype, implementation, _structure_of(model))


@contextlib.contextmanager
def unchanged(model: PreTrainedModel) -> Iterator[None]:
    """Find the model's identity once for all that asks for it inside the block, where nobody changes its modules."""
    token = _HELD.set((model, identity_of(model)))
    try:
        yield
    finally:
        _HELD.reset(token)


def _structure_of(module: nn.Module) -> tuple[object, ...]:
    own = vars(module)
    children = tuple((name, _structure_of(child)) for name, child in own["_modules"].items() if child is not None)
    return (type(module), _code_of(own["forward"]) if "forward" in own else None, children)


def _settings_of(configuration: PreTrainedConfig) -> dict[str, Any]:
    """Return all settings, those of configurations inside it too."""
    return {
        name: _settings_of(value) if isinstance(value, PreTrainedConfig) else value
        for name, value in vars(configuration).items()
    }


def _code_of(function: Any) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__code__", type(function))


def trial_text(model: PreTrainedModel) -> tuple[dict[str, Any], Int[np.ndarray, "sample token"]]:
    """Return two random texts of ordinary tokens, the second one padded on the left, and segment codes for them."""
    settings = model.config.get_text_config(decoder=True)
    ids = _ordinary_tokens(model)
    token_ids = np.random.default_rng(0).choice(ids, size=(2, WIDTH), replace=len(ids) < 2 * WIDTH)
    codes = np.tile(np.array([3, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 4]), (2, 1))
    codes[1, :3] = -1
    padding = getattr(settings, "pad_token_id", None)
    if isinstance(padding, int) and 0 <= padding < _n_tokens(model):
        token_ids[codes < 0] = padding
    device = device_of(model)
    inputs = {
        "input_ids": torch.from_numpy(token_ids).to(device),
        "attention_mask": torch.from_numpy((codes >= 0).astype(np.int64)).to(device),
        "use_cache": False,
    }
    return inputs, codes


def _n_tokens(model: PreTrainedModel) -> int:
    """Return the size of the vocabulary, or how many tokens the model can embed where these are fewer."""
    n_tokens = int(model.config.get_text_config(decoder=True).vocab_size)
    try:
        return min(n_tokens, int(model.get_input_embeddings().num_embeddings))  # type: ignore[arg-type]
    except FAILURES:
        return n_tokens


def _ordinary_tokens(model: PreTrainedModel) -> Int[np.ndarray, " token"]:
    """Return token ids without those that a configuration names (padding, ends, images), where others are left."""
    named: list[int] = []
    for settings in (model.config, model.config.get_text_config(decoder=True)):
        for name, value in settings.to_dict().items():
            if name.endswith(_NAMED):
                named += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int)]
    every = np.arange(min(_n_tokens(model), _PLAIN_TOKENS.stop))
    ordinary = every[~np.isin(every, named)]
    plain = ordinary[ordinary >= _PLAIN_TOKENS.start]
    if len(plain) >= WIDTH:
        return plain
    return ordinary if len(ordinary) else every


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off and gradients too inside the block; every module gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            # Some adapters change their weights when `train` is called.
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def in_this_thread() -> Callable[[], bool]:
    """Return a question whether it is asked in the same thread: passes of others are none of a trial's business."""
    own = threading.get_ident()
    return lambda: threading.get_ident() == own
