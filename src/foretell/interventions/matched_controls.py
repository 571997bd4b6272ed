"""What an intervention is compared with: the same done to other heads of the layer, or along random directions.

A control of a head is another head of the same layer, then of the nearest layers; of several heads, as many from the
same layers. A control of a direction changes every state by as much, along a random unit vector. No control is itself
under test.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from foretell.directions.random_directions import random_vectors
from foretell.interventions.changing.intervention import DirectionIntervention, Head, HeadIntervention, Intervention
from foretell.stats.folds import derived_seed

__all__ = ["matched_controls"]

_DRAWS = 20
"""Attempts per control to draw several heads that were not drawn before."""


def matched_controls(
    intervention: Intervention,
    n_controls: int,
    *,
    n_heads: Mapping[int, int],
    excluded: Collection[Head] = (),
    seed: int = 0,
) -> list[Intervention]:
    """Return controls of an intervention, as many as there are up to `n_controls`.

    Args:
        intervention: What is tested.
        n_controls: Most controls.
        n_heads: Heads that can be isolated, by layer.
        excluded: Heads that are no controls.
        seed: Random seed.

    Example:
        >>> found = matched_controls(HeadIntervention(((1, 0),)), 3, n_heads={0: 2, 1: 3, 2: 2}, excluded=[(1, 0)])
        >>> sorted(one.heads[0][0] for one in found)[-2:]
        [1, 1]
    """
    generator = np.random.default_rng(derived_seed(seed, "controls", intervention.name))
    if isinstance(intervention, DirectionIntervention):
        drawn = random_vectors(n_controls, len(intervention.read), seed=int(generator.integers(2**31)))
        return [replace(intervention, written=vector) for vector in drawn]
    others = [(layer, head) for layer, n in n_heads.items() for head in range(n) if (layer, head) not in excluded]
    pools = {layer: _nearest(others, layer, n_controls, generator) for layer, _ in intervention.heads}
    if len(intervention.heads) == 1:
        return [replace(intervention, heads=(one,)) for one in pools[intervention.heads[0][0]]]
    sets: dict[tuple[Head, ...], None] = {}
    for _ in range(_DRAWS * n_controls):
        if len(sets) == n_controls:
            break
        one = _drawn(intervention, pools, generator)
        if one is not None:
            sets.setdefault(one)
    return [replace(intervention, heads=one) for one in sets]


def _nearest(others: Sequence[Head], layer: int, most: int, generator: np.random.Generator) -> list[Head]:
    """Return heads in random order within a layer, those of the nearest layers first."""
    shuffled = [others[place] for place in generator.permutation(len(others))]
    return sorted(shuffled, key=lambda one: abs(one[0] - layer))[:most]


def _drawn(
    intervention: HeadIntervention, pools: Mapping[int, Sequence[Head]], generator: np.random.Generator
) -> tuple[Head, ...] | None:
    """Return one head of the pool for each head of the intervention; None where none is left for one of them."""
    chosen: set[Head] = set()
    for layer, _ in intervention.heads:
        left = [one for one in pools[layer] if one not in chosen]
        if not left:
            return None
        same = [one for one in left if one[0] == layer] or left
        chosen.add(same[int(generator.integers(len(same)))])
    return tuple(sorted(chosen))
