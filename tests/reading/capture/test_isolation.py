"""Only what the caller's own thread or coroutine runs is read; nobody else is disturbed, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, TextIteratorStreamer
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.listen import listen
from foretell.reading.capture.results import Capture
from foretell.reading.models.load import Model
from tests.reading import by_hand
from tests.reading.capture.test_listen import made_up_direction
from tests.reading.tiny import tiny_model

LENGTHS = ((13, 7), (8, 4))
WANTED: dict[str, Any] = {"contribution": True, "entropy": True}


def in_thread(run: Callable[[], object]) -> None:
    """Run in another thread, and raise here what it raises."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def read_alone(model: Model, given: by_hand.Text, **wanted: Any) -> Capture:
    with torch.no_grad(), listen(model, given.segments, **wanted) as capture:
        model.model(**given.inputs)
    return capture


def same(first: Capture, second: Capture) -> None:
    for name in ("mass", "lift", "logprob"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("kind", ["llama", "gemma2", "bloom"])
@pytest.mark.parametrize("part", ["model", "decoder"])
def test_a_pass_of_another_thread_is_not_read(part: str, kind: str, generator: np.random.Generator) -> None:
    given, other = (by_hand.text(generator, LENGTHS) for _ in range(2))
    model = tiny_model(kind)
    network: Any = model.model if part == "model" else model.model.get_decoder()  # type: ignore[no-untyped-call]
    name = "logits" if part == "model" else "last_hidden_state"
    inputs = {**given.prompts, "use_cache": False}
    with torch.no_grad():
        with listen(model, given.segments) as alone:
            model.model(**inputs)
        expected = getattr(network(**other.prompts), name)
        found: list[torch.Tensor] = []
        with listen(model, given.segments) as capture:
            model.model(**inputs)
            in_thread(lambda: found.append(getattr(no_grad_call(network, other), name)))
    assert torch.equal(found[0], expected)
    same(capture, alone)


def no_grad_call(network: Any, given: by_hand.Text) -> Any:
    with torch.no_grad():
        return network(**given.prompts)


def test_passes_of_two_threads_at_the_same_time(generator: np.random.Generator) -> None:
    """A thread that runs the model all the while, also while the block begins and ends, gets its own numbers."""
    given, other = (by_hand.text(generator, LENGTHS) for _ in range(2))
    model = tiny_model("gemma2")
    with torch.no_grad():
        expected = model.model(**other.inputs).logits
    alone = read_alone(model, given, **WANTED)
    stop = threading.Event()
    wrong: list[object] = []

    def run_on() -> None:
        while not stop.is_set():
            try:
                with torch.no_grad():
                    found = model.model(**other.inputs).logits
                if not torch.equal(found, expected):
                    wrong.append(found)
            except Exception as error:  # noqa: BLE001
                wrong.append(error)

    thread = threading.Thread(target=run_on)
    thread.start()
    captures = [read_alone(model, given, **WANTED) for _ in range(8)]
    stop.set()
    thread.join()
    assert not wrong
    for capture in captures:
        same(capture, alone)


def test_the_first_check_of_a_model_disturbs_no_thread(generator: np.random.Generator) -> None:
    other = by_hand.text(generator, LENGTHS)
    model = tiny_model("mistral", rms_norm_eps=1.23e-5)
    with torch.no_grad():
        expected = model.model(**other.inputs).logits
    stop = threading.Event()
    wrong: list[object] = []

    def run_on() -> None:
        while not stop.is_set():
            with torch.no_grad():
                found = model.model(**other.inputs).logits
            if not torch.equal(found, expected):
                wrong.append(found)

    thread = threading.Thread(target=run_on)
    thread.start()
    read_alone(model, other)
    stop.set()
    thread.join()
    assert not wrong


def test_another_coroutine_is_not_read(generator: np.random.Generator) -> None:
    given, other = (by_hand.text(generator, LENGTHS) for _ in range(2))
    model = tiny_model()
    alone = read_alone(model, given)

    async def server() -> torch.Tensor:
        await asyncio.sleep(0)
        with torch.no_grad():
            logits: torch.Tensor = model.model(**other.inputs).logits
        return logits

    async def reader() -> Capture:
        with torch.no_grad(), listen(model, given.segments) as capture:
            model.model(**given.inputs)
            await asyncio.sleep(0.01)
        return capture

    async def both() -> tuple[torch.Tensor, Capture]:
        logits, capture = await asyncio.gather(server(), reader())
        return logits, capture

    logits, capture = asyncio.run(both())
    with torch.no_grad():
        assert torch.equal(logits, model.model(**other.inputs).logits)
    same(capture, alone)


def test_a_thread_that_copies_the_context_is_read(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    alone = read_alone(model, given)
    with listen(model, given.segments) as capture:
        context = contextvars.copy_context()
        in_thread(lambda: context.run(lambda: no_grad_inputs(model, given)))
    same(capture, alone)


def no_grad_inputs(model: Model, given: by_hand.Text) -> None:
    with torch.no_grad():
        model.model(**given.inputs)


def test_a_streamer_in_a_thread_ends_and_says_that_nothing_was_read(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 0),)), tiny_model()
    network: Any = model.model
    with listen(model, given.segments) as capture:
        streamer = TextIteratorStreamer(model.tokenizer, timeout=20)
        options = {**given.prompts, "max_new_tokens": 4, "do_sample": False, "streamer": streamer}
        thread = threading.Thread(target=network.generate, kwargs=options)
        thread.start()
        pieces = list(streamer)
        thread.join()
        with pytest.raises(InputError, match="nothing was read"):
            _ = capture.mass
    assert pieces


