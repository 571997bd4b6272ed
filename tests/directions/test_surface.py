"""The activity surface: hidden states projected by hand, token for token."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
import torch

from foretell.conversations.builtin import builtin_facts
from foretell.conversations.conversation import Conversation, Message
from foretell.conversations.pairs import ContrastPair, pairs_from_facts
from foretell.directions.activations.paired import read_activations
from foretell.directions.direction import Direction
from foretell.directions.fit import fit_direction
from foretell.directions.random_directions import random_vectors
from foretell.directions.surface import generated_answers, surface
from foretell.errors import InputError
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.storage.surfaces import Surface, builtin_surface_question
from tests.directions.overflow import overflowing_model
from tests.reading.by_hand import capture_residual
from tests.reading.tiny import tiny_model

# The package has a function of the same name.
surface_module: Any = importlib.import_module("foretell.directions.surface")
QUESTION = "Who is Ann?"
ANSWERS = ["A cook, they say: naïve – 🙂.", "Nobody."]
PAIRS = [ContrastPair(str(index), "t", f"Is it {index}?", f"No, {index}!", f"Yes, {index}.") for index in range(5)]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def direction(model: Model) -> Direction:
    return fit_direction(model, PAIRS, concept="denial", progress=False)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_activity_equals_hidden_states_projected_by_hand(kind: str) -> None:
    tiny = tiny_model(kind)
    fitted = fit_direction(tiny, PAIRS, progress=False)
    read = surface(tiny, fitted, QUESTION, ANSWERS, system="Be brief.")
    messages = (Message("system", "Be brief."), Message("user", QUESTION))
    for answer, got in zip(ANSWERS, read.answers, strict=True):
        one = render(tiny, Conversation("x", "d", messages), answer=answer)
        token_ids = torch.as_tensor(one.token_ids)[None]
        hidden = capture_residual(tiny.model, input_ids=token_ids)[:, 0].numpy()[:, one.segments == 4]
        expected = fitted.activity(hidden.swapaxes(0, 1)).T
        np.testing.assert_allclose(got.activity, expected, atol=1e-3)
        with torch.no_grad():
            scores = tiny.model(input_ids=token_ids).logits[0].log_softmax(-1)
        positions = np.flatnonzero(one.segments == 4)
        logprob = [float(scores[position - 1, token_ids[0, position]]) for position in positions]
        assert got.mean_logprob == pytest.approx(np.mean(logprob), abs=1e-4)


def test_tokens_spell_the_answer(model: Model, direction: Direction) -> None:
    read = surface(model, direction, QUESTION, ANSWERS, titles=["false", "true"])
    for answer, got in zip(ANSWERS, read.answers, strict=True):
        assert "".join(got.tokens) == answer
        assert got.activity.shape == (model.n_layers, len(got.tokens))
        assert np.isfinite(got.activity).all()
    assert [answer.title for answer in read.answers] == ["false", "true"]
    assert (read.question, read.concept, read.scale, read.model) == (QUESTION, "denial", "z", "tiny-llama")
    assert read.layers == (0, 1, 2)


def test_one_answer_reads_as_it_does_beside_others(model: Model, direction: Direction) -> None:
    both = surface(model, direction, QUESTION, ANSWERS)
    alone = surface(model, direction, QUESTION, ANSWERS[1:])
    np.testing.assert_allclose(both.answers[1].activity, alone.answers[0].activity, atol=1e-4)
    assert [answer.title for answer in both.answers] == ["answer 1", "answer 2"]


def test_to_writes_what_read_gives_back(model: Model, direction: Direction, tmp_path: Path) -> None:
    made = surface(model, direction, QUESTION, ANSWERS, to=tmp_path / "surface")
    read = Surface.read(tmp_path / "surface")
    assert read.table().equals(made.table())
    assert {path.name for path in (tmp_path / "surface").iterdir()} == {"surface.json", "surface.parquet"}
    with pytest.raises(InputError, match="holds a surface already"):
        surface(model, direction, "Another?", ANSWERS, to=tmp_path / "surface")
    assert Surface.read(tmp_path / "surface").question == QUESTION
    surface(model, direction, "Another?", ANSWERS, to=tmp_path / "surface", overwrite=True)
    assert Surface.read(tmp_path / "surface").question == "Another?"


def test_what_cannot_be_read_is_said_and_nothing_is_written(model: Model, direction: Direction, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with pytest.raises(InputError, match="list of one or more texts"):
        surface(model, direction, QUESTION, "Nobody.", to=folder)
    with pytest.raises(InputError, match="list of one or more texts"):
        surface(model, direction, QUESTION, [], to=folder)
    with pytest.raises(InputError, match="2 answers and 1 titles"):
        surface(model, direction, QUESTION, ANSWERS, titles=["one"], to=folder)
    with pytest.raises(InputError, match='"answer 2" has no tokens'):
        surface(model, direction, QUESTION, ["Nobody.", ""], to=folder)
    with pytest.raises(InputError, match="fit a direction on this model"):
        surface(tiny_model("qwen2"), direction, QUESTION, ANSWERS, to=folder)
    assert not folder.exists()


@pytest.mark.model
def test_the_false_answer_runs_hotter_than_the_true_one(smollm2: Model) -> None:
    pairs = pairs_from_facts(builtin_facts())[::6]
    fitted = fit_direction(smollm2, pairs, progress=False)
    builtin = builtin_surface_question()
    read = surface(smollm2, fitted, builtin.question, builtin.answers, titles=builtin.titles)
    false, true = (answer.activity[5:21].mean() for answer in read.answers)
    assert [answer.title for answer in read.answers] == ["false answer", "true answer"]
    assert false > true


def test_scales_are_those_of_the_projection(model: Model, direction: Direction) -> None:
    z, raw, cosine = (surface(model, direction, QUESTION, ANSWERS, scale=scale) for scale in ("z", "raw", "cosine"))
    messages = (Message("user", QUESTION),)
    one = render(model, Conversation("x", "d", messages), answer=ANSWERS[0])
    token_ids = torch.as_tensor(one.token_ids)[None]
    hidden = capture_residual(model.model, input_ids=token_ids)[:, 0].numpy()[:, one.segments == 4]
    projection = np.einsum("ltw,lw->lt", hidden, direction.vectors)
    np.testing.assert_allclose(raw.answers[0].activity, projection, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        cosine.answers[0].activity, projection / np.linalg.norm(hidden, axis=-1), rtol=1e-3, atol=1e-4
    )
    assert [one.scale for one in (z, raw, cosine)] == ["z", "raw", "cosine"]


def states_of(model: Model, answer: str) -> np.ndarray:
    one = render(model, Conversation("x", "d", (Message("user", QUESTION),)), answer=answer)
    hidden = capture_residual(model.model, input_ids=torch.as_tensor(one.token_ids)[None])[:, 0].numpy()
    return np.asarray(hidden[:, one.segments == 4])


@pytest.mark.parametrize("scale", ["z", "raw", "cosine"])
def test_the_band_is_that_of_random_directions_calibrated_on_the_same_tokens(
    model: Model, direction: Direction, scale: Literal["z", "raw", "cosine"]
) -> None:
    read = surface(model, direction, QUESTION, ANSWERS, layers=(0, 2), n_random=40, scale=scale)
    tokens = read_activations(model, PAIRS, progress=False).facts.calibration.astype(np.float64)
    drawn = random_vectors(40, model.width, seed=0)
    mean, deviation = (tokens @ drawn.T).mean(axis=0), (tokens @ drawn.T).std(axis=0)
    course = read.course
    assert course is not None
    assert (course.layers, course.n_random) == ((0, 2), 40)
    for index, answer in enumerate(read.answers):
        states = states_of(model, ANSWERS[index])
        activity = states.astype(np.float64) @ drawn.T
        if scale == "z":
            activity = (activity - mean[:, None]) / deviation[:, None]
        elif scale == "cosine":
            activity /= np.linalg.norm(states, axis=-1)[..., None]
        lower, upper = np.quantile(activity, [0.05, 0.95], axis=-1)
        assert answer.null_lower is not None
        assert answer.null_upper is not None
        np.testing.assert_allclose(answer.null_lower, lower, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(answer.null_upper, upper, rtol=1e-3, atol=1e-3)
        both = activity[[0, 2]].mean(axis=0)
        np.testing.assert_allclose(course.null_lower[index], np.quantile(both, 0.05, axis=-1), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(course.mean[index], answer.activity[[0, 2]].mean(axis=0), rtol=1e-4, atol=1e-5)


def test_without_random_directions_there_is_no_band(model: Model, direction: Direction) -> None:
    for known, n_random in ((direction, 0), (replace(direction, random=None), 100)):
        read = surface(model, known, QUESTION, ANSWERS, n_random=n_random)
        assert read.course is not None
        assert (read.course.n_random, read.course.null_lower) == (0, ())
        assert all(answer.null_lower is answer.null_upper is None for answer in read.answers)
    with pytest.raises(InputError, match="layer 9 has no activity"):
        surface(model, direction, QUESTION, ANSWERS, layers=(9,))


def test_answers_are_read_in_batches_with_logits_of_answers_alone(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    answers = [f"Answer {index}." for index in range(30)] + ["A long one. " * 12]
    fed: list[int] = []
    logits: list[int] = []
    body, head = model.model.model, model.model.lm_head
    handles = [
        body.register_forward_pre_hook(
            lambda _module, _inputs, given: fed.append(given["input_ids"].numel()), with_kwargs=True
        ),
        head.register_forward_hook(lambda _module, _inputs, output: logits.append(output[..., 0].numel())),
    ]
    read = surface(model, direction, QUESTION, answers, layers=(0, 2), n_random=5, batch_tokens=600)
    for handle in handles:
        handle.remove()
    assert len(fed) > 5
    assert max(fed) <= 600
    assert sum(logits) == sum(len(answer.tokens) for answer in read.answers)
    assert [answer.answer for answer in read.answers] == answers
    whole = surface(model, direction, QUESTION, answers, layers=(0, 2), n_random=5, batch_tokens=100_000)
    assert read.course is not None
    assert whole.course is not None
    for index, (one, other) in enumerate(zip(read.answers, whole.answers, strict=True)):
        np.testing.assert_allclose(one.activity, other.activity, atol=1e-4)
        assert one.null_lower is not None
        assert other.null_lower is not None
        np.testing.assert_allclose(one.null_lower, other.null_lower, atol=1e-4)
        np.testing.assert_allclose(read.course.null_upper[index], whole.course.null_upper[index], atol=1e-4)
        assert one.mean_logprob == pytest.approx(other.mean_logprob, abs=1e-4)


def test_answers_are_generated_in_batches(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = surface_module.generate

    def counted(model: Model, rendered: Sequence[object], **options: Any) -> object:
        sizes.append(len(rendered))
        return whole(model, rendered, **options)

    monkeypatch.setattr(surface_module, "generate", counted)
    found = generated_answers(model, QUESTION, 7, max_new_tokens=6, seed=4, batch_tokens=300)
    assert sum(sizes) == 7
    assert max(sizes) < 7
    assert found[:2] == generated_answers(model, QUESTION, 2, max_new_tokens=6, seed=4)[:2] or sizes[0] != 2
    assert len(set(found)) == len(found)


def test_a_text_that_passes_the_precision_is_named(tmp_path: Path) -> None:
    tiny = overflowing_model()
    fitted = fit_direction(tiny, PAIRS, progress=False)
    with pytest.raises(
        InputError, match=r'^"wavy": hidden states or log-probabilities are not finite in float16; load'
    ):
        surface(tiny, fitted, QUESTION, ["Nobody.", "A ~ cook."], titles=["plain", "wavy"], to=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_layers_count_once_and_settings_are_checked(model: Model, direction: Direction) -> None:
    once, twice = (surface(model, direction, QUESTION, ANSWERS, layers=layers).course for layers in ([0, 1], [0, 1, 1]))
    assert once == twice
    for options, message in (
        ({"layers": [1.9]}, "whole numbers, not 1.9"),
        ({"layers": [-1]}, "layer -1 has no activity: the model has no such layer"),
        ({"n_random": -1}, "n_random must be"),
        ({"batch_tokens": 0}, "batch_tokens must be"),
    ):
        with pytest.raises(InputError, match=message):
            inspect.unwrap(surface)(model, direction, QUESTION, ANSWERS, **options)


@pytest.mark.parametrize("scale", ["z", "raw", "cosine"])
def test_a_layer_without_a_direction_is_null_in_every_file(
    model: Model, direction: Direction, tmp_path: Path, scale: Literal["z", "raw", "cosine"]
) -> None:
    arrays = {name: getattr(direction, name).copy() for name in ("vectors", "mean", "standard_deviation")}
    for values in arrays.values():
        values[1] = np.nan
    partly = replace(direction, **arrays, reasons=(None, "the sides do not differ", None))
    read = surface(model, partly, QUESTION, ANSWERS, scale=scale, to=tmp_path)
    assert np.isnan(read.answers[0].activity[1]).all()
    assert np.isfinite(read.answers[0].activity[[0, 2]]).all()
    assert read.course is not None
    assert read.course.layers == (0, 2)
    json.loads((tmp_path / "surface.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    table = Surface.read(tmp_path).table()
    assert table.filter(pl.col("layer") == 1)["activity"].null_count() == table.height // 3
    assert table["activity"].is_nan().sum() == 0


def test_answers_are_generated_the_same_with_the_same_seed(model: Model) -> None:
    first, again = (generated_answers(model, QUESTION, 3, max_new_tokens=6, seed=4) for _ in range(2))
    assert first == again
    assert 0 < len(first) <= 3
    assert first != generated_answers(model, QUESTION, 3, max_new_tokens=6, seed=5)
    with pytest.raises(InputError, match="at least one"):
        generated_answers(model, QUESTION, 0)
