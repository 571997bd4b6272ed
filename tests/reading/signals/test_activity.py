"""Activity of hidden rows against its definition in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.errors import InputError
from foretell.reading.signals.activity import Projection
from tests.reading.capture.test_listen import made_up_direction

N_LAYERS, WIDTH, SHAPE = 3, 8, (2, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activity_is_the_calibrated_projection(dtype: torch.dtype, generator: np.random.Generator) -> None:
    directions = [made_up_direction(generator, N_LAYERS, WIDTH) for _ in range(2)]
    projection = Projection(directions, n_layers=N_LAYERS, width=WIDTH)
    hidden = {
        layer: torch.from_numpy(generator.normal(size=(*SHAPE, WIDTH)).astype(np.float32)).to(dtype) for layer in (2, 0)
    }
    projected = torch.full((N_LAYERS, *SHAPE, 2), torch.nan)
    for layer, rows in hidden.items():
        projected[layer] = projection.project(layer, rows)
    found = projection.activity(projected)
    assert found[:, 1].isnan().all()
    for layer, rows in hidden.items():
        for place, one in enumerate(directions):
            raw = rows.double().numpy() @ one.vectors[layer].astype(np.float64)
            expected = (raw - one.mean[layer]) / one.standard_deviation[layer]
            np.testing.assert_allclose(found[:, layer, :, place].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_activity_without_deviation_is_undefined(generator: np.random.Generator) -> None:
    direction = made_up_direction(generator, N_LAYERS, WIDTH)
    direction.standard_deviation[:2] = 0, np.nan
    projection = Projection([direction], n_layers=N_LAYERS, width=WIDTH)
    rows = torch.ones(*SHAPE, WIDTH)
    found = projection.activity(torch.stack([projection.project(layer, rows) for layer in range(N_LAYERS)]))
    assert [bool(found[:, layer].isnan().all()) for layer in range(N_LAYERS)] == [True, True, False]


def test_a_direction_of_another_width_is_refused(generator: np.random.Generator) -> None:
    direction = made_up_direction(generator, N_LAYERS, WIDTH)
    with pytest.raises(InputError, match=r"vectors of \(3, 8\) do not fit a model of \(3, 9\)"):
        Projection([direction], n_layers=N_LAYERS, width=9)
