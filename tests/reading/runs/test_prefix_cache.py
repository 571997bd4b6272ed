"""Answers to one prompt, read together with the prompt fed once, give the numbers of each text read whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from transformers import DynamicCache, StaticCache

from foretell.conversations.conversation import Conversation, Message
from foretell.reading.chat.spans import Rendered, render
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import cache_argument
from foretell.reading.runs import answers as answering
from foretell.reading.runs.answers import Sampling, force, generate
from foretell.reading.runs.prefix_cache import common_beginning, first_tokens, prompts_once, shareable_tokens
from foretell.reading.runs.read import read
from foretell.storage.answered import Answered
from tests.directions.test_direction import direction_for
from tests.reading.tiny import tiny_model

ANSWERS = ("A river.", "It is a long and winding river, they say.", "No.")


def texts(model: Model, answers: tuple[str, ...] = ANSWERS) -> list[Rendered]:
    asked = Conversation("one", "own", (Message("user", "Describe a river in few words."),))
    return [render(model, asked, answer=answer) for answer in answers]


def same(one: Answered, other: Answered, tolerance: float = 1e-5) -> None:
    for name in ("mass", "contribution", "entropy", "activity", "token_entropy", "logprob", "margin", "lookback"):
        values, expected = getattr(one, name), getattr(other, name)
        # Entropies, scores of directions and log-probabilities are not bounded by 1: their size counts.
        size = max(1.0, float(np.nanmax(np.abs(expected), initial=0.0)))
        np.testing.assert_allclose(values, expected, atol=tolerance * size, rtol=0, err_msg=name)
    np.testing.assert_allclose(one.lift, other.lift, atol=10 * tolerance, rtol=10 * tolerance)
    assert list(one.checkpoints) == list(other.checkpoints)


def shapes_fed(model: Model) -> tuple[list[tuple[int, ...]], torch.utils.hooks.RemovableHandle]:
    """Shapes of what the embedding is given, as it is given them."""
    shapes: list[tuple[int, ...]] = []
    embedding = model.model.get_input_embeddings()
    handle = embedding.register_forward_hook(lambda _, given, __: shapes.append(tuple(given[0].shape)))
    return shapes, handle


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gpt_neox"])
def test_a_shared_prompt_changes_nothing(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_model(kind, dtype=dtype)
    together = texts(model)
    n_tokens = together[0].n_prompt_tokens - 1
    assert shareable_tokens(model, together) == n_tokens
    wanted: dict[str, Any] = {
        "detail": True,
        "directions": [direction_for(model, np.random.default_rng(5), undefined=None)],
    }
    alone = [force(model, [item], **wanted)[0] for item in together]
    shapes, handle = shapes_fed(model)
    for one, other in zip(force(model, together, **wanted), alone, strict=True):
        same(one, other, tolerance)
    handle.remove()
    longest = max(len(item.token_ids) for item in together[1:])
    assert shapes == [(1, len(together[0].token_ids)), (2, longest - n_tokens)]


@pytest.mark.parametrize("kind", ["mistral", "gemma2"])
def test_models_with_windows_read_each_text_whole(kind: str) -> None:
    model = tiny_model(kind)
    together = texts(model)
    assert shareable_tokens(model, together) == 0
    for one, item in zip(force(model, together, detail=True), together, strict=True):
        same(one, force(model, [item], detail=True)[0])


def test_a_memory_that_the_library_cannot_make_from_the_configuration_is_not_shared() -> None:
    model = tiny_model()
    together = texts(model)
    model.model.config.layer_types = ["heavily_compressed_attention"] * model.n_layers
    assert shareable_tokens(model, together) == 0


def test_a_model_that_returns_no_memory_reads_the_others_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    together = texts(model)
    alone = [force(model, [item], detail=True)[0] for item in together]
    own = model.model.forward

    def forgetful(**options: object) -> object:
        output = own(**options)
        setattr(output, cache_argument(model.model), None)
        return output

    monkeypatch.setattr(model.model, "forward", forgetful)
    for one, other in zip(force(model, together, detail=True), alone, strict=True):
        same(one, other)


def test_a_model_that_calls_its_memory_by_the_name_of_another_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that comes with weights keeps an old name, or has a new one before the library does."""
    model = tiny_model()
    together = texts(model)
    expected = force(model, together, detail=True)
    own, name = model.model.forward, cache_argument(model.model)

    def older(input_ids: Any, attention_mask: Any = None, past_key_values: Any = None, **options: Any) -> Any:
        return own(input_ids, attention_mask=attention_mask, **options, **{name: past_key_values})

    def newer(input_ids: Any, attention_mask: Any = None, cache: Any = None, **options: Any) -> Any:
        return own(input_ids, attention_mask=attention_mask, **options, **{name: cache})

    monkeypatch.setattr(model.model, "forward", older if name == "cache" else newer)
    assert cache_argument(model.model) != name
    shapes, handle = shapes_fed(model)
    for one, other in zip(force(model, together, detail=True), expected, strict=True):
        same(one, other)
    handle.remove()
    assert shapes[-1][1] < len(together[-1].token_ids)


