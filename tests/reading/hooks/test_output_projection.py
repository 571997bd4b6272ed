"""Which module heads write through: by what it is given and what else is done with that, and the same in every run."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

from foretell.errors import NotReadableError
from foretell.reading.hooks import output_projection
from foretell.reading.hooks.output_projection import head_factors, output_projections
from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.trial import trial_text
from tests.reading.every_architecture import build
from tests.reading.models.test_linear_maps import Bent, Lora, assert_norms
from tests.reading.tiny import tiny_model

EAGER = eager_attention_forward
"""The interface looks for it by its own name in the module of an attention's class."""

PATHS = {
    "llama": "self_attn.o_proj",
    "gemma2": "self_attn.o_proj",
    "gemma3_text": "self_attn.o_proj",
    "gpt_oss": "self_attn.o_proj",
    "qwen3": "self_attn.o_proj",
    "gpt2": "attn.c_proj",
    "gpt_neox": "attention.dense",
}


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_projection, "_PATHS", {})


@pytest.mark.parametrize(
    ("kind", "attention"),
    [*((kind, "eager") for kind in PATHS), *((kind, "sdpa") for kind in PATHS if kind not in {"gemma2", "gpt_oss"})],
)
def test_the_projection_of_every_layer_is_found(kind: str, attention: str) -> None:
    model = tiny_model(kind, attention=attention).model
    expected = {layer: block.get_submodule(PATHS[kind]) for layer, block in enumerate(decoder_blocks(model))}
    for _ in range(2):
        assert output_projections(model) == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param("bert", "attention.output.dense", id="outside the attention module"),
        pytest.param("falcon", "self_attention.dense", id="attention that calls the fused kernel itself"),
    ],
)
def test_projections_in_other_places_are_found(kind: str, path: str) -> None:
    model, reason = build(kind, runs=lambda model: model(**trial_text(model)[0]))
    assert model is not None, reason
    expected = {layer: block.get_submodule(path) for layer, block in enumerate(decoder_blocks(model))}
    assert output_projections(model) == expected


@pytest.mark.filterwarnings("ignore")
def test_layers_without_attention_are_absent() -> None:
    model, reason = build("jamba", runs=lambda model: model(**trial_text(model)[0]))
    assert model is not None, reason
    assert list(output_projections(model)) == [1]


def between(kind: str, module: Any, output: Tensor, hidden: Tensor) -> Any:
    """What the projection is given instead of the output of attention, `(sample, query, head, width)`."""
    gate = torch.sigmoid(module.gate(hidden)).reshape(output.shape)
    flat = output.flatten(2)
    changed: dict[str, Callable[[], Any]] = {
        "nothing": lambda: output,
        "copies": lambda: output.clone().transpose(1, 2).contiguous().transpose(1, 2).contiguous(),
        "dropout": lambda: module.dropout(nn.functional.dropout(output, 0.5, training=module.training)),
        "looking at its shape": lambda: output if output.shape[0] == len(output) and output.is_contiguous() else gate,
        "casts": lambda: output.to(torch.float64).to(output.dtype),
        "a gate": lambda: output * gate,
        "a gate in place": lambda: output.mul_(gate),
        "a gate of its own": lambda: output * torch.sigmoid(module.gate(flat)).reshape(output.shape),
        "a norm over heads": lambda: module.norm(output),
        "a norm over all": lambda: module.norms(flat).reshape(output.shape),
        "ones": lambda: output * module.ones,
        "ones in place": lambda: output.mul_(module.ones),
        "ones by an operator in place": lambda: output.__imul__(module.ones),
        "ones by an item": lambda: assigned(output, module.ones),
        "zeros": lambda: output + 0.0 * gate,
        "two operations": lambda: (output * 2.0) / 2.0,
        "two operations in place": lambda: output.mul_(2.0).div_(2.0),
        "another order": lambda: output.flip(2),
        "another layout": lambda: output.transpose(2, 3).reshape(output.shape),
    }
    return changed[kind]()


def assigned(output: Tensor, ones: Tensor) -> Tensor:
    output[:, :, 0] = output[:, :, 0] * ones
    return output


FOUND = ("nothing", "copies", "dropout", "looking at its shape", "casts")
ABSENT = (
    "a gate",
    "a gate in place",
    "a gate of its own",
    "a norm over heads",
    "a norm over all",
    "ones",
    "ones in place",
    "ones by an operator in place",
    "ones by an item",
    "zeros",
    "two operations",
    "two operations in place",
    "another order",
    "another layout",
)


class Attention(nn.Module):
    """Attention of a llama block, with something between it and its projection."""

    def __init__(self, own: Any, kind: str) -> None:
        super().__init__()
        self.config: Any = own.config
        self.layer_idx, self.head_dim, self.scaling = own.layer_idx, own.head_dim, own.scaling
        self.num_key_value_groups, self.is_causal = own.num_key_value_groups, True
        self.q_proj: nn.Module = own.q_proj
        self.k_proj: nn.Module = own.k_proj
        self.v_proj: nn.Module = own.v_proj
        self.o_proj: nn.Module = own.o_proj
        self.gate = nn.Linear(32, 32)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.RMSNorm(8)
        self.norms = nn.LayerNorm(32)
        self.ones = nn.Parameter(torch.ones(8))
        self.kind = kind

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: Any = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            one(hidden_states).view(shape).transpose(1, 2) for one in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = attend(self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **options)
        output = between(self.kind, self, output, hidden_states)
        return self.o_proj(output.flatten(2)), weights


