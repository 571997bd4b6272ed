"""Activity of hidden rows against its definition in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.errors import InputError
from foretell.reading.capture.recording import Pass, Shelf
from foretell.reading.signals.activity import Projecting
from tests.reading.capture.test_listen import made_up_direction

N_LAYERS, WIDTH, SHAPE = 3, 8, (2, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activity_is_the_calibrated_projection(dtype: torch.dtype, generator: np.random.Generator) -> None:
    directions = [made_up_direction(generator, N_LAYERS, WIDTH) for _ in range(2)]
    projecting = Projecting(directions, n_layers=N_LAYERS, width=WIDTH, shelf=Shelf())
    current = Pass(start=0, width=5, columns=torch.arange(5).repeat(2, 1))
    hidden = {
        layer: torch.from_numpy(generator.normal(size=(*SHAPE, WIDTH)).astype(np.float32)).to(dtype) for layer in (0, 2)
    }
    for layer, rows in hidden.items():
        projecting.add(current, layer, rows)
    assert not current.activities
    projecting.settle()
    for layer, rows in hidden.items():
        for place, one in enumerate(directions):
            raw = rows.double().numpy() @ one.vectors[layer].astype(np.float64)
            expected = (raw - one.mean[layer]) / one.standard_deviation[layer]
            np.testing.assert_allclose(current.activities[layer][..., place].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_what_was_forgotten_is_not_projected(generator: np.random.Generator) -> None:
    projecting = Projecting(
        [made_up_direction(generator, N_LAYERS, WIDTH)], n_layers=N_LAYERS, width=WIDTH, shelf=Shelf()
    )
    current = Pass(start=0, width=5, columns=torch.arange(5).repeat(2, 1))
    projecting.add(current, 0, torch.ones(*SHAPE, WIDTH))
    projecting.clear()
    projecting.settle()
    assert not current.activities


def test_a_direction_of_another_width_is_refused(generator: np.random.Generator) -> None:
    direction = made_up_direction(generator, N_LAYERS, WIDTH)
    with pytest.raises(InputError, match=r"vectors of \(3, 8\) do not fit a model of \(3, 9\)"):
        Projecting([direction], n_layers=N_LAYERS, width=9, shelf=Shelf())
