"""Segments of keys in the forms that products need."""

from __future__ import annotations

import torch

from foretell.reading.capture.recording import Shelf
from foretell.reading.signals.indicators import Indicators

CODES = torch.tensor([[3, 0, 0, 1, 3, 4, 4], [-1, -1, 3, 2, 2, 4, 4]])
CPU = torch.device("cpu")


def test_every_key_is_in_its_segment_and_padding_in_none() -> None:
    inside = Indicators(CODES, Shelf()).inside(7, CPU)
    assert torch.equal(inside.sum(1), (CODES >= 0).float())
    assert all(torch.equal(inside[:, code], torch.eq(CODES, code).float()) for code in range(5))


def test_a_windowed_cache_holds_the_last_keys_and_a_fixed_one_has_room_left() -> None:
    indicators = Indicators(CODES, Shelf())
    assert torch.equal(indicators.inside(3, CPU), indicators.inside(7, CPU)[:, :, -3:])
    assert torch.equal(indicators.inside(9, CPU)[:, :, :7], indicators.inside(7, CPU))
    assert not indicators.inside(9, CPU)[:, :, 7:].any()


def test_a_row_of_ones_comes_with_them_for_all_joined_questions() -> None:
    indicators = Indicators(CODES, Shelf())
    counted = indicators.counted(7, 6, CPU)
    assert counted.shape == (6, 6, 7)
    assert (counted[:, 5] == 1).all()
    assert torch.equal(counted[:, :5], indicators.inside(7, CPU).repeat(3, 1, 1))


def test_runs_are_neighbouring_keys_of_one_segment() -> None:
    first, second = Indicators(CODES, Shelf()).runs(7)
    assert [(run.segment, run.keys.start, run.keys.stop) for run in first] == [
        (3, 0, 1),
        (0, 1, 3),
        (1, 3, 4),
        (3, 4, 5),
        (4, 5, 7),
    ]
    assert [run.segment for run in second] == [3, 2, 4]


def test_long_runs_are_cut() -> None:
    (runs,) = Indicators(torch.zeros(1, 19200, dtype=torch.long), Shelf()).runs(19200)
    assert [(run.keys.start, run.keys.stop) for run in runs] == [(0, 8192), (8192, 16384), (16384, 19200)]
