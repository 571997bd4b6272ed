"""Attention calls are shown as the model made them, to the caller's own thread, and leave no trace."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from foretell.errors import NotReadableError
from foretell.reading.hooks.attention_interface import AttentionCall, eager_attention, observed_attention
from foretell.reading.hooks.scope import Scope
from tests.reading import by_hand
from tests.reading.every_architecture import build
from tests.reading.tiny import tiny_model

LENGTHS = ((9, 4), (6, 3))


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2", "gpt_oss"])
def test_every_layer_is_shown_with_its_own_output(kind: str, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model(kind)
    calls: list[AttentionCall] = []
    with torch.no_grad():
        before = model.model(**given.inputs).logits
        with observed_attention(model.model, calls.append):
            during = model.model(**given.inputs).logits
        after = model.model(**given.inputs).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)
    assert len(calls) == model.n_layers
    for call in calls:
        again = call.own(call.module, call.query, call.key, call.value, call.mask, **call.options)[0]
        assert call.output is not None
        assert torch.equal(again, call.output)


def test_the_name_compares_like_the_models_own_and_leads_elsewhere(generator: np.random.Generator) -> None:
    model = tiny_model()
    attention: Any = model.model.get_submodule("model.layers.0.self_attn")
    with observed_attention(model.model, lambda _: None):
        name = attention.config._attn_implementation
        assert name == "sdpa"
        assert (name != "sdpa") is False
        assert name in ("eager", "sdpa")
        assert name != "eager"
        assert ALL_ATTENTION_FUNCTIONS[name] is not ALL_ATTENTION_FUNCTIONS["sdpa"]
        assert model.model.config._attn_implementation is not name
    # A pass of another thread may still have the name in hand when the block ends.
    assert ALL_ATTENTION_FUNCTIONS.get_interface(name, lambda: None) is ALL_ATTENTION_FUNCTIONS["sdpa"]


def test_eager_attention_is_that_of_the_library(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model("mistral")
    with torch.no_grad(), eager_attention(model.model):
        found = model.model(**given.inputs, output_attentions=True, use_cache=False).attentions
    eager = tiny_model("mistral", attention="eager")
    with torch.no_grad():
        expected = eager.model(**given.inputs, output_attentions=True, use_cache=False).attentions
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert model.model.config._attn_implementation == "sdpa"


@pytest.mark.filterwarnings("ignore")  # what architectures warn of while they are built is theirs
@pytest.mark.parametrize("kind", ["gemma3", "gemma4"])
def test_eager_attention_of_a_model_for_texts_and_pictures_has_a_mask(
    kind: str, generator: np.random.Generator
) -> None:
    given = by_hand.text(generator, ((9, 4),))
    inputs = {**given.inputs, "use_cache": False}
    model, reason = build(kind, runs=lambda made: made(**inputs))
    assert model is not None, reason
    with torch.no_grad(), eager_attention(model):
        found = model(**inputs, output_attentions=True)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(**inputs, output_attentions=True)
    assert torch.equal(found.logits, expected.logits)
    assert len(found.attentions) == len(expected.attentions) > 0
    for one, other in zip(found.attentions, expected.attentions, strict=True):
        assert torch.equal(one, other)
        assert not one.triu(1).any()


def test_an_implementation_that_cannot_be_followed_is_refused() -> None:
    model = tiny_model()
    model.model.config._attn_implementation_internal = "flash_attention_2"
    with (
        pytest.raises(NotReadableError, match='"flash_attention_2" cannot be observed'),
        observed_attention(model.model, lambda _: None),
    ):
        pass


def test_a_scope_is_that_of_one_thread() -> None:
    scope = Scope()
    seen: list[bool] = []
    with scope.entered():
        assert scope.is_active
        thread = threading.Thread(target=lambda: seen.append(scope.is_active))
        thread.start()
        thread.join()
    assert seen == [False]


def test_scopes_may_overlap() -> None:
    first, second = Scope(), Scope()
    with first.entered():
        with second.entered():
            assert first.is_active
            assert second.is_active
        assert first.is_active
        assert not second.is_active
