"""Sums of rows stand for the rows: the same means, whatever waits for what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.reading.capture.accumulators import Tallies, mean_of, tally
from foretell.reading.capture.recording import Pass, Shelf

LAYERS = (0, 2, 5)
N_ROWS = 7


def a_pass() -> Pass:
    """Two samples; the second has two rows fewer."""
    columns = torch.arange(N_ROWS).repeat(2, 1)
    columns[1, -2:] = -1
    bins = torch.zeros(2, 4, N_ROWS)
    for sample, row in np.ndindex(2, N_ROWS):
        if columns[sample, row] >= 0:
            bins[sample, int(np.ceil(np.log2(row + 1))), row] = 1
    return Pass(start=0, width=N_ROWS, columns=columns, bins=bins)


def rows_of(generator: np.random.Generator) -> dict[int, torch.Tensor]:
    shape = (2, 3, N_ROWS, 5)
    return {layer: torch.from_numpy(generator.random(shape, dtype=np.float32)) for layer in LAYERS}


@pytest.mark.parametrize("most_bytes", [0, 10**6])
@pytest.mark.parametrize("n_tokens", [None, 1, 2, 4])
def test_means_are_those_of_the_rows(most_bytes: int, n_tokens: int | None, generator: np.random.Generator) -> None:
    current, rows = a_pass(), rows_of(generator)
    share = torch.from_numpy(generator.random((2, N_ROWS, 5), dtype=np.float32))
    share[:, :, 4] = 0
    tallies = Tallies(Shelf(), most_bytes=most_bytes)
    for layer, mass in rows.items():
        tallies.add(current, layer, {"mass": mass}, share)
    tallies.settle()
    assert len(current.tallies["mass"]) == (len(LAYERS) if most_bytes == 0 else 1)
    for quantity in ("mass", "lift"):
        found = mean_of(current.tallies[quantity], LAYERS, 3, n_tokens)
        assert found is not None
        for place, layer in enumerate(LAYERS):
            for sample, n_rows in enumerate((N_ROWS, N_ROWS - 2)):
                values = rows[layer][sample, :, :n_rows].double().numpy()
                if quantity == "lift":
                    own = share[sample, :n_rows].double().numpy()
                    values = np.divide(values, own, out=np.full_like(values, np.nan), where=own > 0)
                expected = values[:, : n_tokens or n_rows].mean(axis=1)
                np.testing.assert_allclose(found[sample, place], expected, rtol=1e-5)


def test_layers_with_fewer_heads_and_layers_without_a_tally_are_nan() -> None:
    current = a_pass()
    share = torch.ones(2, N_ROWS, 5)
    tallies = Tallies(Shelf(), most_bytes=10**6)
    tallies.add(current, 0, {"mass": torch.ones(2, 3, N_ROWS, 5)}, share)
    tallies.add(current, 2, {"mass": torch.ones(2, 2, N_ROWS, 5)}, share)
    tallies.settle()
    found = mean_of(current.tallies["mass"], (0, 1, 2), 3)
    assert found is not None
    assert np.array_equal(np.isfinite(found).all(axis=(0, 3)), [[True] * 3, [False] * 3, [True, True, False]])
    assert mean_of([], (0, 1), 3) is None


def test_forgotten_rows_are_in_no_sum() -> None:
    current = a_pass()
    tallies = Tallies(Shelf(), most_bytes=10**6)
    tallies.add(current, 0, {"mass": torch.ones(2, 3, N_ROWS, 5)}, torch.ones(2, N_ROWS, 5))
    tallies.clear()
    tallies.settle()
    assert not current.tallies


def test_what_is_not_a_number_counts_for_nothing() -> None:
    values = torch.tensor([[[[[1.0], [2.0], [torch.nan], [9.0]]]]])
    total, number = tally(values, torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]]))
    assert total.ravel().tolist() == [1.0, 2.0, 9.0]
    assert number.ravel().tolist() == [1.0, 1.0, 1.0]