@pytest.mark.parametrize("cache", [None, (torch.zeros(1),), StaticCache, DynamicCache])
def test_only_a_plain_memory_of_all_common_tokens_is_looked_at(cache: object) -> None:
    model = tiny_model()
    if isinstance(cache, type):
        cache = cache(model.model.config, max_cache_len=8) if cache is StaticCache else cache(config=model.model.config)
    assert first_tokens(cache, 4, n_samples=2) is None


def test_only_what_is_common_in_tokens_and_segments_is_shared() -> None:
    model = tiny_model()
    first, second = texts(model, ANSWERS[:2])
    other = Conversation("two", "own", (Message("user", "Describe a river, please."),))
    third = render(model, other, answer="Yes.")
    n_same = int(np.argmax(first.token_ids[: third.n_prompt_tokens] != third.token_ids[: third.n_prompt_tokens]))
    assert common_beginning([first]) == 0
    assert common_beginning([first, third]) == n_same
    codes = second.segments.copy()
    codes[20] = 1 if codes[20] != 1 else 2
    assert common_beginning([first, dataclasses.replace(second, segments=codes)]) == 20
    codes[3] = 1 if codes[3] != 1 else 2
    assert common_beginning([first, dataclasses.replace(second, segments=codes)]) == 0


def test_a_beginning_that_saves_few_tokens_is_not_shared() -> None:
    model = tiny_model()
    asked = [
        Conversation("one", "own", (Message("user", "Describe a river. " + rest),)) for rest in ("a " * 9, "b " * 9)
    ]
    short, long = ([render(model, one, answer=answer) for one in asked] for answer in ("Yes.", "No, never. " * 40))
    n_tokens = common_beginning(short)
    assert n_tokens == common_beginning(long)
    assert n_tokens >= 16
    assert shareable_tokens(model, short) == n_tokens
    assert shareable_tokens(model, long) == 0


def test_a_run_reads_answers_to_one_prompt_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    asked = (Message("user", "Describe a river in few words."),)
    samples = [Conversation(f"sample-{index}", "own", asked, answer) for index, answer in enumerate(ANSWERS)]
    samples.append(Conversation("other", "own", (Message("user", "Say something else."),), "Fine."))
    shared: list[int] = []

    def noticed(given: Model, rendered: list[Rendered]) -> int:
        shared.append(shareable_tokens(given, rendered))
        return shared[-1]

    monkeypatch.setattr(answering, "shareable_tokens", noticed)
    together = read(model, samples, progress=False)
    assert sorted(value > 16 for value in shared) == [False, True]
    alone = pl.concat([read(model, [sample], progress=False).attention for sample in samples])
    assert_frame_equal(together.attention, alone.sort("id", "layer", "head"), abs_tol=1e-5, rel_tol=1e-4)


def prompts(model: Model) -> list[Rendered]:
    """Three prompts of unequal length: the longest three times, the next twice and the shortest once, in no order."""
    asked = ["Describe a river in few words.", "Describe the sea.", "Tell me how a long river finds its way."]
    order = [2, 0, 2, 1, 0, 2]
    messages = [Conversation(f"c{place}", "own", (Message("user", asked[one]),)) for place, one in enumerate(order)]
    return [render(model, one, answer=None) for one in messages]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gpt_neox", "bloom", "mistral", "gemma2"])
def test_many_samples_of_one_prompt_are_written_as_if_each_was_fed(
    kind: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(kind)
    rendered = prompts(model)
    width = max(len(one.token_ids) for one in rendered)
    sampling = Sampling(max_new_tokens=7, temperature=temperature, seed=3)
    generate(model, rendered[:1], sampling=Sampling(max_new_tokens=1), detail=True)  # with the model's self-check
    shapes, handle = shapes_fed(model)
    shared = generate(model, rendered, sampling=sampling, detail=True)
    handle.remove()
    plain = kind not in ("mistral", "gemma2")
    assert shapes[:2] == ([(3, width - 1), (6, 1)] if plain else [(6, width), (6, 1)])
    monkeypatch.setattr(answering, "prompts_once", lambda *_: None)
    for one, other in zip(shared, generate(model, rendered, sampling=sampling, detail=True), strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        same(one, other)


def test_prompts_that_differ_are_fed_as_they_are() -> None:
    model = tiny_model()
    rendered = prompts(model)[2:5]
    generate(model, rendered, sampling=Sampling(max_new_tokens=1))
    shapes, handle = shapes_fed(model)
    generate(model, rendered, sampling=Sampling(max_new_tokens=2))
    handle.remove()
    assert shapes[0] == (3, max(len(one.token_ids) for one in rendered))
    assert prompts_once(model, torch.ones(4, 5, dtype=torch.long), torch.ones(4, 5, dtype=torch.long)) is None
