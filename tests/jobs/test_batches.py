"""Planned batches: everything once, within the budget, what shares a prompt together."""

import numpy as np
import pytest

from foretell.jobs.batches import planned_parts


@pytest.mark.parametrize("budget", [1, 7, 40, 10_000])
def test_everything_is_planned_once_within_the_budget(budget: int, generator: np.random.Generator) -> None:
    lengths = sorted(generator.integers(1, 20, size=60).tolist(), reverse=True)
    prompts = generator.integers(0, 25, size=60).tolist()
    parts = planned_parts(range(60), prompts, lengths, budget=budget)
    assert [part.name for part in parts] == [f"part-{number:05d}" for number in range(len(parts))]
    assert sorted(item for part in parts for item in part.items) == list(range(60))
    for part in parts:
        assert len(part.items) * max(lengths[item] for item in part.items) <= budget or len(part.items) == 1
    shared = [prompt for prompt in set(prompts) if prompts.count(prompt) > 1]
    of_part = [{prompts[item] for item in part.items} for part in parts]
    assert all(len(found) == 1 for found in of_part if found & set(shared))
    assert len(parts) == 60 or budget > 1


def test_nothing_is_planned_of_nothing() -> None:
    assert planned_parts([], [], [], budget=10) == ()
