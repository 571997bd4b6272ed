"""The decoder's blocks: found by what the model library records, whatever configurations count."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from foretell.errors import NotReadableError
from foretell.reading.hooks.residual_stream import residual_blocks
from foretell.reading.models.blocks import decoder_blocks, layer_lists, n_heads_of
from foretell.reading.models.load import Model
from foretell.reading.models.trial import WIDTH, trial_text
from tests.reading.by_hand import capture_residual
from tests.reading.every_architecture import build
from tests.reading.tiny import tiny_model, tiny_tokenizer

WITH_ENCODERS = (
    "bart",
    "bigbird_pegasus",
    "blenderbot",
    "blenderbot-small",
    "marian",
    "mbart",
    "mvp",
    "pegasus",
    "plbart",
    "prophetnet",
    "trocr",
    "whisper",
)
"""Decoders whose configurations speak of an encoder too."""
DEPTHS = {"encoder_layers": 2, "num_encoder_layers": 2, "decoder_layers": 4, "num_decoder_layers": 4}
HEADS = {"encoder_attention_heads": 2, "num_encoder_attention_heads": 2}


def run(model: PreTrainedModel) -> object:
    return model(**trial_text(model)[0])


def assert_residual_is_the_librarys(model: PreTrainedModel, n_layers: int) -> None:
    """Fail unless `n_layers` blocks are captured whose states are the library's own, but for the last, normed one."""
    inputs = {name: value for name, value in trial_text(model)[0].items() if name != "use_cache"}
    captured = capture_residual(model, **inputs, use_cache=False)
    with torch.no_grad():
        states = model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    assert len(captured) == n_layers == len(states) - 1
    for layer in range(n_layers - 1):
        # Predicting several tokens at once adds streams behind the tokens' own.
        assert torch.equal(captured[layer][:, :WIDTH], states[layer + 1][:, :WIDTH])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WITH_ENCODERS)
def test_a_decoder_is_as_deep_as_it_is_whatever_its_encoder_was(kind: str) -> None:
    model, reason = build(kind, runs=run, **DEPTHS, **HEADS)
    assert model is not None, reason
    assert len(decoder_blocks(model)) == 4
    assert n_heads_of(model) == 4
    loaded = Model(model=model, tokenizer=tiny_tokenizer(), name=kind)
    assert (loaded.n_layers, loaded.n_heads) == (4, 4)
    assert_residual_is_the_librarys(model, 4)


def small(model: str, **settings: Any) -> PreTrainedConfig:
    return AutoConfig.for_model(model, vocab_size=260, d_model=32, encoder_ffn_dim=48, decoder_ffn_dim=48, **settings)


@pytest.mark.parametrize("kind", ["bart", "mvp"])
def test_the_decoder_of_an_encoder_decoder_is_found(kind: str) -> None:
    settings = {"encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2, "decoder_attention_heads": 8}
    whole = AutoModelForSeq2SeqLM.from_config(small(kind, **settings))  # type: ignore[no-untyped-call]
    assert n_heads_of(whole) == 8
    assert decoder_blocks(whole) == tuple(whole.get_submodule("model.decoder.layers").children())
    vision = AutoConfig.for_model("vit", hidden_size=32, intermediate_size=48, num_hidden_layers=3, image_size=28)
    vision.num_attention_heads = 4
    both = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, small(kind, **settings))
    reader = VisionEncoderDecoderModel(both)
    assert n_heads_of(reader) == 8
    assert decoder_blocks(reader) == tuple(reader.get_submodule("decoder.model.decoder.layers").children())


@pytest.mark.parametrize(
    ("kind", "counted", "n_run"),
    [
        pytest.param("llama", 99, 3, id="more than there are"),
        pytest.param("llama", 2, 2, id="fewer, and no more are run"),
        pytest.param("gpt2", 2, 3, id="fewer, and all are run"),
        pytest.param("bloom", 2, 3, id="fewer, all are run, and none is recorded"),
    ],
)
def test_blocks_are_those_that_run_whatever_is_counted(kind: str, counted: int, n_run: int) -> None:
    settings: dict[str, Any] = {"n_layer": 3} if kind == "bloom" else {}
    model = tiny_model(kind, **settings).model
    model.config.num_hidden_layers = counted
    assert len(decoder_blocks(model)) == n_run
    assert_residual_is_the_librarys(model, n_run)


