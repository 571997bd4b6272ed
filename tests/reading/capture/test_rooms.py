"""Room is lent to one at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch

from foretell.reading.capture.rooms import borrowed, returned

CPU = torch.device("cpu")


def test_returned_room_is_lent_again_but_never_twice() -> None:
    first, second = borrowed(1237, CPU), borrowed(1237, CPU)
    assert first.data_ptr() != second.data_ptr()
    returned(first)
    again, another = borrowed(1237, CPU), borrowed(1237, CPU)
    assert again.data_ptr() == first.data_ptr()
    assert another.data_ptr() not in {first.data_ptr(), second.data_ptr()}
    assert borrowed(1238, CPU).shape == (1238,)


def test_room_made_in_inference_mode_outlives_it() -> None:
    with torch.inference_mode():
        room = borrowed(1239, CPU)
    room.fill_(1.0)
    assert not room.is_inference()


def test_threads_never_hold_the_same_room() -> None:
    def use(number: int) -> bool:
        for _ in range(200):
            room = borrowed(1241, CPU)
            room.fill_(number)
            if not bool((room == number).all()):
                return False
            returned(room)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(8)))


def test_no_more_than_a_few_rooms_of_a_size_are_kept() -> None:
    rooms = [borrowed(1249, CPU) for _ in range(20)]
    addresses = {room.data_ptr() for room in rooms}
    for room in rooms:
        returned(room)
    kept = {id(room) for room in rooms}
    lent = [borrowed(1249, CPU) for _ in range(20)]
    assert len(addresses) == 20
    assert 1 <= sum(id(room) in kept for room in lent) <= 4
