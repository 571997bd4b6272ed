"""Contribution and entropies against slow definitions from whole eager attention matrices, values and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import InputError
from foretell.reading.capture.listen import Capture, listen
from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.load import Model
from tests.reading import by_hand
from tests.reading.tiny import tiny_model

LENGTHS = ((13, 7), (8, 4), (20, 9))
WANTED: dict[str, Any] = {"contribution": True, "entropy": True}


def eager_attention(model: PreTrainedModel, given: by_hand.Text) -> np.ndarray:
    with torch.no_grad():
        attentions = model(**given.inputs, output_attentions=True, use_cache=False).attentions
    return np.stack([one.float().numpy() for one in attentions], axis=1)


def values_and_projections(model: PreTrainedModel, given: by_hand.Text) -> tuple[np.ndarray, np.ndarray]:
    """`(layer, sample, key head, token, width)` values, and `(layer, head, width, out)` output projections."""
    values: list[np.ndarray] = []
    projections: list[np.ndarray] = []
    n_heads = int(model.config.num_attention_heads)

    def keep(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        split = output.chunk(3, dim=-1)[2] if hasattr(module, "nf") else output
        width = int(getattr(model.config, "head_dim", None) or model.config.hidden_size // n_heads)
        values.append(split.unflatten(-1, (-1, width)).transpose(1, 2).float().numpy())  # type: ignore[no-untyped-call]

    handles = []
    for block in decoder_blocks(model):
        attention = block.get_submodule("attn" if hasattr(block, "attn") else "self_attn")
        source = attention.get_submodule("c_attn" if hasattr(attention, "c_attn") else "v_proj")
        handles.append(source.register_forward_hook(keep))
        if hasattr(attention, "c_proj"):
            matrix = torch.as_tensor(attention.get_submodule("c_proj").weight).detach().float().numpy()
        else:
            matrix = torch.as_tensor(attention.get_submodule("o_proj").weight).detach().float().numpy().T
        projections.append(matrix.reshape(n_heads, -1, matrix.shape[1]))
    with torch.no_grad():
        model(**given.inputs, use_cache=False)
    for handle in handles:
        handle.remove()
    return np.stack(values), np.stack(projections)


def slow_contribution(weights: np.ndarray, values: np.ndarray, projections: np.ndarray, codes: np.ndarray) -> Any:
    """`(layer, head, segment)` of one sample, by writing each segment's values through each head."""
    n_layers, n_heads = weights.shape[:2]
    found = np.zeros((n_layers, n_heads, 5))
    for layer in range(n_layers):
        for head in range(n_heads):
            own = values[layer, head * values.shape[1] // n_heads].astype(np.float64)
            rows = []
            for row in np.flatnonzero(codes == 4):
                norms = []
                for code in range(5):
                    mixed = (weights[layer, head, row] * (codes == code)).astype(np.float64) @ own
                    norms.append(np.linalg.norm(mixed @ projections[layer, head].astype(np.float64)))
                rows.append(np.array(norms) / np.sum(norms))
            found[layer, head] = np.mean(rows, axis=0)
    return found


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "gemma2", "qwen3"])
def test_contribution_equals_its_slow_definition(kind: str, side: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS, side=side)
    model, eager = tiny_model(kind), tiny_model(kind, attention="eager").model
    with torch.no_grad(), listen(model, given.segments, **WANTED) as capture:
        model.model(**given.inputs)
    weights = eager_attention(eager, given)
    values, projections = values_and_projections(eager, given)
    assert list(capture.projected) == list(capture.layers)
    for sample, codes in enumerate(given.segments):
        expected = slow_contribution(weights[sample], values[:, sample], projections, codes)
        assert np.abs(capture.contribution[sample] - expected).max() < 1e-5
    assert np.abs(capture.contribution.sum(-1) - 1).max() < 1e-5
    assert np.abs(capture.contribution - capture.mass).max() > 0.05


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_oss", "bloom", "gpt_neox"])
def test_entropies_equal_their_slow_definitions(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model, eager = tiny_model(kind), tiny_model(kind, attention="eager").model
    inputs = given.prompts if kind == "bloom" else given.inputs
    with torch.no_grad(), listen(model, given.segments, entropy=True) as capture:
        model.model(**inputs)
    with torch.no_grad():
        output = eager(**inputs, output_attentions=True, use_cache=False)
    chances = output.logits.double().softmax(-1)
    for sample, codes in enumerate(given.segments):
        rows = torch.stack([one[sample].double() for one in output.attentions])[:, :, torch.from_numpy(codes == 4)]
        shares = rows / rows.sum(-1, keepdim=True)
        expected = torch.special.entr(shares).sum(-1).mean(-1).numpy()
        assert np.abs(capture.entropy[sample] - expected).max() < 1e-5
        for column in np.flatnonzero(codes == 4):
            spread = torch.special.entr(chances[sample, column - 1]).sum().item()
            assert abs(capture.token_entropy[sample, column] - spread) < 1e-4
    assert np.isnan(capture.token_entropy[given.segments != 4]).all()
    assert (capture.entropy > 0).all()


def same(first: Capture, second: Capture, sample: int | slice = slice(None)) -> None:
    for name in ("mass", "contribution", "entropy"):
        assert np.abs(getattr(first, name)[sample] - getattr(second, name)).max() < 1e-5, name


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_batch_padding_and_chunks_change_nothing(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((300, 40), (220, 60)))
    model = tiny_model(kind)
    with torch.no_grad():
        with listen(model, given.segments, **WANTED) as capture:
            model.model(**given.inputs)
        with listen(model, given.segments, **WANTED, chunk_mib=1) as chunked:
            model.model(**given.inputs)
        same(capture, chunked)
        for sample in range(2):
            alone = given.alone(sample)
            with listen(model, alone.segments, **WANTED) as single:
                model.model(**alone.inputs)
            same(capture, single, slice(sample, sample + 1))


def test_masses_with_and_without_the_rest_are_the_same(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    for kind in ("llama", "mistral", "gpt_oss", "gpt2"):
        model = tiny_model(kind)
        with torch.no_grad():
            before = model.model(**given.inputs).logits
            with listen(model, given.segments) as plain:
                model.model(**given.inputs)
            with listen(model, given.segments, **WANTED) as capture:
                during = model.model(**given.inputs).logits
        assert torch.equal(before, during)
        assert np.abs(plain.mass - capture.mass).max() < 1e-5
        np.testing.assert_allclose(plain.lift, capture.lift, atol=1e-4)
        assert np.isnan(plain.contribution).all()
        assert np.isnan(plain.entropy).all()


def test_generated_equals_teacher_forced(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((11, 0), (6, 0)))
    model = tiny_model()
    with listen(model, given.segments, **WANTED) as capture:
        sequences = model.model.generate(**given.prompts, max_new_tokens=7, do_sample=False, eos_token_id=None)  # type: ignore[operator]
    whole = by_hand.Text(sequences, np.pad(given.segments, ((0, 0), (0, 7)), constant_values=4))
    with torch.no_grad(), listen(model, whole.segments, **WANTED) as forced:
        model.model(**whole.inputs)
    same(capture, forced)
    np.testing.assert_allclose(capture.token_entropy, forced.token_entropy, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt_oss", "bloom"])
def test_rows_added_up_give_the_means_of_rows_kept(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model(kind)
    inputs = given.prompts if kind == "bloom" else given.inputs
    wanted: dict[str, Any] = {"entropy": True, "contribution": kind != "bloom"}
    with torch.no_grad():
        with listen(model, given.segments, **wanted) as kept:
            model.model(**inputs)
        with listen(model, given.segments, **wanted, rows=False) as added:
            model.model(**inputs)
    for name in ("mass", "lift", "contribution", "entropy"):
        np.testing.assert_allclose(getattr(added, name), getattr(kept, name), atol=2e-5)
    for n_tokens in (1, 2, 4, 8):
        np.testing.assert_allclose(added.mass_after(n_tokens), kept.mass_after(n_tokens), atol=1e-6)
    assert np.isnan(added.mass_after(8)[:2]).all()
    assert np.isfinite(added.mass_after(8)[2]).all()
    for wrong in (lambda: added.mass_after(3), lambda: added.row_mass, lambda: added.keep([1, 1, 1])):
        with pytest.raises(InputError, match="rows were not kept"):
            wrong()


def test_generating_needs_rows(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((11, 0),))
    model = tiny_model()
    with pytest.raises(InputError, match="rows=True"), listen(model, given.segments, rows=False):
        model.model.generate(**given.prompts, max_new_tokens=2)  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype: torch.dtype, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    settings: dict[str, Any] = {"initializer_range": 0.1}
    half, whole = (tiny_model("llama", dtype=one, **settings) for one in (dtype, torch.float32))
    half.model.load_state_dict({name: value.to(dtype) for name, value in whole.model.state_dict().items()})
    with (
        torch.no_grad(),
        listen(half, given.segments, **WANTED) as rough,
        listen(whole, given.segments, **WANTED) as fine,
    ):
        half.model(**given.inputs)
        whole.model(**given.inputs)
    assert np.abs(rough.contribution - fine.contribution).max() < 2e-2
    assert np.abs(rough.entropy - fine.entropy).max() < 2e-2


@pytest.mark.model
def test_smollm2_contribution_equals_its_slow_definition(smollm2: Model, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((30, 6),), n_tokens=40000)
    with torch.no_grad(), listen(smollm2, given.segments, **WANTED) as capture:
        smollm2.model(**given.inputs)
    smollm2.model.set_attn_implementation("eager")
    try:
        weights = eager_attention(smollm2.model, given)
        values, projections = values_and_projections(smollm2.model, given)
    finally:
        smollm2.model.set_attn_implementation("sdpa")
    expected = slow_contribution(weights[0], values[:, 0], projections, given.segments[0])
    assert np.abs(capture.contribution[0] - expected).max() < 1e-5
