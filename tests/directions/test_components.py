"""The streamed component equals the one of stored differences, whichever way its sums are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from foretell.conversations.pairs import ContrastPair
from foretell.directions import components
from foretell.directions.components import RunningComponent
from foretell.directions.contrasts import Contrast
from foretell.directions.fit import fit_direction
from foretell.stats.directions.estimators import mean_difference, paired_component
from tests.reading.tiny import tiny_model


def rows(generator: np.random.Generator, n: int, n_layers: int, width: int) -> np.ndarray:
    hidden = generator.normal(size=(n, 2, n_layers, width)) * generator.uniform(0.2, 4.0, size=width)
    hidden[:, 0] += 4.0 * generator.normal(size=(1, n_layers, width))
    return hidden.astype(np.float32)


def streamed(sink: RunningComponent | Contrast, hidden: np.ndarray, *, batch: int = 17) -> None:
    for start in range(0, len(hidden), batch):
        part = torch.as_tensor(hidden[start : start + batch])
        for layer in range(hidden.shape[2]):
            sink.add(layer, np.arange(start, start + len(part)), part[:, :, layer])


@pytest.mark.parametrize(
    ("n", "width", "kept"), [(30, 100, "rows"), (400, 100, "double"), (700, 600, "double"), (700, 600, "single")]
)
def test_streaming_equals_in_memory_and_the_oracle(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch, n: int, width: int, kept: str
) -> None:
    if kept == "single":
        monkeypatch.setattr(components, "DOUBLE_BYTES", 0)
    hidden = rows(generator, n, 2, width)
    sink = RunningComponent(2, n_rows=n)
    streamed(sink, hidden)
    found = sink.vectors()
    stored = paired_component(hidden[:, 0], hidden[:, 1])
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    for layer in range(2):
        difference = (hidden[:, 0, layer].astype(np.float64) - hidden[:, 1, layer]).astype(np.float64)
        oracle = PCA(n_components=1, svd_solver="full").fit(np.concatenate([difference, -difference])).components_[0]
        limit = 1e-10 if kept == "double" else 1e-8
        assert 1.0 - abs(float(found[layer] @ stored[layer])) < limit
        assert 1.0 - abs(float(found[layer] @ oracle)) < limit


def test_mean_difference_streams_to_the_same_numbers(generator: np.random.Generator) -> None:
    hidden = rows(generator, 90, 3, 40)
    sink = Contrast()
    streamed(sink, hidden)
    difference = [sink.difference[layer] / 90 for layer in range(3)]
    np.testing.assert_allclose(difference, mean_difference(hidden[:, 0], hidden[:, 1]), atol=1e-10)


def test_equal_answers_give_no_component() -> None:
    for n_rows in (4, 4000):
        sink = RunningComponent(1, n_rows=n_rows)
        sink.add(0, np.arange(4), torch.ones(4, 2, 40))
        assert not sink.vectors().any()


@pytest.mark.parametrize("tokens", ["mean", "every"])
def test_a_model_read_once_gives_the_component_of_what_it_would_store(tokens: str) -> None:
    tiny = tiny_model("llama")
    pairs = [ContrastPair(str(i), "t", f"Is it {i}?", f"No, {i}!", f"Yes, {i}.") for i in range(24)]

    def stored(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        return paired_component(positive, negative)

    first = fit_direction(tiny, pairs, method="paired-component", tokens=tokens, progress=False)  # type: ignore[arg-type]
    second = fit_direction(tiny, pairs, method=stored, tokens=tokens, progress=False)  # type: ignore[arg-type]
    np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-4)


def test_single_precision_sums_are_as_good_as_double_ones_where_it_is_hard(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large offset that cancels, a spectrum that falls slowly, and a first line that stands out by five per cent."""
    n, width = 6000, 320
    scale = 1.0 / np.sqrt(1.0 + np.arange(width) / 40.0)
    scale[0] = 1.05
    turn = np.linalg.qr(generator.normal(size=(width, width)))[0]
    offset = 300.0 * generator.normal(size=width)
    difference = (generator.normal(size=(n, width)) * scale) @ turn
    hidden = np.stack([offset + difference / 2, offset - difference / 2], axis=1)[:, :, None].astype(np.float32)
    found = {}
    for kept, n_bytes in (("double", components.DOUBLE_BYTES), ("single", 0)):
        monkeypatch.setattr(components, "DOUBLE_BYTES", n_bytes)
        sink = RunningComponent(1, n_rows=n)
        streamed(sink, hidden, batch=250)
        found[kept] = sink.vectors()[0]
    stored = (hidden[:, 0, 0].astype(np.float64) - hidden[:, 1, 0]).astype(np.float64)
    oracle = np.linalg.eigh(stored.T @ stored)[1][:, -1]
    # sin of the angle, which a cosine near one would round away
    angle = {kept: float(np.linalg.norm(vector - oracle * (vector @ oracle))) for kept, vector in found.items()}
    assert angle["double"] < 1e-8
    assert angle["single"] < 2e-5
    assert angle["single"] > angle["double"]
