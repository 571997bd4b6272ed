"""The memory of earlier tokens under each name that versions of the model library and of remote code give it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.utils import logging

from foretell.reading.models.blocks import decoder_of
from foretell.reading.models.signatures import accepts, cache_argument, cache_from, cache_of
from tests.reading.tiny import tiny_model

KINDS = ("llama", "qwen2", "gpt2", "gemma2", "mistral", "bloom", "mamba", "falcon_mamba")


class Newer(nn.Module):
    def forward(self, input_ids: Tensor, cache: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError


class Older(nn.Module):
    def forward(self, input_ids: Tensor, past_key_values: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError


class Recurrent(nn.Module):
    def forward(self, input_ids: Tensor, cache_params: Any = None) -> Any:
        raise NotImplementedError


class Wrapper(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def no_deprecation(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where the model library logs that a name is deprecated, which it does once for each name and process."""
    logging.warning_once.cache_clear()
    logging.enable_propagation()
    yield
    logging.disable_propagation()
    assert [text for one in caplog.get_records("call") if "deprecated" in (text := one.getMessage())] == []


@pytest.mark.parametrize(
    ("module", "name"), [(Newer, "cache"), (Older, "past_key_values"), (Recurrent, "cache_params")]
)
def test_what_a_module_calls_it_is_what_is_passed_and_read(module: type[nn.Module], name: str) -> None:
    cache, other = DynamicCache(), DynamicCache()
    assert cache_argument(module()) == name
    assert cache_of({name: cache}) is cache_of({name: cache}, module()) is cache
    assert cache_of({"input_ids": 1, name: None}, module()) is None
    if name != "cache":
        # a name that the signature lacks is swallowed by `**kwargs` and never used
        assert cache_of({"cache": other, name: cache}, module()) is cache
        assert cache_of({"cache": other}, module()) is None


@pytest.mark.parametrize("old", ["past_key_values", "cache_params"])
def test_an_old_name_is_read_where_the_library_renames_it(old: str) -> None:
    cache = DynamicCache()
    assert cache_of({old: cache}, Newer()) is cache
    assert cache_of({old: cache, "cache": None}, Newer()) is cache
    assert cache_of({old: DynamicCache(), "cache": cache}, Newer()) is cache


def test_a_wrapper_gets_the_name_that_the_library_uses() -> None:
    assert cache_argument(Wrapper()) == cache_argument(tiny_model("llama").model)
    cache = DynamicCache()
    assert cache_of({"past_key_values": cache}, Wrapper()) is cache_of({"cache": cache}, Wrapper()) is cache


def test_a_replaced_forward_is_asked_itself_and_let_go() -> None:
    module = Newer()
    module.forward = Older().forward  # type: ignore[method-assign, assignment]
    assert cache_argument(module) == "past_key_values"
    assert not accepts(module, "cache")
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


@pytest.mark.usefixtures("no_deprecation")
@pytest.mark.parametrize("kind", KINDS)
def test_a_real_model_goes_on_from_what_it_remembers(kind: str) -> None:
    network = tiny_model(kind).model
    token_ids = torch.arange(4, 12)[None]
    with torch.inference_mode():
        whole = network(token_ids).logits
        for module in (network, decoder_of(network)):
            output = module(token_ids[:, :5], use_cache=True)
            cache = cache_from(output)
            assert cache is not None
            assert any(one is cache for one in output.to_tuple())
            assert cache_from(module(token_ids[:, :5], use_cache=True, return_dict=False)) is not None
            assert cache_from(module(token_ids[:, :5], use_cache=False)) is None
        steps = []
        for place in range(5, 8):
            step = network(token_ids[:, place : place + 1], **{cache_argument(network): cache}, use_cache=True)
            assert cache_from(step) is cache
            steps.append(step.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole[:, 5:], atol=1e-4, rtol=1e-4)


def test_whatever_a_model_returns_is_looked_through() -> None:
    cache = DynamicCache()
    assert cache_from({"logits": 1, "past_key_values": cache}) is cache
    assert cache_from((torch.zeros(1), cache)) is cache
    assert cache_from((torch.zeros(1),)) is None
    assert cache_from(torch.zeros(1)) is None
    assert cache_from(None) is None


def test_arguments_are_known_by_name() -> None:
    assert accepts(tiny_model("llama").model, "logits_to_keep")
    assert not accepts(tiny_model("llama").model, "nothing_of_the_kind")
    assert not accepts(Wrapper(), "logits_to_keep")