@pytest.mark.parametrize(
    ("kind", "path"), [("llama", "model.layers"), ("gpt_neox", "gpt_neox.layers"), ("bloom", "transformer.h")]
)
def test_blocks_may_be_taken_out(kind: str, path: str) -> None:
    settings: dict[str, Any] = {"n_layer": 3} if kind == "bloom" else {}
    model = tiny_model(kind, **settings).model
    assert len(decoder_blocks(model)) == 3
    parent, name = path.rsplit(".", 1)
    setattr(model.get_submodule(parent), name, nn.ModuleList([model.get_submodule(path)[index] for index in (0, 2)]))  # type: ignore[index]
    assert [id(one) for one in decoder_blocks(model)] == [id(one) for one in model.get_submodule(path).children()]
    assert_residual_is_the_librarys(model, 2)


class Wrapped(nn.Module):
    """A block inside another module, as adapters put it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self.inner(*arguments, **options)


@pytest.mark.parametrize("wrapped", [(1,), (0, 1, 2)])
def test_blocks_that_wrap_blocks_are_the_blocks(wrapped: tuple[int, ...]) -> None:
    model = tiny_model().model
    layers = model.get_submodule("model.layers")
    for layer in wrapped:
        layers[layer] = Wrapped(layers[layer])  # type: ignore[index,operator]
    assert [id(one) for one in decoder_blocks(model)] == [id(one) for one in layers.children()]
    assert_residual_is_the_librarys(model, 3)


def test_blocks_in_several_lists_are_all_found() -> None:
    model = tiny_model(num_hidden_layers=4).model
    layers = model.get_submodule("model.layers")
    expected = [id(one) for one in layers.children()]
    pairs = [nn.ModuleList(list(layers.children())[first : first + 2]) for first in (0, 2)]
    model.get_submodule("model").layers = nn.ModuleList(pairs)
    assert [id(one) for one in decoder_blocks(model)] == expected


def test_a_tower_for_images_is_none_of_the_decoder() -> None:
    model, reason = build("gemma3", runs=run)
    assert model is not None, reason
    towers = [one for one in model.modules() if isinstance(one, SiglipEncoderLayer)]
    assert len(towers) == len(decoder_blocks(model)) == 2
    assert not {id(one) for blocks in layer_lists(model) for one in blocks} & {id(one) for one in towers}
    assert_residual_is_the_librarys(model, 2)


def test_parts_of_blocks_are_lists_of_their_own_where_there_are_no_blocks() -> None:
    model = tiny_model("xlm", emb_dim=32, n_layers=3, n_heads=4).model
    names = ("ffns", "attentions", "layer_norm1", "layer_norm2")
    lists = {tuple(model.get_submodule(f"transformer.{name}").children()) for name in names}
    assert set(layer_lists(model)) == lists
    assert decoder_blocks(model) == tuple(model.get_submodule("transformer.ffns").children())


def test_one_module_that_runs_as_several_blocks_is_refused() -> None:
    model = tiny_model().model
    layers = model.get_submodule("model.layers")
    layers[2] = layers[0]  # type: ignore[index,operator]
    with pytest.raises(NotReadableError, match="LlamaForCausalLM: blocks 0 and 2 are one module"):
        decoder_blocks(model)


@pytest.mark.filterwarnings("ignore")
def test_blocks_that_run_again_and_again_are_refused_by_the_residual_stream() -> None:
    model, reason = build("hrm_text", runs=run)
    assert model is not None, reason
    assert len(decoder_blocks(model)) == 4
    with pytest.raises(NotReadableError, match="HrmTextForCausalLM: its residual stream cannot be read"):
        residual_blocks(model)


def test_a_model_without_blocks_is_refused() -> None:
    model = tiny_model().model
    model.get_submodule("model").layers = nn.ModuleList()
    with pytest.raises(NotReadableError, match="LlamaForCausalLM: no list of decoder blocks was found in it"):
        decoder_blocks(model)


def test_looking_for_blocks_leaves_the_model_as_it_was() -> None:
    model = tiny_model("llama", num_hidden_layers=5).model
    model.train()
    hooks = [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in model.modules()]
    before = copy.deepcopy(model.state_dict())
    decoder_blocks(model)
    assert all(one.training for one in model.modules())
    assert hooks == [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
