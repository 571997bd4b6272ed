"""What waits in a stack comes out as it went in, by kind, and neither the model's memory nor a later push is in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.reading.capture.stacks import Stacks


def drawn(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(generator.normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_pushed_is_popped_by_kind_and_shape(dtype: torch.dtype, generator: np.random.Generator) -> None:
    stacks: Stacks[int] = Stacks(most_bytes=1 << 20)
    pairs = [(drawn(generator, 2, 3).to(dtype), drawn(generator, 3, 4).to(dtype).T) for _ in range(5)]
    for place, pair in enumerate(pairs):
        assert stacks.push("odd" if place % 2 else "even", place, pair)
    other = drawn(generator, 4, 4)
    assert stacks.push("even", 5, (other, other))
    popped = {tuple(items): [one.clone() for one in tensors] for items, tensors in stacks.pop()}
    assert list(popped) == [(0, 2, 4), (1, 3), (5,)]
    for items, tensors in popped.items():
        given = [pairs[item] if item < 5 else (other, other) for item in items]
        for tensor, expected in zip(tensors, zip(*given, strict=True), strict=True):
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, torch.stack([one.float() for one in expected]))
    assert list(stacks.pop()) == []


def test_what_was_pushed_may_change_afterwards() -> None:
    stacks: Stacks[str] = Stacks(most_bytes=100)
    values = torch.ones(3)
    stacks.push("kind", "first", (values,))
    values.zero_()
    ((_, (found,)),) = stacks.pop()
    assert found.tolist() == [[1, 1, 1]]


def test_a_bound_holds_for_all_kinds_together_but_not_for_the_first() -> None:
    stacks: Stacks[int] = Stacks(most_bytes=40)
    assert stacks.push("large", 0, (torch.ones(100),))
    assert not stacks.push("small", 1, (torch.ones(1),))
    stacks.clear()
    assert stacks.push("small", 2, (torch.ones(6),))
    assert stacks.push("another", 3, (torch.ones(4),))
    assert not stacks.push("small", 4, (torch.ones(6),))
    assert [items for items, _ in stacks.pop()] == [[2], [3]]
    assert stacks.push("small", 4, (torch.ones(6),))


def test_stacks_in_use_at_the_same_time_do_not_share_room() -> None:
    several: list[Stacks[int]] = [Stacks(most_bytes=4000) for _ in range(3)]
    for _ in range(2):
        for number, stacks in enumerate(several):
            stacks.push("kind", number, (torch.full((5,), float(number)),))
        for number, stacks in enumerate(several):
            ((items, (found,)),) = stacks.pop()
            assert (items, found.tolist()) == ([number], [[number] * 5])


def test_room_of_inference_mode_can_be_used_outside_of_it() -> None:
    stacks: Stacks[int] = Stacks(most_bytes=400)
    with torch.inference_mode():
        stacks.push("kind", 0, (torch.ones(2),))
    stacks.push("kind", 1, (torch.ones(2),))
    ((items, (found,)),) = stacks.pop()
    assert items == [0, 1]
    assert not found.is_inference()
