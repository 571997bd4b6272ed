"""Questions that waited are the questions that were pushed; those of one kind come out as one."""

from __future__ import annotations

import dataclasses
import weakref

import numpy as np
import pytest
import torch

from foretell.reading.capture.recording import Pass
from foretell.reading.capture.waiting import Waiting
from foretell.reading.signals.attention_mass import Rows
from foretell.reading.signals.questions import Question

N_HEADS, N_ROWS, N_KEYS, WIDTH = 4, 3, 10, 8
LAYER_BYTES = 4 * WIDTH * (N_HEADS * N_ROWS + 2 * 2 * N_KEYS)


def a_question(
    generator: np.random.Generator, *, samples: int = 1, value: bool = True, output: bool = False
) -> Question:
    def drawn(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.normal(size=shape).astype(np.float32))

    return Question(
        query=drawn(samples, N_ROWS, N_HEADS, WIDTH).transpose(1, 2),
        key=drawn(samples, N_KEYS, 2, WIDTH).transpose(1, 2),
        value=drawn(samples, N_KEYS, 2, WIDTH).transpose(1, 2) if value else None,
        mask=None,
        causal=True,
        scale=0.5,
        output=drawn(samples, N_ROWS, N_HEADS, WIDTH).transpose(1, 2) if output else None,
    )


@pytest.fixture
def rows() -> Rows:
    return Rows(torch.zeros(1, N_KEYS, dtype=torch.int64), torch.arange(N_ROWS)[None], chunk_bytes=1 << 20)


@pytest.fixture
def current() -> Pass:
    return Pass(start=0, width=N_KEYS, columns=torch.arange(N_ROWS)[None])


def same(found: Question, expected: Question) -> bool:
    return all(torch.equal(one, other) for one, other in zip(found.tensors, expected.tensors, strict=True))


@pytest.mark.parametrize(("value", "output"), [(True, True), (True, False), (False, False)])
def test_one_kind_comes_out_as_one_question(
    value: bool, output: bool, rows: Rows, current: Pass, generator: np.random.Generator
) -> None:
    waiting = Waiting(most_bytes=1 << 20)
    questions = [a_question(generator, value=value, output=output) for _ in range(4)]
    for layer, question in enumerate(questions):
        assert waiting.push(layer, current, rows, question)
        assert not waiting.is_full
    (asked,) = list(waiting.pop())
    assert (asked.layers, asked.current, asked.rows) == ((0, 1, 2, 3), current, rows)
    tensors = [torch.cat(same) for same in zip(*(one.tensors for one in questions), strict=True)]
    for found, expected in zip(asked.question.tensors, tensors, strict=True):
        assert torch.equal(found, expected)
    assert list(waiting.pop()) == []


def test_other_kinds_and_passes_come_out_by_themselves(
    rows: Rows, current: Pass, generator: np.random.Generator
) -> None:
    waiting = Waiting(most_bytes=1 << 20)
    question = a_question(generator)
    several = {
        "plain": (current, question),
        "scaled otherwise": (current, dataclasses.replace(question, scale=2.0)),
        "another pass": (dataclasses.replace(current), question),
        "two samples": (current, a_question(generator, samples=2)),
        "masses alone": (current, a_question(generator, value=False)),
        "with a bias": (current, dataclasses.replace(question, bias=torch.ones(1, 1, N_ROWS, N_KEYS))),
    }
    for layer, (own_pass, one) in enumerate(several.values()):
        assert waiting.push(layer, own_pass, rows, one)
    found = {asked.layers: (asked.current, asked.question) for asked in waiting.pop()}
    assert sorted(found) == [(layer,) for layer in range(len(several))]
    for layer, (own_pass, one) in enumerate(several.values()):
        assert found[layer,][0] is own_pass
        assert same(found[layer,][1], one)
        assert found[layer,][1].scale == one.scale


@pytest.mark.parametrize("alone", [False, True])
def test_more_than_the_bound_is_refused_until_it_is_popped(
    alone: bool, rows: Rows, current: Pass, generator: np.random.Generator
) -> None:
    waiting = Waiting(most_bytes=16 * LAYER_BYTES)
    question = a_question(generator)
    if alone:
        question = dataclasses.replace(question, bias=torch.ones(1, 1, N_ROWS, N_KEYS))
    taken = 0
    while waiting.push(taken, current, rows, question):
        taken += 1
        assert taken < 20
    assert taken == 16
    assert sum(len(asked.layers) for asked in waiting.pop()) == 16
    assert waiting.push(0, current, rows, question)
    waiting.clear()
    assert list(waiting.pop()) == []


def test_a_large_question_is_to_be_answered_at_once(rows: Rows, current: Pass, generator: np.random.Generator) -> None:
    waiting = Waiting(most_bytes=LAYER_BYTES)
    assert waiting.push(0, current, rows, a_question(generator))
    assert waiting.is_full
    assert not waiting.push(1, current, rows, a_question(generator))
    assert [asked.layers for asked in waiting.pop()] == [(0,)]
    assert not waiting.is_full


def test_what_stands_by_itself_waits_only_if_it_is_little(
    rows: Rows, current: Pass, generator: np.random.Generator
) -> None:
    """A large one would hold the model's own memory while the next layer needs as much."""
    question = dataclasses.replace(a_question(generator), bias=torch.zeros(1, 1, 1, 1))
    n_bytes = question.n_bytes
    for most_bytes, waits in ((16 * n_bytes, True), (16 * n_bytes - 1, False)):
        waiting = Waiting(most_bytes=most_bytes)
        assert waiting.push(0, current, rows, question)
        assert waiting.is_full != waits
        assert waiting.push(1, current, rows, question) == waits


def test_what_waits_with_others_holds_nothing_of_the_model(
    rows: Rows, current: Pass, generator: np.random.Generator
) -> None:
    waiting = Waiting(most_bytes=1 << 20)
    question = a_question(generator, output=True)
    held = [weakref.ref(one) for one in question.tensors]
    waiting.push(0, current, rows, question)
    del question
    assert [one() for one in held] == [None] * 4


def test_what_waits_by_itself_holds_nothing_of_other_rows(
    rows: Rows, current: Pass, generator: np.random.Generator
) -> None:
    waiting = Waiting(most_bytes=1 << 20)
    whole = torch.ones(1, N_HEADS, 1000, WIDTH)[:, :, -N_ROWS:]
    bias = torch.ones(1, 1, 1000, N_KEYS)[:, :, -N_ROWS:]
    question = dataclasses.replace(a_question(generator), query=whole, output=whole, bias=bias)
    waiting.push(0, current, rows, question)
    (asked,) = list(waiting.pop())
    for kept in (asked.question.query, asked.question.output, asked.question.bias):
        assert kept is not None
        assert kept.untyped_storage().nbytes() == kept.nbytes