def model_with(kind: str, layers: tuple[int, ...] = (0, 1, 2)) -> PreTrainedModel:
    model = tiny_model().model
    for layer in layers:
        block = model.get_submodule(f"model.layers.{layer}")
        block.self_attn = Attention(block.get_submodule("self_attn"), kind)
    model.train(False)
    return model


@pytest.mark.parametrize("kind", FOUND)
def test_what_changes_no_number_leaves_the_projection(kind: str) -> None:
    model = model_with(kind)
    expected = {layer: model.get_submodule(f"model.layers.{layer}.self_attn.o_proj") for layer in range(3)}
    assert output_projections(model) == expected
    model.train(True)
    output_projection._PATHS.clear()
    assert output_projections(model) == expected
    assert all(one.training for one in model.modules())


@pytest.mark.parametrize("kind", ABSENT)
def test_what_may_change_a_number_leaves_none(kind: str) -> None:
    model = model_with(kind, layers=(0, 2))
    for _ in range(3):
        output_projection._PATHS.clear()
        assert list(output_projections(model)) == [1]


def with_projection(make: Callable[[Any], nn.Module]) -> tuple[PreTrainedModel, list[nn.Module]]:
    model = tiny_model().model
    made = []
    for block in decoder_blocks(model):
        attention = block.get_submodule("self_attn")
        attention.o_proj = make(attention.get_submodule("o_proj"))
        made.append(attention.get_submodule("o_proj"))
    model.train(False)
    return model, made


class Also(nn.Module):
    """A projection with something beside it."""

    def __init__(self, base: nn.Linear, kind: str) -> None:
        super().__init__()
        self.base = base
        self.beside = nn.Linear(32, 32, bias=False)
        nn.init.zeros_(self.beside.weight)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        written = torch.as_tensor(self.base(x))
        return written + torch.as_tensor(self.beside(x if self.kind == "linear" else x.tanh()))


def test_an_adapter_around_a_layer_is_the_projection() -> None:
    torch.manual_seed(0)
    model, adapters = with_projection(lambda base: Lora(base))
    assert list(output_projections(model).values()) == adapters
    for adapter in adapters:
        assert isinstance(adapter, Lora)
        assert_norms(adapter, adapter.base_layer.weight.detach() + adapter.change(), n_heads=4)
    model, wrapped = with_projection(lambda base: nn.Sequential(base, nn.Dropout(0.1)))
    assert list(output_projections(model).values()) == wrapped
    model, beside = with_projection(lambda base: Also(base, "linear"))
    assert list(output_projections(model).values()) == beside


def test_an_adapter_that_is_put_on_later_is_the_projection() -> None:
    model = tiny_model().model
    before = output_projections(model)
    attention = model.get_submodule("model.layers.1.self_attn")
    attention.o_proj = Lora(attention.get_submodule("o_proj"))  # type: ignore[arg-type]
    assert output_projections(model) == {**before, 1: attention.get_submodule("o_proj")}
    attention.o_proj = attention.get_submodule("o_proj.base_layer")
    assert output_projections(model) == before


def test_what_bends_later_leaves_the_layer_before_it() -> None:
    model, bent = with_projection(Bent32)
    assert list(output_projections(model).values()) == [one.get_submodule("linear") for one in bent]


def test_an_adapter_that_is_not_affine_leaves_none_or_has_no_factors() -> None:
    # An adapter that does nothing yet is affine, and no longer when it has learnt something.
    model, adapters = with_projection(lambda base: Also(base, "bent"))
    found = output_projections(model)
    assert list(found.values()) == adapters
    assert all(head_factors(one, 4) is not None for one in found.values())
    for one in adapters:
        nn.init.normal_(one.get_parameter("beside.weight"))
    assert all(head_factors(one, 4) is None for one in output_projections(model).values())
    output_projection._PATHS.clear()
    assert output_projections(model) == {}


class Bent32(Bent):
    """A projection that bends what it writes."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__("a little")
        self.linear = base  # type: ignore[assignment]


def test_another_forward_is_looked_at_again() -> None:
    model = tiny_model().model
    assert len(output_projections(model)) == 3
    projection = model.get_submodule("model.layers.2.self_attn.o_proj")

    def gated(module: nn.Module, x: Tensor) -> Tensor:
        return nn.Linear.forward(module, x * x.sigmoid())  # type: ignore[arg-type]

    projection.forward = types.MethodType(gated, projection)
    assert list(output_projections(model)) == [0, 1]
    del projection.forward
    assert len(output_projections(model)) == 3


def test_hooks_that_change_what_is_given_count_while_they_are_there() -> None:
    model = tiny_model().model
    assert len(output_projections(model)) == 3
    projection = model.get_submodule("model.layers.0.self_attn.o_proj")
    seen: list[Tensor] = []
    looking = [
        projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].norm())),
        projection.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].norm())),
    ]
    assert len(output_projections(model)) == 3
    assert seen
    ablating = projection.register_forward_pre_hook(lambda _, inputs: (inputs[0] * torch.ones(32),))
    assert list(output_projections(model)) == [1, 2]
    for handle in (*looking, ablating):
        handle.remove()
    assert len(output_projections(model)) == 3


def test_looking_leaves_the_model_as_it_was() -> None:
    model = tiny_model("qwen3").model
    model.train(True)
    hooks = [(list(one._forward_hooks), list(one._forward_pre_hooks)) for one in model.modules()]
    output_projections(model)
    assert all(one.training for one in model.modules())
    assert hooks == [(list(one._forward_hooks), list(one._forward_pre_hooks)) for one in model.modules()]
    assert str(model.config._attn_implementation) == "sdpa"


def test_attention_that_cannot_be_observed_is_refused() -> None:
    model = tiny_model().model
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(NotReadableError, match="LlamaForCausalLM"):
        output_projections(model)
