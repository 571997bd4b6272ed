"""What is read belongs to a column of the sequence, and the call itself says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from foretell.errors import ForetellError, InputError, NotReadableError
from foretell.reading.capture.listen import listen
from foretell.reading.models.load import Model
from tests.reading import by_hand
from tests.reading.oracle import assert_captured, oracle
from tests.reading.tiny import tiny_model


def generate(model: Model, **options: Any) -> Any:
    network: Any = model.model
    return network.generate(**{"do_sample": False, "eos_token_id": None, **options})


def whole(given: by_hand.Text, sequences: Tensor, sample: int) -> tuple[Tensor, np.ndarray]:
    n_new = sequences.shape[1] - given.segments.shape[1]
    return sequences[sample], np.pad(given.segments[sample], (0, n_new), constant_values=4)


@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static", "disable_compile": True}])
@pytest.mark.parametrize("n_new", [1, 5, 20])
@pytest.mark.parametrize("samples", [1, 2])
def test_prompts_fed_as_embeddings(
    samples: int, n_new: int, options: dict[str, Any], generator: np.random.Generator
) -> None:
    """Also where the answer outgrows the prompt."""
    given, model = by_hand.text(generator, ((11, 0), (7, 0))[:samples]), tiny_model()
    embeddings = model.model.get_input_embeddings()(given.token_ids).detach() + 0.3
    inputs = {"inputs_embeds": embeddings, "attention_mask": given.attention_mask}
    plain = generate(model, **inputs, max_new_tokens=n_new, **options)
    with listen(model, given.segments) as capture:
        new = generate(model, **inputs, max_new_tokens=n_new, **options)
    assert torch.equal(plain, new)
    sequences = torch.cat([torch.zeros_like(given.token_ids), new], dim=1)
    for sample in range(samples):
        token_ids, codes = whole(given, sequences, sample)
        real = embeddings[sample, torch.from_numpy(given.segments[sample] >= 0)]
        assert_captured(capture, sample, model, token_ids, codes, embeddings=real)


def test_a_mask_that_hides_more_than_padding_is_taken_from_the_call(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((12, 0),)), tiny_model()
    mask = torch.ones_like(given.token_ids)
    mask[0, 2:5] = 0
    with listen(model, given.segments) as capture:
        sequences = generate(model, input_ids=given.token_ids, attention_mask=mask, max_new_tokens=4)
    codes = np.where(mask[0].numpy() == 1, given.segments[0], -1)
    assert_captured(capture, 0, model, sequences[0], np.pad(codes, (0, 4), constant_values=4))
    assert np.abs(capture.mass.sum(-1) - 1).max() < 1e-5


def test_positions_are_taken_from_the_call(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 0),)), tiny_model()
    positions = torch.arange(9)[None] + 40
    with torch.no_grad(), listen(model, given.segments) as capture:
        cache = model.model(given.token_ids, position_ids=positions, use_cache=True).past_key_values
        for place in range(3):
            step = torch.full((1, 1), 50 + place)
            model.model(step, position_ids=positions[:, -1:] + 1 + place, past_key_values=cache, use_cache=True)
        token_ids = torch.cat([given.token_ids, torch.tensor([[50, 51, 52, 53]])], dim=1)
        capture.finish(token_ids)
    assert_captured(capture, 0, model, token_ids[0], np.pad(given.segments[0], (0, 4), constant_values=4))


def step(model: Model, cache: Any, token: int) -> Tensor:
    output = model.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
    logits: Tensor = output.logits
    return logits


@pytest.mark.parametrize("n_back", [1, 2, 5])
@pytest.mark.parametrize("n_before", [6, 40])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_cache_that_is_cut_back(kind: str, n_before: int, n_back: int, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 0),)), tiny_model(kind)
    with torch.no_grad(), listen(model, given.segments, entropy=True) as capture:
        cache = model.model(given.token_ids, use_cache=True).past_key_values
        tokens = [int(token) for token in generator.integers(4, 260, size=n_before)]
        for token in tokens:
            step(model, cache, token)
        cache.crop(-n_back)
        tokens = tokens[: n_before - n_back]
        for token in (77, 99, 120):
            step(model, cache, token)
            tokens.append(token)
    token_ids = torch.cat([given.token_ids[0], torch.tensor(tokens)])
    assert_captured(capture, 0, model, token_ids, np.pad(given.segments[0], (0, len(tokens)), constant_values=4))


def test_a_cache_that_is_cut_back_further_than_logits_are_held(
    monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator
) -> None:
    monkeypatch.setattr("foretell.reading.capture.token_scores._HELD_BYTES", 0)
    given, model = by_hand.text(generator, ((11, 0),)), tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        cache = model.model(given.token_ids, use_cache=True).past_key_values
        for token in (5, 6, 7):
            step(model, cache, token)
        cache.crop(-2)
        with pytest.raises(InputError, match="cut back to 12 tokens"):
            step(model, cache, 8)
    assert capture is not None


def test_a_cache_that_is_cut_back_into_a_given_answer(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 6),)), tiny_model()
    with torch.no_grad(), listen(model, given.segments):
        cache = model.model(given.token_ids, use_cache=True).past_key_values
        cache.crop(-3)
        with pytest.raises(InputError, match="cut back to 14 tokens"):
            step(model, cache, 8)
    with torch.no_grad(), listen(model, given.segments, logprob=False) as capture:
        cache = model.model(given.token_ids, use_cache=True).past_key_values
        cache.crop(-3)
        for token in (8, 9, 10):
            step(model, cache, token)
    token_ids = torch.cat([given.token_ids[0, :-3], torch.tensor([8, 9, 10])])
    assert np.abs(capture.mass[0] - oracle(model, token_ids, given.segments[0]).mass).max() < 1e-5


def test_rows_that_are_added_up_cannot_be_taken_back(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 0),)), tiny_model()
    with torch.no_grad(), listen(model, given.segments, rows=False):
        cache = model.model(given.token_ids, use_cache=True).past_key_values
        step(model, cache, 5)
        step(model, cache, 6)
        cache.crop(-1)
        with pytest.raises(InputError, match="listen with rows=True"):
            step(model, cache, 8)


@pytest.mark.parametrize("n_new", [2, 9])
@pytest.mark.parametrize("way", ["assistant", "prompt lookup"])
def test_drafts_that_are_rejected(way: str, n_new: int, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((14, 0),)), tiny_model()
    if way == "assistant":
        assistant = tiny_model(num_hidden_layers=1).model
        options: dict[str, Any] = {"assistant_model": assistant}
    else:
        options = {"prompt_lookup_num_tokens": 3}
    plain = generate(model, **given.prompts, max_new_tokens=n_new)
    with listen(model, given.segments) as capture:
        sequences = generate(model, **given.prompts, max_new_tokens=n_new, **options)
    assert torch.equal(plain, sequences)
    assert_captured(capture, 0, model, *whole(given, sequences, 0))


def test_an_early_exit_is_refused(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((14, 0),)), tiny_model()
    options = {"assistant_early_exit": 1, "max_new_tokens": 4}
    with pytest.raises(ForetellError, match="early exit"), listen(model, given.segments):
        generate(model, **given.prompts, **options)


def test_blocks_that_are_skipped_in_some_passes_are_refused(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 4),)), tiny_model()
    layers = model.model.model.layers
    with torch.no_grad(), listen(model, given.segments):
        cache = model.model(given.token_ids, use_cache=True).past_key_values
        model.model.model.layers = layers[:2]
        model.model.model.config.num_hidden_layers = 2
        with pytest.raises(NotReadableError, match="block 2 was not run in every pass"):
            step(model, cache, 9)
    model.model.model.layers = layers


def test_a_second_text_within_one_call_is_refused(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((14, 0),)), tiny_model()
    with pytest.raises(InputError, match="a second text"), listen(model, given.segments):
        generate(model, **given.prompts, max_new_tokens=4, guidance_scale=1.5)


class Aside(LogitsProcessor):
    """Feeds the model something else between two steps."""

    def __init__(self, ask: Callable[[Tensor], object]) -> None:
        self.ask = ask

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self.ask(input_ids)
        return scores


@pytest.mark.parametrize("longer", [False, True])
def test_a_pass_between_two_steps_is_refused(longer: bool, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((14, 0),)), tiny_model()

    def ask(input_ids: Tensor) -> object:
        other = input_ids.flip(1)
        return model.model(torch.cat([other, other], dim=1) if longer else other)

    with pytest.raises(InputError, match="a second text"), listen(model, given.segments):
        generate(model, **given.prompts, max_new_tokens=4, logits_processor=LogitsProcessorList([Aside(ask)]))


@pytest.mark.parametrize("n_new", [1, 2, 5])
@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static", "disable_compile": True}])
def test_beams_are_refused_at_every_length(n_new: int, options: Any, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 0), (7, 0))), tiny_model()
    segments = np.repeat(given.segments, 2, axis=0)
    for settings in ({"num_beams": 2}, {"num_beams": 2, "num_return_sequences": 2}):
        with pytest.raises(InputError, match="num_beams=2"), listen(model, segments):
            generate(model, **given.prompts, max_new_tokens=n_new, **settings, **options)


def test_several_answers_per_prompt_are_read(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 0), (7, 0))), tiny_model()
    segments = np.repeat(given.segments, 2, axis=0)
    options = {"max_new_tokens": 5, "do_sample": True, "temperature": 2.0, "num_return_sequences": 2}
    torch.manual_seed(1)
    with listen(model, segments) as capture:
        sequences = generate(model, **given.prompts, **options)
    for sample in range(4):
        codes = np.pad(segments[sample], (0, 5), constant_values=4)
        assert_captured(capture, sample, model, sequences[sample], codes)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "mistral"])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("moved_after", [0, 1, 3])
def test_samples_that_change_places_in_a_cache(
    moved_after: int, cache: str, kind: str, generator: np.random.Generator
) -> None:
    from transformers import StaticCache

    given, model = by_hand.text(generator, ((11, 0), (11, 0))), tiny_model(kind)
    memory: Any = StaticCache(config=model.model.config, max_cache_len=30) if cache == "static" else None
    with torch.no_grad(), listen(model, given.segments):
        output = model.model(**given.prompts, past_key_values=memory, use_cache=True)
        memory = output.past_key_values
        mask = given.attention_mask

        def write(number: int) -> None:
            longer = torch.nn.functional.pad(mask, (0, number + 1), value=1)
            model.model(torch.full((2, 1), 7 + number), attention_mask=longer, past_key_values=memory, use_cache=True)

        for number in range(moved_after):
            write(number)
        memory.reorder_cache(torch.tensor([1, 0]))
        with pytest.raises(InputError, match="changed places"):
            write(moved_after)


def test_tokens_that_changed_places_are_refused_when_finishing(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 0), (11, 0))), tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        cache = model.model(**given.prompts, use_cache=True).past_key_values
        model.model(torch.tensor([[7], [8]]), past_key_values=cache, use_cache=True)
        token_ids = torch.cat([given.token_ids, torch.tensor([[8, 9], [7, 9]])], dim=1)
        with pytest.raises(InputError, match="not the tokens that the model was given"):
            capture.finish(token_ids)


def test_half_a_pass_leaves_nothing(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 5), (7, 3))), tiny_model()

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    handle = None
    with torch.no_grad(), listen(model, given.segments) as capture:
        handle = model.model.model.layers[1].mlp.register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            model.model(**given.inputs)
        handle.remove()
        with pytest.raises(InputError, match="nothing was read"):
            _ = capture.mass
    with pytest.raises(InputError, match="nothing was read"):
        _ = capture.logprob


def test_a_step_that_failed_is_not_read(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 0),)), tiny_model()

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    with torch.no_grad(), listen(model, given.segments) as capture:
        cache = model.model(given.token_ids, use_cache=True).past_key_values
        step(model, cache, 5)
        handle = model.model.model.layers[2].mlp.register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            step(model, cache, 6)
        handle.remove()
        assert list(capture.n_generated) == [1]
        cache.crop(-1)
        step(model, cache, 7)
    token_ids = torch.cat([given.token_ids[0], torch.tensor([5, 7])])
    assert_captured(capture, 0, model, token_ids, np.pad(given.segments[0], (0, 2), constant_values=4))


@pytest.mark.parametrize("whole_model", [True, False])
def test_tuples_are_read_like_dictionaries(whole_model: bool, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 5), (7, 3))), tiny_model()
    part: Any = model.model if whole_model else model.model.model
    with torch.no_grad(), listen(model, given.segments) as capture:
        part(**given.inputs, return_dict=False)
    with torch.no_grad(), listen(model, given.segments) as named:
        part(**given.inputs)
    np.testing.assert_array_equal(capture.mass, named.mass)
    np.testing.assert_array_equal(capture.logprob, named.logprob)
    if whole_model:
        assert np.isfinite(capture.logprob[given.segments == 4]).all()


def test_a_loss_beside_the_logits_of_a_tuple(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 5),)), tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs, labels=given.token_ids, return_dict=False)
    np.testing.assert_allclose(capture.logprob, by_hand.logprobs(model.model, given), atol=1e-5)


@pytest.mark.parametrize("kept", [2, 6, torch.tensor([8, 9, 10, 11, 12])])
def test_logits_of_some_positions_only(kept: Any, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 5),)), tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs, logits_to_keep=kept)
    expected = by_hand.logprobs(model.model, given)
    known = np.isfinite(capture.logprob)
    assert known.sum() == (1 if isinstance(kept, int) and kept == 2 else 5)
    np.testing.assert_allclose(capture.logprob[known], expected[known], atol=1e-5)
