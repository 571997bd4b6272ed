"""The residual stream, against the model library's own hidden states."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import LlamaConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from foretell.errors import NotReadableError
from foretell.reading.hooks import residual_place
from foretell.reading.hooks.residual_stream import residual_blocks, residual_hooks
from foretell.reading.models.blocks import decoder_blocks
from tests.reading import by_hand
from tests.reading.by_hand import capture_residual
from tests.reading.tiny import CONFIGURATIONS, tiny_model


@pytest.mark.parametrize("kind", sorted(CONFIGURATIONS))
def test_blocks_hand_on_the_hidden_states_before_the_final_norm(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 4), (5, 3)))
    network = tiny_model(kind).model
    captured = capture_residual(network, **given.inputs)
    with torch.no_grad():
        hidden = network(**given.inputs, output_hidden_states=True).hidden_states
    assert captured.shape == (3, 2, 13, 32)
    assert len(decoder_blocks(network)) == 3
    # The library's first entry is the embedding and its last one is taken after the final norm.
    for layer in range(2):
        assert torch.equal(captured[layer], hidden[layer + 1])
    assert not torch.allclose(captured[2], hidden[3])


def hooks_of(network: nn.Module) -> list[tuple[list[int], list[int]]]:
    """The hooks of every module, in their order."""
    return [(list(one._forward_hooks), list(one._forward_pre_hooks)) for one in network.modules()]


def test_hooks_go_away_after_an_exception(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 4),))
    network = tiny_model().model
    residual_blocks(network)
    before = hooks_of(network)
    seen: list[int] = []

    def fail(layer: int, _: torch.Tensor) -> None:
        seen.append(layer)
        if layer == 2:
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), residual_hooks(network, fail):
        network(**given.inputs)
    network(**given.inputs)
    assert seen == [0, 1, 2]
    assert hooks_of(network) == before


def test_a_model_that_hands_on_something_else_is_refused_by_name() -> None:
    network = tiny_model("llama", num_hidden_layers=2).model
    last = network.get_submodule("model.layers.1")
    handle = network.get_submodule("model.layers.0").register_forward_hook(lambda *_: torch.zeros(2, 12, 3, 32))
    with pytest.raises(NotReadableError, match=r"LlamaForCausalLM: its residual stream cannot be read"):
        residual_blocks(network)
    handle.remove()
    assert residual_blocks(network)[1] is last


def test_parts_of_blocks_replace_blocks_where_there_are_none(generator: np.random.Generator) -> None:
    network = tiny_model("xlm", emb_dim=32, n_layers=3, n_heads=4).model
    network.train(True)
    found = residual_blocks(network)
    assert all(module.training for module in network.modules())
    network.train(False)
    assert [id(one) for one in found] == [
        id(one) for one in network.get_submodule("transformer.layer_norm2").children()
    ]
    assert decoder_blocks(network) != found
    given = by_hand.text(generator, ((9, 4),))
    captured = capture_residual(network, **given.prompts)
    with torch.no_grad():
        hidden = network(**given.prompts, output_hidden_states=True).hidden_states
    assert torch.equal(captured, torch.stack(hidden[1:]))


def what_is_given(network: PreTrainedModel, given: by_hand.Text) -> list[Tensor]:
    """What each next block's `forward`, or after the last block the final norm's, is called with."""
    found: list[Tensor] = []
    modules = [*decoder_blocks(network)[1:], network.get_submodule("model.norm")]

    def spied(own: Callable[..., Any]) -> Callable[..., Any]:
        def forward(hidden_states: Tensor, *arguments: Any, **options: Any) -> Any:
            found.append(hidden_states.clone())
            return own(hidden_states, *arguments, **options)

        return forward

    for module in modules:
        module.forward = spied(module.forward)
    with torch.no_grad():
        network(**given.inputs)
    for module in modules:
        del module.forward
    return found


class Steering:
    """Hooks of a user, which add a number of their own at each place where a hook may change the hidden state."""

    def __init__(self, network: PreTrainedModel) -> None:
        self._blocks = decoder_blocks(network)
        self.handles: list[RemovableHandle] = []

    def add(self, *, first: bool = True) -> None:
        """Register one hook of every kind on every block; `first` also one before all others."""
        for own, block in enumerate(self._blocks, 1 + len(self.handles)):
            if first:
                self.handles.append(block.register_forward_hook(lambda _m, _i, out, own=own: out * own, prepend=True))
            self.handles += [
                block.register_forward_hook(lambda _m, _i, out, own=own: out + own),
                block.register_forward_hook(lambda _m, _i, _k, out, own=own: out - own / 2, with_kwargs=True),
                block.register_forward_pre_hook(lambda _m, inputs, own=own: (inputs[0] + own / 3, *inputs[1:])),
                block.register_forward_pre_hook(
                    lambda _m, inputs, options, own=own: ((inputs[0] - own / 4, *inputs[1:]), options),
                    with_kwargs=True,
                ),
            ]


@pytest.mark.parametrize("layers", [None, (0,), (1,), (0, 2)])
@pytest.mark.parametrize("moment", ["before", "within", "during a pass", "before the first trial of all"])
def test_hooks_of_others_count_whenever_they_are_registered(
    moment: str, layers: tuple[int, ...] | None, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = by_hand.text(generator, ((9, 4), (5, 3)))
    network = tiny_model().model
    steering = Steering(network)
    captured: dict[int, Tensor] = {}
    if moment == "before the first trial of all":
        monkeypatch.setattr(residual_place, "_PLACES", {})
        network(**given.inputs, output_hidden_states=True)
    if moment.startswith("before"):
        steering.add(first=moment == "before")

    def keep(layer: int, hidden: Tensor) -> None:
        captured[layer] = hidden.clone()

    with torch.no_grad(), residual_hooks(network, keep, layers=layers):
        if moment == "within":
            steering.add()
        if moment == "during a pass":
            registering = network.get_submodule("model.embed_tokens").register_forward_hook(
                lambda *_: None if steering.handles else steering.add()
            )
            network(**given.inputs)
            registering.remove()
        else:
            network(**given.inputs)
    expected = what_is_given(network, given)
    assert list(captured) == list(range(3) if layers is None else layers)
    for layer, hidden in captured.items():
        assert torch.equal(hidden, expected[layer]), layer


def test_hooks_that_hide_what_the_library_records_are_reported(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = by_hand.text(generator, ((9, 4),))
    network = tiny_model().model
    monkeypatch.setattr(residual_place, "_PLACES", {})
    network(**given.inputs, output_hidden_states=True)
    steering = Steering(network)
    steering.add()
    with pytest.raises(NotReadableError, match="have forward hooks: read a text once before they are registered"):
        residual_blocks(network)
    for handle in steering.handles:
        handle.remove()
    assert residual_blocks(network) == decoder_blocks(network)


def test_the_order_of_hooks_of_others_stays(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 4),))
    network = tiny_model().model
    residual_blocks(network)
    steering = Steering(network)
    steering.add()
    before = hooks_of(network)
    with torch.no_grad(), residual_hooks(network, lambda *_: None), residual_hooks(network, lambda *_: None):
        network(**given.inputs)
        during = hooks_of(network)
    own = {number for hooks in before for kind in hooks for number in kind}
    assert before == [
        ([one for one in left if one in own], [one for one in right if one in own]) for left, right in during
    ]
    assert hooks_of(network) == before


def test_nested_blocks_and_later_passes_see_the_same(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 4),))
    network = tiny_model().model
    steering = Steering(network)
    seen: list[list[Tensor]] = [[], []]
    with (
        torch.no_grad(),
        residual_hooks(network, lambda _, hidden: seen[0].append(hidden.clone())),
        residual_hooks(network, lambda _, hidden: seen[1].append(hidden.clone())),
    ):
        for _ in range(2):
            steering.add()
            network(**given.inputs)
    expected = what_is_given(network, given)
    for found in seen:
        assert all(torch.equal(one, other) for one, other in zip(found[3:], expected, strict=True))


def test_only_active_passes_are_seen(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 4),))
    network = tiny_model().model
    seen: list[int] = []
    own = threading.get_ident()
    with residual_hooks(network, lambda layer, _: seen.append(layer), active=lambda: threading.get_ident() == own):
        other = threading.Thread(target=lambda: network(**given.inputs))
        other.start()
        other.join()
        assert not seen
        network(**given.inputs)
    assert seen == [0, 1, 2]


def test_a_pass_that_stops_midway_shows_no_more_than_it_ran(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 4),))
    network = tiny_model().model
    seen: list[int] = []

    def stop(*_: Any) -> None:
        raise KeyError("on purpose")

    with residual_hooks(network, lambda layer, _: seen.append(layer)):
        handle = decoder_blocks(network)[1].register_forward_hook(stop)
        with pytest.raises(KeyError, match="on purpose"):
            network(**given.inputs)
        handle.remove()
        assert seen == [0]
        network(**given.inputs)
    assert seen == [0, 0, 1, 2]


@dataclass
class BlockOutput:
    """What a block of `ByName` returns."""

    hidden: Tensor
    extra: int = 0


class NamedBlock(nn.Module):
    """A block that is called by name and returns a dataclass, a mapping, a list or a tuple."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self._kind = kind

    def forward(self, hidden_states: Tensor) -> Any:
        hidden = hidden_states + torch.tanh(self.linear(hidden_states))
        outputs = {
            "dataclass": BlockOutput(hidden),
            "mapping": {"hidden": hidden},
            "list": [hidden],
            "tuple": (hidden,),
        }
        return outputs[self._kind]


