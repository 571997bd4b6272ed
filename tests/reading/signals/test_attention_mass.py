"""What rows take of one attention call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.signals import parts
from foretell.reading.signals.attention_mass import Rows, Wanted

N_HEADS, N_TOKENS, N_ROWS, WIDTH = 2, 7, 3, 4


def a_call(generator: np.random.Generator, output: Tensor | None, **options: Any) -> AttentionCall:
    query, key, value = (
        torch.from_numpy(generator.normal(size=(1, N_HEADS, N_TOKENS, WIDTH)).astype(np.float32)) for _ in range(3)
    )
    return AttentionCall(nn.Identity(), sdpa_attention_forward, "sdpa", query, key, value, None, options, output)


def a_reader(*, contribution: bool = True) -> Rows:
    rows = torch.arange(N_TOKENS - N_ROWS, N_TOKENS)[None]
    wanted = Wanted(contribution=contribution)
    return Rows(torch.zeros(1, N_TOKENS, dtype=torch.int64), rows, chunk_bytes=1 << 20, wanted=wanted)


@pytest.fixture(autouse=True)
def short_segments_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_WORTH_LEAVING", N_TOKENS)


OUTPUT = torch.arange(N_TOKENS * N_HEADS * WIDTH, dtype=torch.float32).view(1, N_TOKENS, N_HEADS, WIDTH)


def test_the_output_of_the_rows_is_taken(generator: np.random.Generator) -> None:
    question = a_reader().question(a_call(generator, OUTPUT, dropout=0.0))
    assert question is not None
    assert question.output is not None
    assert torch.equal(question.output, OUTPUT[:, -N_ROWS:].transpose(1, 2))


@pytest.mark.parametrize(
    ("output", "options"),
    [
        pytest.param(None, {}, id="not seen"),
        pytest.param(OUTPUT.bfloat16(), {}, id="rounded"),
        pytest.param(OUTPUT[..., 1:], {}, id="of another width"),
        pytest.param(OUTPUT, {"dropout": 0.1}, id="with weights dropped at random"),
    ],
)
def test_an_output_that_is_not_exact_is_not_taken(
    output: Tensor | None, options: dict[str, Any], generator: np.random.Generator
) -> None:
    question = a_reader().question(a_call(generator, output, **options))
    assert question is not None
    assert question.output is None


def test_without_contributions_no_output_is_taken(generator: np.random.Generator) -> None:
    question = a_reader(contribution=False).question(a_call(generator, OUTPUT))
    assert question is not None
    assert question.output is None


def test_where_no_product_is_saved_no_output_is_taken(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_WORTH_LEAVING", N_TOKENS + 1)
    question = a_reader().question(a_call(generator, OUTPUT))
    assert question is not None
    assert question.output is None
