"""Where readings are kept: side by side, unchanged, and never in the way of later passes."""

from __future__ import annotations

import torch

from foretell.reading.capture.recording import Shelf


def test_a_shelf_keeps_many_small_tensors_in_few_places() -> None:
    shelf = Shelf()
    given = [torch.full((3, 4, 5), float(number)) for number in range(2000)]
    kept = [shelf.keep(one) for one in given]
    assert all(torch.equal(one, other) for one, other in zip(given, kept, strict=True))
    assert len({one.untyped_storage().data_ptr() for one in kept}) == 1
    given[0].zero_().add_(7)
    assert (kept[0] == 0).all()


def test_a_shelf_outlives_the_mode_it_was_made_in() -> None:
    shelf = Shelf()
    with torch.inference_mode():
        first = shelf.keep(torch.ones(3))
    second = shelf.keep(torch.zeros(2))
    assert first.tolist() == [1.0, 1.0, 1.0]
    assert second.tolist() == [0.0, 0.0]


def test_a_shelf_leaves_large_and_other_tensors_alone() -> None:
    shelf = Shelf()
    for values in (torch.zeros(2**20 + 1), torch.zeros(3, dtype=torch.float64)):
        assert shelf.keep(values) is values


def test_places_on_a_shelf_do_not_overlap() -> None:
    shelf = Shelf()
    shapes = [(3, 5), (1,), (2**19,), (2**19,), (7, 2)]
    places = [shelf.place(shape).fill_(float(number)) for number, shape in enumerate(shapes)]
    assert [tuple(one.shape) for one in places] == shapes
    assert all((one == number).all() for number, one in enumerate(places))
    assert shelf.place((2**20 + 1,)).shape == (2**20 + 1,)


def test_a_cleared_shelf_uses_its_room_again() -> None:
    shelf = Shelf()
    first = shelf.keep(torch.ones(3))
    shelf.clear()
    second = shelf.keep(torch.zeros(3))
    assert first.data_ptr() == second.data_ptr()
    assert second.tolist() == [0.0, 0.0, 0.0]