class ByName(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A model whose blocks are called by name, with something between them or not."""

    config_class = LlamaConfig

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, 8)
        self.layers = nn.ModuleList([NamedBlock(config.kind) for _ in range(3)])

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutput:
        hidden = self.embed(input_ids)
        states = [hidden]
        for layer in self.layers:
            output = layer(hidden_states=hidden)
            parts = vars(output) if isinstance(output, BlockOutput) else output
            hidden = next(iter(parts.values() if isinstance(parts, dict) else parts))
            states.append(hidden)
            hidden = hidden + self.config.between
        states[-1] = torch.tanh(hidden)
        return BaseModelOutput(last_hidden_state=hidden, hidden_states=tuple(states))


@pytest.mark.parametrize("between", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["dataclass", "mapping", "list", "tuple"])
def test_blocks_that_return_anything_are_read(kind: str, between: float) -> None:
    configuration = LlamaConfig(vocab_size=40, num_hidden_layers=3, hidden_size=8, num_attention_heads=2)
    configuration.kind, configuration.between = kind, between
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = ByName(configuration)
    network.train(False)
    token_ids = torch.arange(20).reshape(2, 10)
    captured = capture_residual(network, input_ids=token_ids)
    with torch.no_grad():
        states = network(input_ids=token_ids).hidden_states
    assert residual_place.residual_place(network).is_given == (between == 0.0)
    for layer in range(2):
        assert torch.equal(captured[layer], states[layer + 1])
    assert torch.equal(torch.tanh(captured[2] + between), states[3])
