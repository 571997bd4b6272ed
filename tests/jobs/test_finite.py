"""A sample whose numbers pass what half precision holds has nulls and a reason; the others of its batch are right."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from foretell.conversations.conversation import Conversation, Message
from foretell.errors import UnfinishedError
from foretell.jobs.finite import not_finite
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import force
from foretell.reading.runs.read import read
from foretell.storage.runs import Run, open_run
from tests.directions.overflow import overflowing_model
from tests.directions.test_direction import direction_for
from tests.reading.tiny import tiny_model

TABLES = ("samples", "attention", "checkpoints", "rows", "tokens", "activity")
REASON = r"attention masses \(layers? .*\) and log-probabilities .*not finite in float16; load the model in bfloat16"


def conversation(noun: str, answer: str | None = None) -> Conversation:
    return Conversation(noun, "own", (Message("user", f"Describe a {noun}."),), answer)


@pytest.fixture(scope="module")
def model() -> Model:
    return overflowing_model()


def no_nan(run: Run) -> None:
    for table in TABLES:
        frame = getattr(run, table)
        floats = frame.select(pl.selectors.float().cast(pl.Float64))
        assert all(floats[column].is_finite().all() for column in floats.columns), table


def read_all(model: Model, conversations: list[Conversation], answers: Literal["given", "generate"] = "given") -> Run:
    directions = [direction_for(model, np.random.default_rng(3), undefined=None)]
    options = {"detail": True, "rows": True, "progress": False, "max_new_tokens": 4}
    return read(model, conversations, answers=answers, directions=directions, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", [False, True], ids=["in the answer", "in the prompt"])
def test_one_text_that_overflows_has_a_reason_and_the_others_their_numbers(model: Model, prompt: bool) -> None:
    good = [conversation("river", "A long river."), conversation("cat", "It is a cat, they say.")]
    bad = conversation("~~", "Nothing.") if prompt else conversation("lamp", "It is ~~ bright.")
    run, alone = read_all(model, [good[0], bad, good[1]]), read_all(model, good)
    no_nan(run)
    sample = run.samples.filter(id=bad.id)
    assert sample["mean_logprob"].to_list() == [None]
    assert sample["answer"].to_list() == [bad.answer]
    assert sample["n_tokens_generated"].to_list() == [len(bad.answer or "")]
    with pytest.raises(AssertionError, match=REASON):
        raise AssertionError(sample["reason"][0])
    tokens = run.tokens.filter(id=bad.id)
    assert tokens["logprob"].null_count() == tokens["entropy"].null_count() == tokens.height
    assert tokens.filter(segment="generated").height == len(bad.answer or "")
    for table in ("attention", "checkpoints", "rows", "activity"):
        assert getattr(run, table).filter(id=bad.id).is_empty()
        assert getattr(run, table).height == getattr(alone, table).height > 0
    for table in ("attention", "activity", "tokens"):
        own = getattr(run, table).filter(pl.col("id") != bad.id)
        assert_frame_equal(own, getattr(alone, table), abs_tol=3e-2, rel_tol=3e-2)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_prompt_that_overflows_does_not_end_the_batch_that_is_generated(model: Model, temperature: float) -> None:
    conversations = [conversation(noun) for noun in ("river", "~~", "cat")]
    run = read(
        model, conversations, answers="generate", temperature=temperature, max_new_tokens=4, detail=True, progress=False
    )
    no_nan(run)
    reasons = dict(run.samples.select("id", "reason").rows())
    assert reasons["river"] is reasons["cat"] is None
    assert reasons["~~"] is not None
    alone = read(model, [conversation("river")], answers="generate", temperature=0.0, max_new_tokens=4, progress=False)
    if temperature == 0.0:
        assert run.samples.filter(id="river")["answer"].to_list() == alone.samples["answer"].to_list()


def test_all_overflowing_is_said_of_all(model: Model, tmp_path: Path) -> None:
    conversations = [conversation("one", "~~ ~~"), conversation("two", "~~")]
    with pytest.raises(UnfinishedError, match=r"none of the 2 .* could be read: attention masses .* in float16"):
        read(model, conversations, to=tmp_path / "run", progress=False)
    run = open_run(tmp_path / "run")
    assert not run.finished
    no_nan(run)
    assert run.samples["reason"].null_count() == 0
    assert run.attention.is_empty()


def test_what_is_named_is_what_is_not_finite() -> None:
    model = tiny_model("llama")
    directions = [direction_for(model, np.random.default_rng(3), undefined=1)]
    rendered = render(model, conversation("cat"), answer="A cat.")
    (sound,) = force(model, [rendered], directions=directions)
    assert not_finite(sound, directions, torch.float16) is None
    activity, mass, logprob = sound.activity.copy(), sound.mass.copy(), sound.logprob.copy()
    activity[2, 1, 0], mass[1:, 0, 0], logprob[0] = np.inf, np.nan, -np.inf
    cases: dict[str, dict[str, Any]] = {
        'activity of "lying" (layer 2) are not finite in bfloat16; load the model in float32': {"activity": activity},
        "attention masses (layers 1 to 2) are not finite in bfloat16; load the model in float32": {"mass": mass},
        "log-probabilities are not finite in bfloat16; load the model in float32": {"logprob": logprob},
    }
    for reason, broken in cases.items():
        assert not_finite(dataclasses.replace(sound, **broken), directions, torch.bfloat16) == reason
    (whole,) = force(model, [rendered], directions=directions, detail=True)
    contribution = whole.contribution.copy()
    assert not_finite(whole, directions, torch.float16) is None
    contribution[0, 1] = [0.0, np.nan, 0.0, 0.0, 0.0]
    message = not_finite(dataclasses.replace(whole, contribution=contribution), directions, torch.float16)
    assert message == "contributions (layer 0) are not finite in float16; load the model in bfloat16 or float32"
    every = dataclasses.replace(sound, activity=activity, mass=mass, logprob=logprob)
    message = not_finite(every, directions, torch.float32)
    assert message is not None
    assert message.startswith("attention masses (layers 1 to 2) and log-probabilities and activity")
    assert "in float32; the model itself" in message
