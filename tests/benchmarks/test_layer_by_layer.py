"""Layers take turns, each way is charged for its own turns, and a twin is the same model on its own."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from foretell.reading.capture.listen import listen
from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.load import Model
from tests.reading.tiny import tiny_model

SOURCE = Path(__file__).parents[2] / "benchmarks" / "layer_by_layer.py"
N_LAYERS = 3


def loaded() -> Any:
    specification = importlib.util.spec_from_file_location("layer_by_layer", SOURCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


layer_by_layer = loaded()


class Clock:
    """A clock that stands still until somebody works."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.visits: list[tuple[str, int]] = []

    def now(self) -> float:
        return self.seconds

    def way(self, name: str, seconds: float) -> tuple[Callable[[], None], list[Any]]:
        """Return a run through layers that each take so long, and the layers."""
        layers = [nn.Identity() for _ in range(N_LAYERS)]

        def run() -> None:
            for number, layer in enumerate(layers):
                layer(torch.zeros(1))
                self.seconds += seconds
                self.visits.append((name, number))

        return run, layers


def timed(clock: Clock, speeds: dict[str, float], n_rounds: int, seed: int = 0) -> dict[str, list[float]]:
    ways = {name: clock.way(name, seconds) for name, seconds in speeds.items()}
    found: dict[str, list[float]] = layer_by_layer.in_turn(
        {name: run for name, (run, _) in ways.items()},
        [layer for _, layers in ways.values() for layer in layers],
        go_on=lambda n: n < n_rounds,
        now=clock.now,
        seed=seed,
    )
    for _, layers in ways.values():
        assert not any(layer._forward_pre_hooks for layer in layers)
    return found


def test_every_way_is_charged_for_its_own_layers() -> None:
    clock = Clock()
    found = timed(clock, {"bare": 1.0, "masses": 1.5}, 4)
    assert found == {"bare": [3.0] * 4, "masses": [4.5] * 4}
    # One round more than is counted warms up.
    assert clock.seconds == 5 * 7.5


def test_no_way_begins_a_layer_before_all_have_ended_the_one_before() -> None:
    clock = Clock()
    timed(clock, {"bare": 1.0, "masses": 1.0, "everything": 1.0}, 5)
    numbers = np.array([number for _, number in clock.visits]).reshape(6, N_LAYERS, 3)
    assert (numbers == np.arange(N_LAYERS)[:, None]).all()


def test_the_order_within_a_layer_changes_and_comes_back_with_its_seed() -> None:
    orders = []
    for seed in (0, 0, 1):
        clock = Clock()
        timed(clock, {"bare": 1.0, "masses": 1.0}, 30, seed)
        orders.append([name for name, _ in clock.visits])
    assert orders[0] == orders[1] != orders[2]
    assert 0.3 < np.mean(np.array(orders[0][::2]) == "bare") < 0.7


def test_ways_of_different_lengths_both_end() -> None:
    clock = Clock()
    short, layers = clock.way("short", 1.0)
    found = layer_by_layer.in_turn(
        {"short": short, "twice": lambda: (short(), short())}, layers, go_on=lambda n: n < 2, now=clock.now
    )
    assert found == {"short": [3.0] * 2, "twice": [6.0] * 2}


def test_hooks_are_gone_after_an_exception() -> None:
    layer = nn.Identity()

    def broken() -> None:
        layer(torch.zeros(1))
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        layer_by_layer.in_turn({"broken": broken}, [layer], go_on=lambda n: n < 1, now=lambda: 0.0)
    assert not layer._forward_pre_hooks


def test_a_twin_shares_weights_and_nothing_else() -> None:
    model = tiny_model("llama")
    twin = layer_by_layer.twin(model)
    for own, other in zip(model.model.parameters(), twin.model.parameters(), strict=True):
        assert own is other
    assert twin.model.config is not model.model.config
    assert not set(map(id, model.model.modules())) & set(map(id, twin.model.modules()))


def test_interleaved_models_record_what_each_records_alone() -> None:
    model = tiny_model("llama")
    twins = [layer_by_layer.twin(model) for _ in range(3)]
    token_ids = torch.arange(10, 34)[None]
    codes = np.repeat([[0, 1, 2, 3, 4]], 5, axis=1)[:, :24]
    codes.sort(axis=1)
    masses: list[np.ndarray] = []

    def read(one: Model) -> None:
        with listen(one, codes) as found:
            one.model(token_ids)
        masses.append(found.mass)

    runs: dict[str, Callable[[], object]] = {str(number): partial(read, one) for number, one in enumerate(twins)}
    runs["bare"] = lambda: twins[0].model(token_ids)
    del runs["0"]
    stops = [block for one in twins for block in decoder_blocks(one.model)]
    layer_by_layer.in_turn(runs, stops, go_on=lambda n: n < 2, now=lambda: 0.0)
    read(model)
    assert len(masses) == 7
    for one in masses:
        np.testing.assert_array_equal(one, masses[-1])
