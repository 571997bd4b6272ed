"""Layers that are read together against the same layers read one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from foretell.reading.capture.listen import listen
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.signals import joined_layers
from foretell.reading.signals.attention_mass import Quantities, RowReader
from foretell.reading.signals.joined_layers import JoinedLayers
from tests.reading import by_hand
from tests.reading.tiny import tiny_model


def a_call(n_tokens: int = 6, *, n_samples: int = 2, mask: Tensor | None = None, **options: Any) -> AttentionCall:
    query, key, value = (torch.randn(n_samples, heads, n_tokens, 8) for heads in (4, 2, 2))
    return AttentionCall(nn.Module(), sdpa_attention_forward, "sdpa", query, key, value, mask, options)


@pytest.mark.parametrize("n_rows", [1, 3])
def test_heads_of_joined_calls_follow_each_other(n_rows: int) -> None:
    hidden = torch.triu(torch.ones(6, 6), 1) * torch.finfo(torch.float32).min
    mask = torch.stack([hidden, hidden.clone()])[:, None]
    mask[1, :, :, 0] = torch.finfo(torch.float32).min  # padding in front of the second text
    layers, calls = JoinedLayers(), [a_call(mask=mask) for _ in range(3)]
    factors = torch.randn(3, 4, 8, 8)
    assert all(layers.takes(layer, call, factors[layer]) for layer, call in enumerate(calls))
    codes = torch.tensor([[3, 0, 1, 2, 4, 4], [-1, 3, 1, 2, 4, 4]])
    reader = RowReader(
        codes, torch.arange(6 - n_rows, 6).repeat(2, 1), chunk_bytes=1 << 20, quantities=Quantities(True, True)
    )
    together = reader.of_calls(layers.calls, layers.factors)
    assert layers.layers == [0, 1, 2]
    for layer, call in enumerate(calls):
        alone = reader.of_calls([call], factors[layer])
        heads = slice(4 * layer, 4 * layer + 4)
        torch.testing.assert_close(together.mass[:, heads], alone.mass)
        torch.testing.assert_close(together.padding[:, heads], alone.padding)
        assert together.entropy is not None
        assert alone.entropy is not None
        torch.testing.assert_close(together.entropy[:, heads], alone.entropy)
        assert together.contribution is not None
        assert alone.contribution is not None
        torch.testing.assert_close(together.contribution[:, heads], alone.contribution)


@pytest.mark.parametrize(
    "other",
    [
        a_call(7),
        a_call(mask=torch.zeros(1, 1, 6, 6)),
        a_call(scaling=0.1),
        a_call(is_causal=False),
        a_call(position_bias=torch.zeros(1, 4, 6, 6)),
        a_call(mask=torch.zeros(1, 4, 6, 6)),
        dataclasses.replace(a_call(), own=lambda *_: None),
        dataclasses.replace(a_call(), value=torch.zeros(2, 2, 6, 4)),
        dataclasses.replace(a_call(), key=torch.zeros(2, 2, 6, 8, dtype=torch.bfloat16)),
    ],
)
def test_calls_of_another_kind_are_not_joined(other: AttentionCall) -> None:
    layers = JoinedLayers()
    assert layers.takes(0, a_call(), None)
    assert not layers.takes(1, other, None)
    assert not layers.takes(1, a_call(), torch.zeros(4, 8, 8))
    assert layers.layers == [0]
    layers.clear()
    assert layers.takes(1, other, None)


@pytest.mark.parametrize(("n_tokens", "n_layers"), [(256, 8), (512, 4), (800, 1), (4096, 1)])
def test_long_calls_are_not_held(n_tokens: int, n_layers: int) -> None:
    # A token takes 8 heads times 8 numbers of 4 bytes, for two samples.
    layers, count = JoinedLayers(), 0
    call = a_call(n_tokens, n_samples=8)
    while True:
        assert layers.takes(count, call, None)
        count += 1
        if layers.is_full:
            break
    assert count == n_layers


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3_text", "mistral"])
def test_layers_read_together_say_what_each_says(
    kind: str, side: str, *, rows: bool, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = by_hand.text(generator, ((13, 7), (8, 4), (20, 9)), side=side)
    model = tiny_model(kind)
    captures = []
    for most_bytes in (joined_layers._MOST_BYTES, 0):
        monkeypatch.setattr(joined_layers, "_MOST_BYTES", most_bytes)
        with torch.no_grad(), listen(model, given.segments, contribution=True, entropy=True, rows=rows) as capture:
            model.model(**given.inputs)
        captures.append(capture)
    together, apart = captures
    for name in ("mass", "lift", "contribution", "entropy"):
        np.testing.assert_allclose(getattr(together, name), getattr(apart, name), atol=2e-6, rtol=1e-5, err_msg=name)
