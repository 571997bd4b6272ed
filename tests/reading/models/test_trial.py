"""Trials: what their outcome is remembered under, and which text they run."""

from __future__ import annotations

import threading
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig

from foretell.reading.models.trial import WIDTH, identity_of, in_this_thread, trial_text
from tests.reading.tiny import tiny_model


def test_a_model_is_the_same_until_its_configuration_changes() -> None:
    model = tiny_model().model
    first = identity_of(model)
    assert identity_of(model) == first
    assert identity_of(tiny_model().model) == first
    model.config.head_dim = 3
    changed = identity_of(model)
    assert changed != first
    model.config.rope_parameters["rope_theta"] = 5.0
    assert identity_of(model) not in (first, changed)


def test_another_type_of_weights_is_another_model() -> None:
    first = identity_of(tiny_model().model)
    assert identity_of(tiny_model(dtype=torch.bfloat16).model) != first


class Adapter(nn.Module):
    """A linear layer inside another module."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.base(x))


def test_a_wrapped_module_anywhere_makes_another_model() -> None:
    first = identity_of(tiny_model().model)
    for layer in range(3):
        model = tiny_model().model
        attention = model.get_submodule(f"model.layers.{layer}.self_attn")
        attention.o_proj = Adapter(attention.get_submodule("o_proj"))
        wrapped = identity_of(model)
        assert wrapped != first
        attention.o_proj = attention.get_submodule("o_proj.base")
        assert identity_of(model) == first


def test_a_removed_or_renamed_module_makes_another_model() -> None:
    first = identity_of(tiny_model().model)
    model = tiny_model().model
    del model.get_submodule("model.layers")[2]  # type: ignore[operator]
    assert identity_of(model) != first
    model = tiny_model().model
    attention = model.get_submodule("model.layers.0.self_attn")
    attention._modules = {name[::-1]: module for name, module in attention._modules.items()}
    assert identity_of(model) != first


def test_another_forward_makes_another_model() -> None:
    model = tiny_model().model
    first = identity_of(model)
    projection = model.get_submodule("model.layers.1.self_attn.o_proj")

    def doubled(module: nn.Module, x: Tensor) -> Tensor:
        return 2 * nn.Linear.forward(module, x)  # type: ignore[arg-type]

    projection.forward = types.MethodType(doubled, projection)
    assert identity_of(model) != first
    del projection.forward
    assert identity_of(model) == first


def test_settings_that_refuse_to_be_compared_differ() -> None:
    model = tiny_model().model
    model.config.inner = Incomparable(num_hidden_layers=1)
    first = identity_of(model)
    assert identity_of(model) == first
    model.config.inner.num_hidden_layers = 2
    assert identity_of(model) != first


class Incomparable(LlamaConfig):  # type: ignore[no-untyped-call]
    """A configuration inside another one that may differ by layer."""

    def __eq__(self, other: object) -> bool:
        raise AttributeError("may vary across layers")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("n_tokens", [260, 20, 12, 6])
def test_its_text_has_ordinary_tokens_where_there_are_any(n_tokens: int) -> None:
    special: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": [3, 4]}
    if n_tokens > 12:
        special = {"pad_token_id": 11, "bos_token_id": 1, "eos_token_id": [3, 15]}
    model = tiny_model(vocab_size=n_tokens, **special).model
    inputs, codes = trial_text(model)
    token_ids = inputs["input_ids"].numpy()
    named = {special["pad_token_id"], special["bos_token_id"], *special["eos_token_id"]}
    assert token_ids.shape == codes.shape == (2, WIDTH)
    assert token_ids.max() < n_tokens
    assert not named & set(token_ids[codes >= 0].tolist())
    assert set(token_ids[codes < 0].tolist()) == {special["pad_token_id"]}
    assert np.array_equal(inputs["attention_mask"].numpy(), codes >= 0)
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


def test_its_text_uses_no_token_that_cannot_be_embedded() -> None:
    model = tiny_model(vocab_size=260).model
    model.config.vocab_size = 100_000
    assert trial_text(model)[0]["input_ids"].max() < 260


def test_other_threads_are_not_this_one() -> None:
    here = in_this_thread()
    answers: list[bool] = []
    other = threading.Thread(target=lambda: answers.append(here()))
    other.start()
    other.join()
    assert here()
    assert answers == [False]
