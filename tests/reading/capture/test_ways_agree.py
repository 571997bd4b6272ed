"""However a text is fed (alone, in a batch, padded, in chunks, token by token), the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from foretell.reading.capture import attention_reader
from foretell.reading.capture.listen import listen
from foretell.reading.capture.results import Capture
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import cache_argument, cache_from
from foretell.reading.signals.attention_mass import RowReader
from tests.reading import by_hand
from tests.reading.capture.test_listen import made_up_direction
from tests.reading.tiny import tiny_model

LENGTHS = ((13, 7), (8, 4), (20, 9))
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
KINDS = ("llama", "gemma2", "gpt_oss")

Numbers = dict[str, np.ndarray]


def numbers(capture: Capture, sample: int) -> Numbers:
    """What was captured of one sample's generated tokens."""
    rows = capture.generated[sample]
    return {
        "mass": capture.mass[sample],
        "contribution": capture.contribution[sample],
        "entropy": capture.entropy[sample],
        "activity": capture.activity[sample][:, rows],
        "logprob": capture.logprob[sample, rows],
        "margin": capture.margin[sample, rows],
        "lookback": capture.lookback[sample],
    }


def read(model: Model, given: by_hand.Text, **options: Any) -> list[Numbers]:
    """Read whole texts in one pass."""
    direction = made_up_direction(np.random.default_rng(5), model.n_layers, model.width)
    wanted: dict[str, Any] = {"directions": [direction], "contribution": True, "entropy": True, **options}
    with torch.no_grad(), listen(model, given.segments, **wanted) as capture:
        model.model(**given.inputs)
    return [numbers(capture, sample) for sample in range(len(given.segments))]


def alone(model: Model, given: by_hand.Text, _: pytest.MonkeyPatch) -> list[Numbers]:
    return [read(model, given.alone(sample))[0] for sample in range(len(given.segments))]


def padded_on_the_right(model: Model, given: by_hand.Text, _: pytest.MonkeyPatch) -> list[Numbers]:
    token_ids, segments = torch.zeros_like(given.token_ids), np.full_like(given.segments, -1)
    for sample, codes in enumerate(given.segments):
        n_tokens = int((codes >= 0).sum())
        token_ids[sample, :n_tokens] = given.token_ids[sample, -n_tokens:]
        segments[sample, :n_tokens] = codes[-n_tokens:]
    return read(model, by_hand.Text(token_ids, segments))


def row_by_row(model: Model, given: by_hand.Text, monkeypatch: pytest.MonkeyPatch) -> list[Numbers]:
    chunks: list[int] = []

    class OneByOne(RowReader):
        def __init__(self, codes: torch.Tensor, rows: torch.Tensor, *, quantities: Any, chunk_bytes: int) -> None:
            chunks.append(chunk_bytes)
            super().__init__(codes, rows, chunk_bytes=1, quantities=quantities)

    monkeypatch.setattr(attention_reader, "RowReader", OneByOne)
    found = read(model, given)
    assert chunks
    return found


def added_up(model: Model, given: by_hand.Text, _: pytest.MonkeyPatch) -> list[Numbers]:
    return read(model, given, rows=False)


def token_by_token(model: Model, given: by_hand.Text, _: pytest.MonkeyPatch) -> list[Numbers]:
    """Feed the prompt, then each token of the answer by itself into the cache, as decoding does."""
    direction = made_up_direction(np.random.default_rng(5), model.n_layers, model.width)
    wanted: dict[str, Any] = {"directions": [direction], "contribution": True, "entropy": True}
    found = []
    for sample in range(len(given.segments)):
        one = given.alone(sample)
        n_prompt = int((one.segments[0] != 4).sum())
        with torch.no_grad(), listen(model, one.segments, **wanted) as capture:
            cache = cache_from(model.model(one.token_ids[:, :n_prompt], use_cache=True))
            memory = {cache_argument(model.model): cache}
            for place in range(n_prompt, one.token_ids.shape[1]):
                model.model(one.token_ids[:, place : place + 1], use_cache=True, **memory)
        found.append(numbers(capture, 0))
    return found


@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
@pytest.mark.parametrize("way", [alone, padded_on_the_right, row_by_row, added_up, token_by_token])
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_feeding_gives_the_same_numbers(
    kind: str,
    way: Callable[[Model, by_hand.Text, pytest.MonkeyPatch], list[Numbers]],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    generator: np.random.Generator,
) -> None:
    given = by_hand.text(generator, LENGTHS, side="left")
    settings: dict[str, Any] = {} if dtype == torch.float32 else {"initializer_range": 0.1}
    model = tiny_model(kind, dtype=dtype, **settings)
    tolerance = TOLERANCES[dtype]
    for expected, found in zip(read(model, given), way(model, given, monkeypatch), strict=True):
        for name, values in expected.items():
            # Scores of directions and log-probabilities are not bounded by 1: their size counts.
            size = max(1.0, float(np.abs(values).max()))
            assert found[name].shape == values.shape
            assert np.abs(found[name] - values).max() < tolerance * size, name
