"""The residual stream, against the model library's own hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.errors import NotReadableError
from foretell.reading.residual import capture_residual, decoder_blocks, residual_hooks
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


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    network = tiny_model().model
    network.config.num_hidden_layers = 99
    with pytest.raises(NotReadableError, match="no list of 99 decoder blocks"):
        decoder_blocks(network)
