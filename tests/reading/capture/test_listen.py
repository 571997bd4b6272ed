"""Everything that one pass gives, against the model library's own eager attention, hidden states and logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from foretell.errors import InputError
from foretell.reading.capture.listen import listen
from foretell.reading.models.blocks import decoder_of
from foretell.reading.models.load import Model
from tests.reading import by_hand
from tests.reading.oracle import assert_captured
from tests.reading.tiny import CONFIGURATIONS, tiny_model

LENGTHS = ((13, 7), (8, 4), (20, 9))


@dataclass(frozen=True)
class Direction:
    """A made-up direction."""

    vectors: np.ndarray
    mean: np.ndarray
    standard_deviation: np.ndarray
    concept: str = "made up"


def made_up_direction(generator: np.random.Generator, n_layers: int, width: int) -> Direction:
    vectors = generator.normal(size=(n_layers, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = generator.normal(size=n_layers).astype(np.float32)
    return Direction(vectors, mean, generator.uniform(1, 2, size=n_layers).astype(np.float32))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", sorted(CONFIGURATIONS))
def test_masses_equal_sums_of_eager_attention(kind: str, side: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS, side=side)
    model = tiny_model(kind)
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    expected = by_hand.eager_masses(tiny_model(kind, attention="eager").model, given)
    assert np.abs(capture.mass - expected).max() < 1e-5
    assert list(capture.layers) == list(range(model.n_layers))
    total = capture.mass.sum(-1)
    if kind == "gpt_oss":
        # A learned sink takes its share of every row.
        assert (total < 0.999).any()
        assert (total <= 1 + 1e-6).all()
    else:
        assert np.abs(total - 1).max() < 1e-6


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gpt_neox", "mistral", "gemma3_text"])
def test_eager_models_are_read_through_their_own_function(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    fused, eager = tiny_model(kind), tiny_model(kind, attention="eager")
    with torch.no_grad(), listen(fused, given.segments) as first, listen(eager, given.segments) as second:
        fused.model(**given.inputs)
        eager.model(**given.inputs)
    assert np.abs(first.mass - second.mass).max() < 1e-5
    assert np.nanmax(np.abs(first.lift - second.lift)) < 1e-4


@pytest.mark.parametrize("kind", sorted(CONFIGURATIONS))
def test_logits_are_bit_identical(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model(kind)
    with torch.no_grad():
        before = model.model(**given.inputs).logits
        with listen(model, given.segments):
            during = model.model(**given.inputs).logits
        after = model.model(**given.inputs).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "mistral", "gpt2"])
def test_batch_and_padding_change_nothing(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model(kind)
    direction = made_up_direction(generator, model.n_layers, model.width)
    with torch.no_grad(), listen(model, given.segments, directions=[direction]) as capture:
        model.model(**given.inputs)
    for sample in range(len(LENGTHS)):
        alone = given.alone(sample)
        with torch.no_grad(), listen(model, alone.segments, directions=[direction]) as single:
            model.model(**alone.inputs)
        real = given.segments[sample] >= 0
        assert np.abs(capture.mass[sample] - single.mass[0]).max() < 1e-5
        np.testing.assert_allclose(capture.lift[sample], single.lift[0], atol=1e-4)
        np.testing.assert_allclose(capture.activity[sample][:, real], single.activity[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(capture.logprob[sample][real], single.logprob[0], atol=2e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_one_row_at_a_time_equals_one_chunk(kind: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((300, 60), (250, 80)))
    model = tiny_model(kind)
    with torch.no_grad():
        with listen(model, given.segments, chunk_mib=64) as whole:
            model.model(**given.inputs)
        with listen(model, given.segments, chunk_mib=1) as chunked:
            model.model(**given.inputs)
    assert np.abs(whole.mass - chunked.mass).max() < 1e-6
    np.testing.assert_allclose(whole.lift, chunked.lift, atol=1e-5)
    np.testing.assert_allclose(whole.logprob, chunked.logprob, atol=1e-6)


def test_activity_and_logprob_equal_those_by_hand(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model("qwen2")
    directions = [made_up_direction(generator, model.n_layers, model.width) for _ in range(2)]
    with torch.no_grad(), listen(model, torch.from_numpy(given.segments), directions=directions) as capture:
        model.model(**given.inputs)
    assert capture.activity.shape == (3, model.n_layers, given.segments.shape[1], 2)
    for place, direction in enumerate(directions):
        np.testing.assert_allclose(
            capture.activity[..., place], by_hand.activity(model.model, given, direction), atol=1e-4
        )
    np.testing.assert_allclose(capture.logprob, by_hand.logprobs(model.model, given), atol=1e-5)
    assert np.isnan(capture.logprob[given.segments != 4]).all()


def test_activity_without_deviation_is_undefined(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    direction = made_up_direction(generator, model.n_layers, model.width)
    direction.standard_deviation[:2] = 0, np.nan
    with torch.no_grad(), listen(model, given.segments, directions=[direction]) as capture:
        model.model(**given.inputs)
    assert np.isnan(capture.activity[:, :2]).all()
    assert np.isfinite(capture.activity[:, 2][given.segments == 4]).all()


def test_lift_is_mass_over_share_of_visible_tokens(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 5),))
    model = tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    codes = given.segments[0]
    rows = np.flatnonzero(codes == 4)
    ratio = []
    for place, column in enumerate(rows):
        share = np.array([(codes[: column + 1] == code).mean() for code in range(5)])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio.append(capture.row_mass[0, :, :, place] / share)
    np.testing.assert_allclose(capture.lift[0], np.mean(ratio, axis=0), rtol=1e-5)
    absent = [code for code in range(5) if code not in codes]
    assert np.isnan(capture.lift[..., absent]).all()


def lookback_by_hand(weights: np.ndarray, codes: np.ndarray, n_rows: int | None = None) -> np.ndarray:
    """`(layer, head)` by the definition of Chuang et al. (2024), of eager attention `(layer, head, query, key)`."""
    ratios = []
    for column in np.flatnonzero(codes == 4)[:n_rows]:
        seen = weights[:, :, column, : column + 1]
        visible = (seen > 0).any((0, 1)) & (codes[: column + 1] >= 0)
        of_context = seen[..., visible & (codes[: column + 1] != 4)].mean(-1)
        ratios.append(of_context / (of_context + seen[..., visible & (codes[: column + 1] == 4)].mean(-1)))
    return np.asarray(np.mean(ratios, axis=0))


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_oss", "bloom"])
def test_the_lookback_ratio_equals_that_of_eager_attention(
    kind: str, rows: bool, generator: np.random.Generator
) -> None:
    lengths = ((3, 2), (2, 3)) if kind == "gpt_oss" else LENGTHS  # within its window
    given, model = by_hand.text(generator, lengths), tiny_model(kind)
    with torch.no_grad(), listen(model, given.segments, rows=rows) as capture:
        model.model(**given.inputs)
    with torch.no_grad():
        found = tiny_model(kind, attention="eager").model(**given.inputs, output_attentions=True, use_cache=False)
    weights = torch.stack(found.attentions).numpy()
    for sample, codes in enumerate(given.segments):
        expected = lookback_by_hand(weights[:, sample], codes)
        np.testing.assert_allclose(capture.lookback[sample], expected, atol=1e-5)
        two = lookback_by_hand(weights[:, sample], codes, 2)
        np.testing.assert_allclose(capture.lookback_checkpoints[2][sample], two, atol=1e-5)
    assert list(capture.lookback_checkpoints) == list(capture.checkpoints)


def test_rows_that_see_no_context_have_no_lookback_ratio(generator: np.random.Generator) -> None:
    """Behind a window of six tokens."""
    given, model = by_hand.text(generator, ((4, 9),)), tiny_model("mistral")
    with torch.no_grad(), listen(model, given.segments, rows=False) as capture:
        model.model(**given.inputs)
    with torch.no_grad():
        output = tiny_model("mistral", attention="eager").model(**given.inputs, output_attentions=True, use_cache=False)
    expected = lookback_by_hand(torch.stack(output.attentions)[:, 0].numpy(), given.segments[0], 5)
    np.testing.assert_allclose(capture.lookback[0], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_margin_is_what_the_likeliest_token_leads_by(dtype: torch.dtype, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model(dtype=dtype)
    with torch.no_grad(), listen(model, given.segments, entropy=True) as capture:
        logits = model.model(**given.inputs).logits
    ranked = np.sort(logits.double().softmax(-1).numpy(), axis=-1)
    for sample, column in zip(*np.nonzero(given.segments == 4), strict=True):
        expected = ranked[sample, column - 1, -1] - ranked[sample, column - 1, -2]
        assert capture.margin[sample, column] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(capture.margin[given.segments != 4]).all()
    with torch.no_grad(), listen(model, given.segments) as bare:
        model.model(**given.inputs)
    assert np.isnan(bare.margin).all()


def test_row_masses_average_to_the_mass_and_to_its_beginnings(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert capture.row_mass.shape == (3, 3, 4, 9, 5)
    assert list(capture.n_generated) == [7, 4, 9]
    np.testing.assert_allclose(capture.row_mass[1, :, :, :4].mean(2), capture.mass[1], atol=1e-6)
    assert np.isnan(capture.row_mass[1, :, :, 4:]).all()
    np.testing.assert_allclose(capture.mass_after(2)[0], capture.row_mass[0, :, :, :2].mean(2), atol=1e-6)
    assert np.isnan(capture.mass_after(8)[:2]).all()
    whole = capture.mass.copy()
    capture.keep([2, 4, 0])
    np.testing.assert_allclose(capture.mass[0], capture.row_mass[0, :, :, :2].mean(2), atol=1e-6)
    assert np.isnan(capture.mass[2]).all()
    capture.keep(None)
    np.testing.assert_array_equal(capture.mass, whole)
    with pytest.raises(InputError, match="each of 3 samples"):
        capture.keep([1, 2])


def test_a_text_without_answer_has_no_masses(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 0), (8, 3)))
    model = tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert np.isnan(capture.mass[0]).all()
    assert np.abs(capture.mass[1].sum(-1) - 1).max() < 1e-6


@pytest.mark.parametrize("place", ["lm_head", "model.layers.1.self_attn.o_proj"])
def test_the_model_is_as_before_after_an_exception(place: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    direction = made_up_direction(generator, model.n_layers, model.width)
    registered = set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)

    # The checks of a first use would meet the hook, too; one of the same kind has them behind it.
    wanted: dict[str, Any] = {"directions": [direction], "contribution": True}
    with listen(tiny_model(), given.segments, **wanted):
        pass

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    handle = model.model.get_submodule(place).register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="on purpose"), listen(model, given.segments, **wanted):
        model.model(**given.inputs)
    handle.remove()
    assert type(model.model.config._attn_implementation) is str
    assert model.model.config._attn_implementation == "sdpa"
    assert (set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)) == registered
    assert "generate" not in vars(model.model)
    for module in model.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert np.isfinite(capture.mass).all()


def test_listening_twice_at_once_is_refused(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    with listen(model, given.segments) as capture:
        with pytest.raises(InputError, match="already being listened to"), listen(model.model, given.segments):
            pass
        with torch.no_grad():
            model.model(**given.inputs)
    assert np.isfinite(capture.mass).all()


def test_wrong_calls_say_what_is_wrong(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    for segments, message in (([[0.5]], "integer matrix"), ([0, 1], "integer matrix"), ([[0, 5]], "codes are -1 to 4")):
        with pytest.raises(InputError, match=message), listen(model, np.array(segments)):
            pass
    wrong_number = pytest.raises(InputError, match="segments are for 1 samples, and the model got 3")
    with wrong_number, listen(model, given.segments[:1]):
        model.model(**given.inputs)
    with pytest.raises(InputError, match="at least 1 MiB"), listen(model, given.segments, chunk_mib=0):
        pass
    other = made_up_direction(generator, 2, 8)
    with pytest.raises(InputError, match="do not fit a model"), listen(model, given.segments, directions=[other]):
        pass
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(input_ids=given.token_ids[:, :5], attention_mask=given.attention_mask[:, :5])
    with pytest.raises(InputError, match="the model was given 5"):
        _ = capture.mass


def test_the_decoder_alone_is_read_without_logits(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    with torch.no_grad():
        with listen(model, given.segments) as whole:
            model.model(**given.inputs)
        with listen(model, given.segments) as bare:
            decoder_of(model.model)(**given.inputs)
    np.testing.assert_array_equal(whole.mass, bare.mass)
    assert np.isnan(bare.logprob).all()


def test_gradients_flow_as_without_listening(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    embeddings = model.model.get_input_embeddings()(given.token_ids).detach().requires_grad_()
    with listen(model, given.segments) as capture:
        inputs = {"attention_mask": given.attention_mask, "position_ids": given.inputs["position_ids"]}
        model.model(inputs_embeds=embeddings, **inputs).logits.sum().backward()
    assert embeddings.grad is not None
    assert np.isfinite(capture.mass).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_its_own_eager_attention(dtype: torch.dtype, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model("llama", dtype=dtype, initializer_range=0.1)
    eager = tiny_model("llama", dtype=dtype, attention="eager", initializer_range=0.1)
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert np.abs(capture.mass - by_hand.eager_masses(eager.model, given)).max() < 2e-2
    assert np.abs(capture.mass.sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_double_precision_is_read_too(kind: str, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model(kind, dtype=torch.float64)
    with torch.no_grad(), listen(model, given.segments, contribution=True, entropy=True) as capture:
        model.model(**given.inputs)
    for sample, codes in enumerate(given.segments):
        assert_captured(capture, sample, model, given.token_ids[sample], codes)
    assert np.isfinite(capture.contribution).all()


@pytest.mark.parametrize("kind", ["bloom", "gpt_neo", "diffllama"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_models_that_compute_attention_their_own_way_are_read_too(
    kind: str, side: str, generator: np.random.Generator
) -> None:
    given = by_hand.text(generator, LENGTHS, side=side)
    settings: dict[str, Any] = {"attention_types": [[["global", "local", "global"], 1]], "window_size": 4}
    model, eager = (
        tiny_model(kind, attention=attention, **(settings if kind == "gpt_neo" else {}))
        for attention in (None, "eager")
    )
    inputs = given.prompts if kind == "bloom" else given.inputs
    with torch.no_grad():
        before = model.model(**inputs).logits
        with listen(model, given.segments, entropy=True) as capture:
            during = model.model(**inputs).logits
        attentions = eager.model(**inputs, output_attentions=True, use_cache=False).attentions
    assert torch.equal(before, during)
    for sample, codes in enumerate(given.segments):
        rows = np.stack([one[sample].numpy() for one in attentions])[:, :, codes == 4]
        expected = np.stack([rows[..., codes == code].sum(-1).mean(-1) for code in range(5)], axis=-1)
        assert np.abs(capture.mass[sample] - expected).max() < 1e-5
    assert np.abs(capture.mass.sum(-1) - 1).max() < 1e-5


@pytest.mark.model
def test_smollm2_masses_equal_eager_attention(smollm2: Model, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((60, 30), (25, 12)), n_tokens=40000)
    by_hand.assert_read_exactly(smollm2, given)
