"""Samples that cannot be read are rows with a reason, whatever it is; the others have the numbers they have alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from polars.testing import assert_frame_equal

from foretell.conversations.conversation import Conversation, Message
from foretell.errors import UnfinishedError
from foretell.jobs.reading_settings import Sampling
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import generate
from foretell.reading.runs.read import read
from tests.reading.tiny import tiny_model

NOUNS = ("river", "cat", "old wooden house", "train", "lamp", "ship")
GIVEN = [Conversation(noun, "own", (Message("user", f"Describe a {noun}."),), f"The {noun} is here.") for noun in NOUNS]
POISON = tiny_model("llama").tokenizer.convert_tokens_to_ids("~")


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


def poisoned(name: str = "poison") -> Conversation:
    return Conversation(name, "own", (Message("user", "Describe it."),), "A ~ b.")


@contextmanager
def failing(model: Model, when: Callable[[torch.Tensor], bool], error: BaseException) -> Iterator[list[int]]:
    """A model that raises at some token ids; yields how many samples each forward pass had."""
    sizes: list[int] = []

    def before(_: object, __: object, options: dict[str, Any]) -> None:
        ids = options["input_ids"]
        sizes.append(len(ids))
        if when(ids):
            raise error

    handle = model.model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield sizes
    finally:
        handle.remove()


def holds_poison(ids: torch.Tensor) -> bool:
    return bool(torch.isin(ids, torch.as_tensor(POISON)).any())


ERRORS = {
    "out of memory: with this sample alone (CUDA out of memory)": torch.OutOfMemoryError("CUDA out of memory"),
    "out of memory: with this sample alone (DefaultCPUAllocator: can't allocate memory)": RuntimeError(
        "DefaultCPUAllocator: can't allocate memory"
    ),
    "out of memory: with this sample alone (MemoryError)": MemoryError(),
    "model error: IndexError: index out of range in self": IndexError("index out of range in self"),
}


@pytest.mark.parametrize("reason", list(ERRORS))
def test_a_sample_that_fails_is_a_row_and_the_others_have_their_numbers(model: Model, reason: str) -> None:
    alone = read(model, GIVEN, progress=False)
    with failing(model, holds_poison, ERRORS[reason]):
        run = read(model, [*GIVEN[:3], poisoned(), *GIVEN[3:]], progress=False)
    assert run.finished
    assert dict(run.samples.select("id", "reason").drop_nulls().rows()) == {"poison": reason}
    assert run.samples.filter(id="poison")["answer"].to_list() == ["A ~ b."]
    for table in ("attention", "tokens", "checkpoints"):
        assert_frame_equal(getattr(run, table), getattr(alone, table), abs_tol=1e-5, rel_tol=1e-4)


@pytest.mark.parametrize("answers", ["given", "generate"])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(model: Model, answers: Any, most: int) -> None:
    options: dict[str, Any] = {"answers": answers, "max_new_tokens": 5, "temperature": 1.0, "seed": 3}
    whole = read(model, GIVEN, progress=False, **options)
    with failing(model, lambda ids: len(ids) > most, torch.OutOfMemoryError("CUDA out of memory")) as sizes:
        halved = read(model, GIVEN, progress=False, **options)
    assert max(sizes) > most
    assert halved.samples["reason"].null_count() == len(GIVEN)
    assert halved.samples["answer"].to_list() == whole.samples["answer"].to_list()
    for table in ("attention", "tokens"):
        assert_frame_equal(getattr(halved, table), getattr(whole, table), abs_tol=1e-5, rel_tol=1e-4)


def test_what_is_drawn_of_a_sample_does_not_depend_on_its_batch(model: Model) -> None:
    options: dict[str, Any] = {"answers": "generate", "max_new_tokens": 8, "temperature": 1.3, "progress": False}
    together = dict(read(model, GIVEN, **options).samples.select("id", "answer").rows())
    for batch_tokens in (1, 100):
        apart = read(model, GIVEN[::-1], batch_tokens=batch_tokens, **options)
        assert dict(apart.samples.select("id", "answer").rows()) == together
    assert len(set(together.values())) == len(GIVEN)


def test_draws_follow_the_models_own_probabilities(model: Model) -> None:
    """Against the softmax of its logits, by a chi-square distance that chance exceeds once in a thousand."""
    from scipy.stats import chisquare

    rendered = render(model, GIVEN[0], answer=None)
    names = [str(number) for number in range(1500)]
    sampling = Sampling(max_new_tokens=1, temperature=2.0, seed=1)
    answered = generate(model, [rendered] * len(names), sampling=sampling, draws=names)
    drawn = [int(one.answer_ids[0]) if len(one.answer_ids) else 3 for one in answered]
    with torch.inference_mode():
        logits = model.model(torch.as_tensor(rendered.token_ids)[None]).logits[0, -1].double()
    expected = torch.softmax(logits / 2.0, 0).numpy() * len(names)
    counts = np.bincount(drawn, minlength=len(expected))
    common = expected >= 5
    observed = [*counts[common], counts[~common].sum()]
    assert chisquare(observed, [*expected[common], expected[~common].sum()]).pvalue > 1e-3


def test_a_nucleus_holds_the_likeliest_tokens_only(model: Model) -> None:
    greedy = read(model, GIVEN, answers="generate", max_new_tokens=4, progress=False)
    narrow = read(model, GIVEN, answers="generate", max_new_tokens=4, temperature=1.0, top_p=1e-6, progress=False)
    assert narrow.samples["answer"].to_list() == greedy.samples["answer"].to_list()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("answers", ["given", "generate"])
def test_a_sample_that_is_too_long_is_known_before_anything_is_read(kind: str, answers: Any) -> None:
    model = tiny_model(kind)
    long = Conversation("long", "own", (Message("user", "word " * 110),), "Well.")
    with failing(model, lambda ids: ids.shape[1] > 512, AssertionError("fed")):
        run = read(model, [long, *GIVEN], answers=answers, max_new_tokens=6, progress=False)
    (reason,) = run.samples.filter(id="long")["reason"]
    assert reason.startswith("too long: ")
    assert reason.endswith("and the model has 512 positions")
    assert ("and up to 6 new ones" in reason) == (answers == "generate")
    assert run.samples["reason"].null_count() == len(GIVEN)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_stop_and_a_full_disk_are_no_failures_of_a_sample(model: Model, tmp_path: Path, error: BaseException) -> None:
    with failing(model, holds_poison, error), pytest.raises(type(error)):
        read(model, [*GIVEN, poisoned()], to=tmp_path / "run", progress=False, batch_tokens=1)
    assert read(model, [*GIVEN, poisoned()], to=tmp_path / "run", progress=False, batch_tokens=1).finished


def test_strict_stops_at_the_first_and_the_run_goes_on_without_it(model: Model, tmp_path: Path) -> None:
    conversations = [*GIVEN, poisoned()]
    options: dict[str, Any] = {"to": tmp_path / "run", "batch_tokens": 1, "progress": False}
    with failing(model, holds_poison, IndexError("no such row")):
        with pytest.raises(UnfinishedError, match="'poison' cannot be read: model error: IndexError: no such row"):
            read(model, conversations, strict=True, **options)
        assert read(model, conversations, **options).finished
    before_work = [*GIVEN, Conversation("silent", "own", (Message("user", "Say."),), "")]
    with failing(model, lambda _: True, AssertionError("read")) as sizes:
        with pytest.raises(UnfinishedError, match="'silent' cannot be read: the answer has no tokens"):
            read(model, before_work, strict=True, to=tmp_path / "other", progress=False)
        assert sizes == []
    assert not (tmp_path / "other").exists()


def test_strict_does_not_pass_over_what_failed_before(model: Model, tmp_path: Path) -> None:
    with failing(model, holds_poison, MemoryError()):
        read(model, [*GIVEN, poisoned()], to=tmp_path / "run", progress=False)
    with pytest.raises(UnfinishedError, match="'poison' cannot be read: out of memory"):
        read(model, [*GIVEN, poisoned()], to=tmp_path / "run", strict=True, progress=False)


def test_what_failed_is_tried_again_only_when_asked_for(model: Model, tmp_path: Path) -> None:
    conversations = [*GIVEN, poisoned()]
    whole = read(model, conversations, progress=False, batch_tokens=60)
    options: dict[str, Any] = {"to": tmp_path / "run", "batch_tokens": 60, "progress": False}
    with failing(model, holds_poison, MemoryError()):
        read(model, conversations, **options)
    with failing(model, lambda _: True, AssertionError("read again")) as sizes:
        again = read(model, conversations, **options)
        assert sizes == []
    assert again.samples["reason"].null_count() == len(GIVEN)
    with failing(model, lambda _: False, AssertionError()) as sizes:
        again = read(model, conversations, retry_failed=True, **options)
    assert 0 < sum(sizes) < len(conversations)
    assert again.finished
    for table in ("samples", "attention", "tokens"):
        assert_frame_equal(getattr(again, table), getattr(whole, table), abs_tol=1e-5, rel_tol=1e-4)


def test_a_run_of_which_nothing_could_be_read_is_an_error(model: Model, tmp_path: Path) -> None:
    options: dict[str, Any] = {"to": tmp_path / "run", "progress": False}
    said = pytest.raises(UnfinishedError, match=r"none of the 6 .* could be read: model error: TypeError: forward")
    with failing(model, lambda _: True, TypeError("forward() got an unexpected keyword argument")), said:
        read(model, GIVEN, **options)
    with pytest.raises(UnfinishedError, match="none of the 6"):
        read(model, GIVEN, **options)
    assert read(model, GIVEN, retry_failed=True, **options).samples["reason"].null_count() == len(GIVEN)
