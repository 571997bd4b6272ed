"""Segments of keys as indicators and as runs, also of windowed and of longer caches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.reading.signals import contribution
from foretell.reading.signals.contribution import segment_outputs, written_norms
from foretell.reading.signals.key_segments import KeySegments

CODES = torch.tensor([[3, 0, 0, 1, 1, 0, 2, 4], [3, 0, 0, 1, 1, 0, 2, 4], [-1, -1, 3, 1, 1, 2, 2, 4]])
CPU = torch.device("cpu")


@pytest.fixture(params=[0, 1 << 40], ids=["a product for every run", "one product for every segment"])
def segments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> KeySegments:
    """Segments of eight keys, with either way to add up their values."""
    monkeypatch.setattr(contribution, "_CALL", request.param)
    return KeySegments(CODES)


@pytest.mark.parametrize(("n_keys", "expected"), [(8, CODES), (5, CODES[:, 3:]), (10, None)])
def test_every_key_has_one_code(n_keys: int, expected: torch.Tensor | None) -> None:
    found = KeySegments(CODES).indicators(n_keys, CPU)
    assert found.shape == (3, 6, n_keys)
    if expected is None:
        # What a model keeps beside the tokens is neither a segment nor padding.
        assert not found[:, :, 8:].any()
        expected, found = CODES, found[:, :, :8]
    assert torch.equal(found.sum(1), torch.ones(expected.shape))
    assert torch.equal(found.argmax(1), torch.where(expected < 0, 5, expected))


def test_runs_cover_every_key_that_has_a_segment_once() -> None:
    covered = torch.full_like(CODES, -1)
    runs = KeySegments(CODES).runs(8)
    for run in runs:
        assert covered[run.samples, run.keys].eq(-1).all()
        covered[run.samples, run.keys] = run.segment
    assert torch.equal(covered, CODES)
    # Samples with the same segments share their runs.
    assert {(run.samples.start, run.samples.stop) for run in runs} == {(0, 2), (2, 3)}


def test_segment_outputs_add_up_values_of_their_own_keys(segments: KeySegments, generator: np.random.Generator) -> None:
    weights = torch.from_numpy(generator.random(size=(3, 2, 4, 8)).astype(np.float32))
    values = torch.from_numpy(generator.normal(size=(3, 2, 8, 5)).astype(np.float32))
    found = segment_outputs(weights, values, segments)
    for code in range(5):
        own = weights.double() * torch.eq(CODES, code)[:, None, None]
        np.testing.assert_allclose(found[code].numpy(), (own @ values.double()).numpy(), atol=1e-5)


@pytest.mark.parametrize("n_rows", [1, 6])
def test_written_norms_are_those_of_each_heads_own_part(
    n_rows: int, segments: KeySegments, generator: np.random.Generator
) -> None:
    """Few rows are written after they are summed, many rows of few keys before."""
    n_heads, n_groups = 4, 2
    weights = torch.from_numpy(generator.random(size=(3, n_heads, n_rows, 8)))
    values = torch.from_numpy(generator.normal(size=(3, n_groups, 8, 5)))
    factors = torch.from_numpy(generator.normal(size=(n_heads, 5, 5)))
    grouped = weights.float().view(3, n_groups, -1, 8)
    found = written_norms(grouped, values.float(), segments, factors.float(), n_heads=n_heads)
    for code in range(5):
        own = (weights * torch.eq(CODES, code)[:, None, None]) @ values.repeat_interleave(2, 1)
        written = (factors[:, None] @ own[..., None])[..., 0]
        np.testing.assert_allclose(found[code].numpy(), written.norm(dim=-1).numpy(), rtol=1e-4, atol=1e-5)
