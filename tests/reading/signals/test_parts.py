"""What each segment adds to heads' outputs, against its definition and as what others leave of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from foretell.reading.signals import parts as module
from foretell.reading.signals.parts import Run, SegmentParts, longest_segment, runs_of

N_GROUPS, N_ROWS, WIDTH = 2, 4, 3
CODES = torch.tensor(
    [
        [3, 0, 0, 0, 1, 3, 2, 2, 2, 2, 2, 4],
        [3, 0, 0, 0, 1, 3, 2, 2, 2, 2, 2, 4],
        [-1, -1, 3, 0, 0, 1, 2, 2, 2, 2, 2, 4],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
)


@pytest.fixture(autouse=True)
def short_ones_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORTH_LEAVING", 2)


def drawn(generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Weights, none of which is for padding, and values."""
    n_samples, n_keys = CODES.shape
    weights = torch.from_numpy(generator.random((n_samples, N_GROUPS, N_ROWS, n_keys)).astype(np.float32))
    values = torch.from_numpy(generator.normal(size=(n_samples, N_GROUPS, n_keys, WIDTH)).astype(np.float32))
    return weights * (CODES >= 0)[:, None, None], values


def slowly(weights: Tensor, values: Tensor) -> Tensor:
    inside = (torch.arange(5)[:, None, None] == CODES).float()
    return torch.einsum("bgrk,sbk,bgkd->sbgrd", weights, inside, values)


@pytest.mark.parametrize("whole", [False, True])
def test_parts_equal_their_definition(whole: bool, generator: np.random.Generator) -> None:
    weights, values = drawn(generator)
    parts = SegmentParts(weights, runs_of(CODES), width=WIDTH, whole=whole)
    for _ in range(2):
        total = weights.sum(3)
        told = (weights @ values / total[..., None], total) if whole else ()
        torch.testing.assert_close(parts.of(values, *told), slowly(weights, values), atol=2e-6, rtol=1e-5)
        # Weights stand in the same place, and are others the next time.
        weights.copy_(drawn(generator)[0])


def test_a_long_run_is_the_sum_of_its_pieces(generator: np.random.Generator) -> None:
    weights, values = drawn(generator)
    cut = [[Run(2, slice(first, first + 3)) for first in range(0, CODES.shape[1], 3)]] * len(CODES)
    found = SegmentParts(weights, cut, width=WIDTH).of(values)
    torch.testing.assert_close(found[2], weights @ values)
    assert not found[[0, 1, 3, 4]].any()


def test_a_room_that_is_lent_is_where_parts_stand(generator: np.random.Generator) -> None:
    weights, values = drawn(generator)
    room = torch.full((5 * weights.shape[:3].numel() * WIDTH + 7,), 9.0)
    found = SegmentParts(weights, runs_of(CODES), width=WIDTH, room=room).of(values)
    assert found.data_ptr() == room.data_ptr()
    torch.testing.assert_close(found, slowly(weights, values), atol=2e-6, rtol=1e-5)
    assert (room[-7:] == 9.0).all()


def test_no_product_is_taken_for_the_longest_segment_of_a_known_whole(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, values = drawn(generator)
    widths: list[int] = []
    take = torch.baddbmm

    def counted(into: Tensor, own: Tensor, *arguments: Tensor, **options: object) -> Tensor:
        widths.append(own.shape[2])
        return take(into, own, *arguments, **options)  # type: ignore[call-overload, no-any-return]

    parts = SegmentParts(weights, runs_of(CODES), width=WIDTH, whole=True)
    monkeypatch.setattr(torch, "baddbmm", counted)
    parts.of(values, weights @ values, torch.ones(weights.shape[:3]))
    of_the_first_two, of_the_padded = [1, 3, 1, 1, 1], [1, 2, 1, 5, 1]
    assert widths == [*of_the_first_two, *of_the_padded]


def test_a_short_segment_is_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_of(CODES)
    assert [longest_segment(own, CODES.shape[1]) for own in runs] == [2, 2, None, 0]
    monkeypatch.setattr(module, "_WORTH_LEAVING", 6)
    assert [longest_segment(own, CODES.shape[1]) for own in runs] == [None, None, None, 0]
