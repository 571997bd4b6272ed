"""What rows say in one attention call, against softmax by hand in double precision."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from foretell.errors import NotReadableError
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.signals import attention_mass
from foretell.reading.signals.attention_mass import Quantities, RowReader, SegmentMass

N_HEADS, N_GROUPS, N_TOKENS, N_ROWS, WIDTH = 4, 2, 11, 5, 6
CODES = torch.tensor([[3, 0, 0, 1, 2, 2, 4, 4, 4, 4, 4], [-1, -1, 3, 1, 2, 2, 4, 4, 4, 4, 4]])
EVERYTHING = Quantities(contribution=True, entropy=True)


def a_call(
    generator: np.random.Generator, *, scale: float = 1.0, dtype: torch.dtype = torch.float32, **options: Any
) -> AttentionCall:
    def drawn(n_heads: int) -> Tensor:
        values = generator.normal(size=(2, n_heads, N_TOKENS, WIDTH)) * scale
        return torch.from_numpy(values.astype(np.float32)).to(dtype)

    visible = torch.ones(N_TOKENS, N_TOKENS).tril().bool()[None, None] & (CODES >= 0)[:, None, None]
    # Rows of padding see themselves, as the model library makes them.
    mask = visible | torch.eye(N_TOKENS).bool()
    query, key, value = drawn(N_HEADS), drawn(N_GROUPS), drawn(N_GROUPS)
    return AttentionCall(nn.Identity(), sdpa_attention_forward, "sdpa", query, key, value, mask, options)


def read(call: AttentionCall, *, chunk_bytes: int = 1 << 20, quantities: Quantities = EVERYTHING) -> SegmentMass:
    rows = torch.arange(N_TOKENS - N_ROWS, N_TOKENS).repeat(2, 1)
    return RowReader(CODES, rows, chunk_bytes=chunk_bytes, quantities=quantities).of_calls([call], None)


def weights_of(call: AttentionCall, bias: Tensor | None = None) -> np.ndarray:
    """`(sample, head, row, key)` in double precision."""
    key = call.key.double().repeat_interleave(N_HEADS // N_GROUPS, dim=1)
    scale = call.options.get("scaling") or WIDTH**-0.5
    scores = call.query.double() @ key.transpose(2, 3) * scale
    if bias is not None:
        scores = scores + bias.double()
    assert call.mask is not None
    weights = scores.masked_fill(~call.mask, -torch.inf).softmax(-1)
    return np.asarray(weights[:, :, -N_ROWS:].numpy())


def masses_of(weights: np.ndarray) -> np.ndarray:
    codes = CODES.numpy()
    return np.stack([(weights * (codes == code)[:, None, None]).sum(-1) for code in range(5)], axis=-1)


@pytest.mark.parametrize("chunk_bytes", [1, 300, 1 << 20])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_masses_entropies_and_contributions(scale: float, chunk_bytes: int, generator: np.random.Generator) -> None:
    """Also for scores in the thousands, and row by row."""
    call = a_call(generator, scale=scale)
    found, weights = read(call, chunk_bytes=chunk_bytes), weights_of(call)
    assert found.entropy is not None
    assert found.contribution is not None
    np.testing.assert_allclose(found.mass.numpy(), masses_of(weights), atol=1e-5)
    assert float(found.padding.abs().max()) == 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(weights * np.log(weights), axis=-1)
    np.testing.assert_allclose(found.entropy.numpy(), entropy, atol=2e-5)
    values = call.value.double().repeat_interleave(N_HEADS // N_GROUPS, dim=1).numpy()
    parts = np.stack([(weights * (CODES.numpy() == code)[:, None, None]) @ values for code in range(5)])
    norms = np.linalg.norm(parts, axis=-1)
    np.testing.assert_allclose(found.contribution.numpy(), np.moveaxis(norms / norms.sum(0), 0, -1), atol=1e-5)


def test_a_stated_scale_and_a_position_bias_are_part_of_the_scores(generator: np.random.Generator) -> None:
    bias = torch.from_numpy(generator.normal(size=(1, N_HEADS, N_TOKENS, N_TOKENS)).astype(np.float32))
    call = a_call(generator, scaling=0.7, position_bias=bias)
    np.testing.assert_allclose(read(call).mass.numpy(), masses_of(weights_of(call, bias)), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype, generator: np.random.Generator) -> None:
    call = a_call(generator, dtype=dtype)
    found = read(call)
    assert found.mass.dtype == torch.float32
    np.testing.assert_allclose(found.mass.numpy(), masses_of(weights_of(call)), atol=1e-5)
    np.testing.assert_allclose(found.mass.sum(-1).numpy(), 1.0, atol=1e-6)


def test_automatic_mixed_precision_changes_nothing(generator: np.random.Generator) -> None:
    call = a_call(generator)
    with torch.autocast("cpu", torch.bfloat16):
        found = read(call)
    for name in ("mass", "entropy", "contribution"):
        torch.testing.assert_close(getattr(found, name), getattr(read(call), name), rtol=0, atol=0, equal_nan=True)


def test_keys_that_mask_and_bias_hide_add_nothing_to_the_entropy(generator: np.random.Generator) -> None:
    call = a_call(generator)
    assert call.mask is not None
    bias = torch.zeros(call.mask.shape).masked_fill_(~call.mask, torch.finfo(torch.float32).min)
    hidden_twice = dataclasses.replace(call, options={"position_bias": bias})
    torch.testing.assert_close(read(hidden_twice).entropy, read(call).entropy)


def test_mass_on_padding_is_separate(generator: np.random.Generator) -> None:
    call = a_call(generator)
    open_call = AttentionCall(call.module, call.own, "sdpa", call.query, call.key, call.value, None, {})
    found = read(open_call)
    assert float(found.padding[0].abs().max()) == 0.0
    assert float(found.padding[1].min()) > 0.0
    np.testing.assert_allclose((found.mass.sum(-1) + found.padding).numpy(), 1.0, atol=1e-6)


def test_lift_is_mass_over_the_share_of_the_tokens_seen(generator: np.random.Generator) -> None:
    found = read(a_call(generator))
    codes = CODES.numpy()
    for sample in range(2):
        for row in range(N_ROWS):
            seen = codes[sample, : N_TOKENS - N_ROWS + row + 1]
            share = np.array([(seen[seen >= 0] == code).mean() for code in range(5)])
            with np.errstate(divide="ignore", invalid="ignore"):
                expected = np.where(share > 0, found.mass[sample, :, row].numpy() / share, np.nan)
            np.testing.assert_allclose(found.lift[sample, :, row].numpy(), expected, rtol=1e-4)


def test_whole_weights_give_the_same(generator: np.random.Generator) -> None:
    call = a_call(generator)
    key = call.key.repeat_interleave(N_HEADS // N_GROUPS, dim=1)
    assert call.mask is not None
    weights = (call.query @ key.transpose(2, 3) * WIDTH**-0.5).masked_fill(~call.mask, -torch.inf).softmax(-1)
    rows = torch.arange(N_TOKENS - N_ROWS, N_TOKENS).repeat(2, 1)
    reader = RowReader(CODES, rows, chunk_bytes=1 << 20, quantities=EVERYTHING)
    found, expected = reader.of_weights(weights), read(call)
    np.testing.assert_allclose(found.mass.numpy(), expected.mass.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.share.numpy(), expected.share.numpy(), atol=1e-6)
    assert found.contribution is None


def test_an_own_function_is_asked_for_these_rows(generator: np.random.Generator) -> None:
    """One that adds a learned sink to the softmax: no row's masses sum to 1."""
    call = a_call(generator)

    def own(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any) -> Any:
        keys, values = (one.repeat_interleave(N_HEADS // N_GROUPS, dim=1) for one in (key, value))
        scores = query @ keys.transpose(2, 3) * WIDTH**-0.5 + mask
        sink = torch.zeros(*scores.shape[:3], 1)
        weights = torch.cat([scores, sink], dim=-1).softmax(-1)[..., :-1]
        return (weights @ values).transpose(1, 2), weights

    own_call = AttentionCall(call.module, own, "eager", call.query, call.key, call.value, call.mask, {})
    found = read(own_call)
    assert call.mask is not None
    key = call.key.double().repeat_interleave(N_HEADS // N_GROUPS, dim=1)
    scores = (call.query.double() @ key.transpose(2, 3) * WIDTH**-0.5).masked_fill(~call.mask, -torch.inf)
    scores = torch.cat([scores, torch.zeros(*scores.shape[:3], 1)], dim=-1)
    weights = scores.softmax(-1)[:, :, -N_ROWS:, :-1].numpy()
    np.testing.assert_allclose(found.mass.numpy(), masses_of(weights), atol=1e-5)
    assert float(found.mass.sum(-1).max()) < 1.0


def test_an_own_function_of_another_shape_is_refused(generator: np.random.Generator) -> None:
    call = a_call(generator)
    own_call = AttentionCall(
        call.module, lambda *_, **__: (torch.zeros(1), None), "eager", call.query, call.key, call.value, call.mask, {}
    )
    with pytest.raises(NotReadableError, match="Identity: its attention returned"):
        read(own_call)


def test_chunks_are_of_about_the_same_size(monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator) -> None:
    sizes: list[int] = []
    sums = attention_mass._sums

    def counted(weights: Tensor, indicators: Tensor) -> Tensor:
        sizes.append(weights.shape[2])
        return sums(weights, indicators)

    monkeypatch.setattr(attention_mass, "_sums", counted)
    bytes_per_row = 2 * N_HEADS * N_TOKENS * 4
    read(a_call(generator), chunk_bytes=4 * bytes_per_row)
    assert sizes == [3, 2]