def test_a_streamer_in_a_thread_with_the_context_is_read(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((11, 0),)), tiny_model()
    network: Any = model.model
    options = {**given.prompts, "max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    with listen(model, given.segments) as alone:
        network.generate(**options)
    with listen(model, given.segments) as capture:
        streamer = TextIteratorStreamer(model.tokenizer, timeout=20)
        context = contextvars.copy_context()
        run = lambda: context.run(network.generate, **options, streamer=streamer)  # noqa: E731
        thread = threading.Thread(target=run)
        thread.start()
        list(streamer)
        thread.join()
    same(capture, alone)


def test_two_models_of_one_configuration_across_threads(generator: np.random.Generator) -> None:
    """The first block ends while the second is open."""
    given = by_hand.text(generator, LENGTHS)
    first = tiny_model()
    twin: Any = AutoModelForCausalLM.from_config(first.model.config)  # type: ignore[no-untyped-call]
    second = Model(twin.eval(), first.tokenizer, "twin")
    assert first.model.config is second.model.config
    expected = read_alone(second, given)
    entered, left = threading.Event(), threading.Event()
    captures: list[Capture] = []

    def hold_first() -> None:
        with torch.no_grad(), listen(first, given.segments):
            entered.set()
            left.wait(20)
            first.model(**given.inputs)

    thread = threading.Thread(target=hold_first)
    thread.start()
    entered.wait(20)
    with torch.no_grad(), listen(second, given.segments) as capture:
        left.set()
        thread.join()
        second.model(**given.inputs)
        captures.append(capture)
    same(captures[0], expected)
    with torch.no_grad():
        first.model(**given.inputs)
        second.model(**given.inputs)
    assert first.model.config._attn_implementation == "sdpa"
    assert type(first.model.config._attn_implementation) is str


def test_another_model_of_the_same_configuration_is_not_read(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    first = tiny_model()
    twin: Any = AutoModelForCausalLM.from_config(first.model.config)  # type: ignore[no-untyped-call]
    alone = read_alone(first, given)
    with torch.no_grad(), listen(first, given.segments) as capture:
        first.model(**given.inputs)
        twin(**given.inputs)
    same(capture, alone)


def test_two_models_are_read_at_once(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    first, second = tiny_model(), tiny_model("gemma2")
    expected = read_alone(first, given), read_alone(second, given)
    with torch.no_grad(), listen(first, given.segments) as one, listen(second, given.segments) as other:
        second.model(**given.inputs)
        first.model(**given.inputs)
    same(one, expected[0])
    same(other, expected[1])


def test_the_interfaces_and_the_model_are_as_before(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    registered = dict(AttentionInterface._global_mapping), dict(AttentionMaskInterface._global_mapping)
    configurations = {name: vars(module).get("config") for name, module in model.model.named_modules()}
    read_alone(model, given, **WANTED)
    assert (dict(AttentionInterface._global_mapping), dict(AttentionMaskInterface._global_mapping)) == registered
    for name, module in model.model.named_modules():
        assert vars(module).get("config") is configurations[name]
        # The library leaves hooks of its own where hidden states were asked for.
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not [hook for hook in hooks if hook.__module__.startswith("foretell")]
    assert not {"generate", "_get_stopping_criteria", "_update_model_kwargs_for_generation"} & set(vars(model.model))


@pytest.mark.parametrize("generating", [True, False])
def test_a_capture_holds_arrays_and_no_model(generating: bool, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((9, 0 if generating else 5),))
    captures, models = [], []
    for _ in range(3):
        model = tiny_model()
        direction = made_up_direction(generator, model.n_layers, model.width)
        with listen(model, given.segments, directions=[direction], **WANTED) as capture:
            if generating:
                network: Any = model.model
                network.generate(**given.prompts, max_new_tokens=5, do_sample=False)
            else:
                with torch.no_grad():
                    model.model(**given.inputs)
        captures.append(capture)
        models.append(weakref.ref(model.model))
        del model, capture
        if generating:
            del network
    gc.collect()
    assert [one() for one in models] == [None] * 3
    for capture in captures:
        assert np.isfinite(capture.mass).all()
        assert np.isfinite(capture.activity[:, :, capture.generated[0]]).all()


def test_gradient_checkpointing_is_refused_while_training(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    enable: Any = getattr(model.model, "activation_checkpointing_enable", None)
    (enable or model.model.gradient_checkpointing_enable)()
    model.model.train()
    with listen(model, given.segments), pytest.raises(NotReadableError, match="gradient checkpointing"):
        model.model(**given.inputs)
    model.model.train(False)
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert np.isfinite(capture.mass).all()


def test_wrappers_are_refused_by_name(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    wrapped: Any = torch.nn.DataParallel(model.model)
    with pytest.raises(InputError, match=r"not DataParallel; give its \.module"), listen(wrapped, given.segments):
        pass
    with pytest.raises(InputError, match="not Linear"), listen(torch.nn.Linear(2, 2), given.segments):
        pass


def test_a_model_without_weights_is_refused(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    with torch.device("meta"):
        empty: Any = AutoModelForCausalLM.from_config(model.model.config)  # type: ignore[no-untyped-call]
    with pytest.raises(InputError, match="meta device"), listen(empty, given.segments):
        pass


def test_a_pass_inside_a_function_transform_is_refused(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 5), (9, 5))), tiny_model()
    with torch.no_grad(), listen(model, given.segments[:1]):
        model.model(given.token_ids[:1])
        with pytest.raises(NotReadableError, match=r"torch\.func"):
            torch.func.vmap(lambda ids: model.model(ids[None], use_cache=False).logits)(given.token_ids)


def test_a_copied_model_inside_the_block_is_free(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    with torch.no_grad():
        expected = model.model(**given.inputs).logits
        with listen(model, given.segments):
            model.model(**given.inputs)
        copied = copy.deepcopy(model.model)
        assert torch.equal(copied(**given.inputs).logits, expected)


def test_padding_without_its_mask_is_refused(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(given.token_ids)
        with pytest.raises(InputError, match="attend to padding"):
            _ = capture.mass
    for name in ("lift", "contribution", "logprob", "row_mass"):
        with pytest.raises(InputError, match="attention_mask"):
            getattr(capture, name)


@pytest.mark.parametrize("kind", ["llama", "bloom", "gpt_oss", "mistral"])
@pytest.mark.parametrize("rows", [True, False])
def test_padding_is_noticed_in_every_way_of_reading(rows: bool, kind: str, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((9, 4), (6, 4))), tiny_model(kind)
    with torch.no_grad(), listen(model, given.segments, rows=rows) as capture:
        model.model(given.token_ids)
    with pytest.raises(InputError, match="attend to padding"):
        _ = capture.mass


def test_padding_behind_an_answer_needs_no_mask(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS, side="right"), tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(given.token_ids)
    assert np.abs(capture.mass.sum(-1) - 1).max() < 1e-5


def test_segments_that_do_not_speak_of_the_tokens(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, ((5, 0),)), tiny_model()
    network: Any = model.model
    two = np.array([[3, 2]])
    with torch.no_grad(), listen(model, two), pytest.raises(InputError, match="segments are for 2 tokens"):
        model.model(given.token_ids)
    with pytest.raises(InputError, match="segments are for 2 tokens, and the prompts have 5"), listen(model, two):
        network.generate(**given.prompts, max_new_tokens=2)
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(given.token_ids)
        with pytest.raises(InputError, match="no generated token"):
            _ = capture.mass
    with pytest.raises(InputError, match="no generated token"):
        _ = capture.row_mass
    with listen(model, given.segments) as empty:
        pass
    with pytest.raises(InputError, match="nothing was read"):
        _ = empty.mass
