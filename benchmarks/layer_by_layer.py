"""Time several ways of running a model, interleaved layer by layer, so that slow periods of a machine affect all alike.

A pass over 2,048 tokens takes seconds, and the speed of a shared machine changes by a tenth within that time. Ratios of
whole passes then scatter by several percentage points, more than listening costs. Here every way has its own copy of
the model's modules (with the same weights) and its own stack, and yields wherever a layer begins. All ways run one
layer each, in random order, before any runs the next; a way's time is the sum of its turns. The first way of a layer
brings the layer's weights into the processor's cache for the others; the random order spreads this evenly.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from greenlet import getcurrent, greenlet
from torch import nn

from foretell.reading.models.load import Model

__all__ = ["in_turn", "twin"]


def twin(model: Model) -> Model:
    """Return the model with its own modules and configuration, which share the weights."""
    network = model.model
    shared = {id(one): one for one in itertools.chain(network.parameters(), network.buffers())}
    return dataclasses.replace(model, model=copy.deepcopy(network, shared))


def in_turn(
    runs: Mapping[str, Callable[[], object]],
    stops: Sequence[nn.Module],
    *,
    go_on: Callable[[int], bool],
    now: Callable[[], float],
    seed: int = 0,
) -> dict[str, list[float]]:
    """Return the seconds of every way in every round, after a warm-up round.

    Args:
        runs: the ways by name, each through a twin of its own.
        stops: modules of all twins before which their way yields.
        go_on: whether to begin another round, given how many were counted.
        now: the clock.
        seed: of the orders.
    """
    hub = getcurrent()
    generator = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {way: [] for way in runs}

    def hand_over(*_: object) -> None:
        hub.switch()

    handles = [stop.register_forward_pre_hook(hand_over) for stop in stops]
    try:
        # If every way entered and left this mode itself, it would be restored in the wrong order.
        with torch.inference_mode():
            one_round(runs, generator, now)
            while go_on(len(next(iter(seconds.values())))):
                for way, taken in one_round(runs, generator, now).items():
                    seconds[way].append(taken)
    finally:
        for handle in handles:
            handle.remove()
    return seconds


def one_round(
    runs: Mapping[str, Callable[[], object]], generator: np.random.Generator, now: Callable[[], float]
) -> dict[str, float]:
    """Run every way once, a turn at a time, and return the seconds of each."""
    taken = dict.fromkeys(runs, 0.0)
    going = {way: greenlet(run) for way, run in runs.items()}
    while going:
        for way in generator.permutation(sorted(going)):
            started = now()
            going[way].switch()
            taken[way] += now() - started
            if going[way].dead:
                del going[way]
    return taken
