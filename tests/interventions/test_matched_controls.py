"""Controls: other heads of the nearest layers, sets of as many, and random directions of one length."""

from __future__ import annotations

import numpy as np
import pytest

from foretell.interventions.changing.intervention import DirectionIntervention, Head, HeadIntervention
from foretell.interventions.matched_controls import matched_controls

N_HEADS = dict.fromkeys(range(6), 8)


def heads_of(intervention: HeadIntervention, n: int, *, seed: int = 0) -> list[tuple[Head, ...]]:
    found = matched_controls(intervention, n, n_heads=N_HEADS, excluded=[(3, 1), (3, 2), (2, 0)], seed=seed)
    assert all(isinstance(one, HeadIntervention) and one.segment == intervention.segment for one in found)
    return [one.heads for one in found if isinstance(one, HeadIntervention)]


@pytest.mark.parametrize("segment", [None, "query"])
def test_controls_of_a_head_are_of_its_layer_then_of_the_nearest_ones(segment: str | None) -> None:
    found = heads_of(HeadIntervention(((3, 1),), segment), 20)
    assert len(set(found)) == len(found) == 20
    assert [one[0][0] for one in found[:6]] == [3] * 6
    assert {one[0][0] for one in found[6:]} == {2, 4}
    assert not {((3, 1),), ((3, 2),), ((2, 0),)} & set(found)


def test_a_model_with_few_heads_has_fewer_controls() -> None:
    found = matched_controls(HeadIntervention(((0, 0),)), 20, n_heads={0: 4}, excluded=[(0, 0), (0, 1)])
    assert {one.heads for one in found if isinstance(one, HeadIntervention)} == {((0, 2),), ((0, 3),)}
    assert matched_controls(HeadIntervention(((0, 0),)), 20, n_heads={0: 1}, excluded=[(0, 0)]) == []


def test_controls_of_several_heads_have_as_many_of_the_same_layers() -> None:
    found = heads_of(HeadIntervention(((2, 0), (3, 1), (3, 2))), 20)
    assert len(set(found)) == 20
    for one in found:
        assert sorted(layer for layer, _ in one) == [2, 3, 3]
        assert len(set(one)) == 3


def test_there_may_be_fewer_sets_than_asked_for() -> None:
    both = HeadIntervention(((0, 0), (0, 1)))
    found = matched_controls(both, 20, n_heads={0: 4}, excluded=[(0, 0), (0, 1)])
    assert [one.heads for one in found if isinstance(one, HeadIntervention)] == [((0, 2), (0, 3))]
    assert matched_controls(both, 20, n_heads={0: 3}, excluded=[(0, 0), (0, 1)]) == []


def test_the_seed_fixes_the_controls() -> None:
    one = HeadIntervention(((3, 1),))
    assert heads_of(one, 4) == heads_of(one, 4)
    assert heads_of(one, 4) != heads_of(one, 4, seed=1)


def test_controls_of_a_direction_are_random_unit_vectors_and_change_the_same_projection() -> None:
    vector = np.eye(16)[2]
    added = DirectionIntervention("x", 1, vector, vector, dose=2.0, length=0.7)
    found = matched_controls(added, 9, n_heads={}, seed=3)
    assert len(found) == 9
    for one in found:
        assert isinstance(one, DirectionIntervention)
        assert np.linalg.norm(one.written) == pytest.approx(1.0)
        assert abs(one.written @ vector) < 0.9
        assert (one.length, one.dose, one.layer) == (0.7, 2.0, 1)
        np.testing.assert_array_equal(one.read, vector)
