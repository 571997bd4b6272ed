"""Pooled hidden states of captures, against the model's own hidden states of each text alone, however it is fed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from foretell.errors import InputError
from foretell.reading.capture.listen import listen
from foretell.reading.capture.results import Capture
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import cache_argument, cache_from
from foretell.schema.tables import POOLS
from tests.reading import by_hand
from tests.reading.tiny import tiny_model

LENGTHS = ((13, 7), (8, 4), (20, 9), (6, 1))
CHECKPOINTS = (1, 2, 4, 8, None)


def alone(model: Model, token_ids: np.ndarray) -> np.ndarray:
    """`(layer, token, width)` of one unpadded text, as the library returns them; the last one before the final norm."""
    with torch.no_grad():
        output = model.model.model(torch.from_numpy(token_ids)[None], output_hidden_states=True, use_cache=False)
        last = by_hand.capture_residual(model.model, input_ids=torch.from_numpy(token_ids)[None])[-1:, 0]
    between = [one[0].float() for one in output.hidden_states[1:-1]]
    return np.asarray(torch.cat([torch.stack(between), last]).numpy())


def expected(states: np.ndarray, n_prompt: int, n_generated: int, pool: str, first: int | None) -> np.ndarray:
    """`(layer, width)` by definition; nan where there are fewer tokens."""
    if pool == POOLS[0]:
        return states[:, n_prompt - 1]
    answer = states[:, n_prompt : n_prompt + n_generated]
    if (first or 1) > n_generated:
        return np.full_like(states[:, 0], np.nan)
    own = answer[:, :first]
    return np.asarray(own.mean(1) if pool == POOLS[1] else own[:, -1])


def assert_pooled(capture: Capture, sample: int, model: Model, token_ids: np.ndarray, n_prompt: int) -> None:
    """Fail unless all pools of one sample have the states of its text alone."""
    states = alone(model, token_ids)
    for pool in POOLS:
        for first in CHECKPOINTS:
            found = capture.hidden(pool, first)[sample]
            wanted = expected(states, n_prompt, len(token_ids) - n_prompt, pool, first)
            np.testing.assert_allclose(
                found, wanted, atol=2e-5 * max(1.0, np.abs(states).max()), err_msg=f"{pool} {first}"
            )


def text_of(given: by_hand.Text, sample: int) -> tuple[np.ndarray, int]:
    real = given.segments[sample] >= 0
    return given.token_ids[sample].numpy()[real], int((given.segments[sample][real] != 4).sum())


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "mistral", "qwen3"])
def test_given_answers_have_the_states_of_each_text_alone(
    kind: str, side: str, rows: bool, generator: np.random.Generator
) -> None:
    given, model = by_hand.text(generator, LENGTHS, side=side), tiny_model(kind)
    with torch.inference_mode(), listen(model, given.segments, hidden="all", rows=rows) as capture:
        model.model(**given.inputs)
    for sample in range(len(LENGTHS)):
        assert_pooled(capture, sample, model, *text_of(given, sample))


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("chunks", [(13, 1, 2, 4), (5, 5, 10), (12, 8), (1,) * 20])
def test_a_text_fed_in_pieces(chunks: tuple[int, ...], rows: bool, generator: np.random.Generator) -> None:
    """Of prompt and answer together, or token by token."""
    given, model = by_hand.text(generator, ((13, 7), (13, 7))), tiny_model()
    edges = np.cumsum((0, *chunks))
    with listen(model, given.segments, hidden=[0, 2], rows=rows) as capture, torch.no_grad():
        cache = None
        for start, stop in itertools.pairwise(edges.tolist()):
            memory: dict[str, Any] = {} if cache is None else {cache_argument(model.model): cache}
            cache = cache_from(model.model(given.token_ids[:, start:stop], use_cache=True, **memory))
    for sample in range(2):
        states = alone(model, given.token_ids[sample].numpy())[[0, 2]]
        for pool in POOLS:
            for first in (1, 2, 4, None):
                np.testing.assert_allclose(
                    capture.hidden(pool, first)[sample], expected(states, 13, 7, pool, first), atol=1e-3, rtol=1e-4
                )


def generate(model: Model, **options: Any) -> Any:
    network: Any = model.model
    return network.generate(**{"do_sample": False, "eos_token_id": None, "max_new_tokens": 9, **options})


@pytest.mark.parametrize(
    "options",
    [{}, {"cache_implementation": "static", "disable_compile": True}, {"use_cache": False}],
    ids=["held steps", "fixed cache", "no cache"],
)
def test_generated_answers_have_the_states_of_the_finished_text(
    options: dict[str, Any], generator: np.random.Generator
) -> None:
    given, model = by_hand.text(generator, ((11, 0), (7, 0))), tiny_model()
    with listen(model, given.segments, hidden="all") as capture:
        sequences = generate(model, **given.prompts, **options)
    capture.keep([9, 3])
    for sample, n_kept in enumerate((9, 3)):
        real = given.segments[sample] >= 0
        prompt = given.token_ids[sample].numpy()[real]
        token_ids = np.concatenate([prompt, sequences[sample, 11 : 11 + n_kept].numpy()])
        assert_pooled(capture, sample, model, token_ids, len(prompt))


@pytest.mark.parametrize("way", ["assistant", "prompt lookup"])
def test_drafts_that_are_rejected_leave_nothing(way: str, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((14, 0),)), tiny_model()
    options: dict[str, Any] = {"assistant_model": tiny_model(num_hidden_layers=1).model}
    with listen(model, given.segments, hidden="all") as capture:
        sequences = generate(
            model, **given.prompts, **(options if way == "assistant" else {"prompt_lookup_num_tokens": 3})
        )
    assert_pooled(capture, 0, model, sequences[0].numpy(), 14)


def test_a_cache_that_is_cut_back_and_a_text_that_is_fed_again(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 5),)), tiny_model()
    other = given.token_ids.flip(1)
    with torch.no_grad(), listen(model, given.segments, hidden="all", logprob=False) as capture:
        cache = cache_from(model.model(other, use_cache=True))
        cache.crop(-9)
        model.model(given.token_ids[:, 7:], **{cache_argument(model.model): cache}, use_cache=True)
        mixed = torch.cat([other[:, :7], given.token_ids[:, 7:]], dim=1)
    assert_pooled(capture, 0, model, mixed[0].numpy(), 11)
    for rows in (True, False):
        with torch.no_grad(), listen(model, given.segments, hidden="all", rows=rows) as capture:
            model.model(other)
            model.model(given.token_ids)
        assert_pooled(capture, 0, model, given.token_ids[0].numpy(), 11)


def test_a_pass_that_failed_leaves_nothing(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 5),)), tiny_model()

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    for rows in (True, False):
        with torch.no_grad(), listen(model, given.segments, hidden="all", rows=rows) as capture:
            handle = model.model.model.layers[2].mlp.register_forward_hook(fail)
            with pytest.raises(RuntimeError, match="on purpose"):
                model.model(given.token_ids.flip(1))
            handle.remove()
            with pytest.raises(InputError, match="nothing was read"):
                capture.hidden(POOLS[1])
            model.model(given.token_ids)
        assert_pooled(capture, 0, model, given.token_ids[0].numpy(), 9)


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_pooled_in_single(dtype: torch.dtype, rows: bool, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 8),)), tiny_model(dtype=dtype, initializer_range=0.1)
    with torch.no_grad(), listen(model, given.segments, hidden="all", rows=rows) as capture:
        model.model(given.token_ids)
    states = by_hand.capture_residual(model.model, input_ids=given.token_ids)[:, 0].numpy()
    np.testing.assert_array_equal(capture.hidden(POOLS[0])[0], states[:, 8])
    np.testing.assert_array_equal(capture.hidden(POOLS[2])[0], states[:, -1])
    np.testing.assert_allclose(capture.hidden(POOLS[1])[0], states[:, 9:].mean(1), rtol=1e-5, atol=1e-6)


def test_padding_that_is_not_a_number_does_not_count(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 4), (5, 2))), tiny_model()

    def spoil(_: object, __: object, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.masked_fill(torch.from_numpy(given.segments < 0)[..., None], torch.nan)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    model.model.model.layers[-1].register_forward_hook(spoil)
    for rows in (True, False):
        with torch.no_grad(), listen(model, given.segments, hidden=[2], rows=rows, check=False) as capture:
            model.model(**given.inputs)
        assert all(np.isfinite(capture.hidden(pool, first)).all() for pool in POOLS for first in (1, 2, None))


def test_samples_without_answer_or_prompt_have_no_states(generator: np.random.Generator) -> None:
    model, segments = tiny_model(), np.array([[3, 2, 2, 3], [4, 4, 4, 4], [3, 2, 4, 4]])
    token_ids = torch.from_numpy(generator.integers(4, 260, size=segments.shape))
    for rows in (True, False):
        with torch.no_grad(), listen(model, segments, hidden=[1], rows=rows) as capture:
            model.model(token_ids)
        undefined = {pool: np.isnan(capture.hidden(pool)).all((1, 2)).tolist() for pool in POOLS}
        assert undefined == {
            POOLS[0]: [False, True, False],
            POOLS[1]: [True, False, False],
            POOLS[2]: [True, False, False],
        }


def test_states_beside_activity_are_the_same(generator: np.random.Generator) -> None:
    from tests.reading.capture.test_listen import made_up_direction

    given, model = by_hand.text(generator, ((11, 0),)), tiny_model()
    direction = made_up_direction(generator, model.n_layers, model.width)
    with listen(model, given.segments, hidden=[1], directions=[direction]) as both:
        generate(model, **given.prompts)
    with listen(model, given.segments, hidden=[1]) as states:
        generate(model, **given.prompts)
    for pool in POOLS:
        np.testing.assert_array_equal(both.hidden(pool, 4), states.hidden(pool, 4))
    mean = (both.activity[0, 1, 11:, 0] * direction.standard_deviation[1] + direction.mean[1]).mean()
    assert both.hidden(POOLS[1])[0, 0] @ direction.vectors[1] == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ([3], r"there is no layer 3; the model has layers 0 to 2"),
        ([-1], r"there is no layer -1"),
        ([True], r"\[True\] names no layers"),
    ],
)
def test_layers_that_the_model_does_not_have_are_refused(hidden: Any, message: str) -> None:
    model = tiny_model()
    with pytest.raises(InputError, match=message), listen(model, [[3, 4]], hidden=hidden):
        pass


def test_wrong_questions_say_what_can_be_asked(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 5),)), tiny_model()
    with torch.no_grad(), listen(model, given.segments) as bare:
        model.model(given.token_ids)
    with pytest.raises(InputError, match="no hidden states were read; listen with hidden="):
        bare.hidden(POOLS[1])
    with torch.no_grad(), listen(model, given.segments, hidden=range(0, 3, 2)) as capture:
        model.model(given.token_ids)
    assert capture.hidden(POOLS[1]).shape == (1, 2, 32)
    with pytest.raises(InputError, match=r"no pool 'mean'.*last prompt token, mean over answer"):
        capture.hidden("mean")
    with pytest.raises(InputError, match="not after 3"):
        capture.hidden(POOLS[1], 3)
