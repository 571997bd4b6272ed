"""The residual stream, against the model library's own hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.errors import NotReadableError
from foretell.reading.hooks.residual_stream import capture_residual, decoder_blocks, residual_blocks, residual_hooks
from tests.reading import by_hand
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


def test_hooks_go_away_after_an_exception(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 4),))
    network = tiny_model().model
    seen: list[int] = []

    def fail(layer: int, _: torch.Tensor) -> None:
        seen.append(layer)
        if layer == 2:
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), residual_hooks(network, fail):
        network(**given.inputs)
    network(**given.inputs)
    assert seen == [0, 1, 2]
    assert not any(module._forward_hooks for module in network.modules())


def test_a_model_that_hands_on_something_else_is_refused_by_name() -> None:
    network = tiny_model("llama", num_hidden_layers=2).model
    last = network.get_submodule("model.layers.1")
    handle = network.get_submodule("model.layers.0").register_forward_hook(lambda *_: torch.zeros(2, 12, 3, 32))
    with pytest.raises(NotReadableError, match=r"LlamaForCausalLM: its residual stream cannot be read"):
        residual_blocks(network)
    handle.remove()
    assert residual_blocks(network)[1] is last


def test_parts_of_blocks_stand_for_blocks_where_there_are_none(generator: np.random.Generator) -> None:
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


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    network = tiny_model().model
    network.config.num_hidden_layers = 99
    with pytest.raises(NotReadableError, match="no list of 99 decoder blocks"):
        decoder_blocks(network)
