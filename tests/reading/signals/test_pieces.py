"""Pieces cover every row of every head once and stay within their bound."""

from __future__ import annotations

import itertools

import pytest
import torch

from foretell.reading.signals.pieces import CACHE_BYTES, Pieces

CPU = torch.device("cpu")
SHAPES = ((1, 1, 1, 1), (3, 2, 3, 7), (5, 3, 1, 64), (2, 1, 8, 130))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most_bytes", [1, 700, 5000, 10**5, 10**9])
@pytest.mark.parametrize("least_width", [0, 300])
def test_every_row_is_in_one_piece(shape: tuple[int, int, int, int], most_bytes: int, least_width: int) -> None:
    n_keys = 40
    pieces = Pieces(most_bytes=most_bytes, n_rooms=2).of(shape, n_keys, CPU, least_width=least_width)
    times = torch.zeros(shape)
    for piece in pieces:
        times[piece.place] += 1
        assert tuple(times[piece.place].shape) == piece.shape[:4]
        scores, weights = piece.rooms
        assert scores.shape == weights.shape
        assert scores.numel() == torch.Size(piece.shape).numel()
        assert scores.data_ptr() != weights.data_ptr()
        n_bytes = 4 * torch.Size(piece.shape[:4]).numel() * max(n_keys, least_width)
        # One row of the heads that share keys is the least there is.
        assert n_bytes <= max(min(most_bytes, CACHE_BYTES), 4 * shape[2] * max(n_keys, least_width))
    assert bool((times == 1).all())
    first = torch.zeros(shape[0])
    for piece in pieces:
        first[piece.samples] += piece.is_first
    assert bool((first == 1).all())


@pytest.mark.parametrize("most_bytes", [1, 700, 1000, 2500, 10**9])
@pytest.mark.parametrize("n_together", [1, 2, 3])
def test_samples_of_several_layers_are_whole_layers_or_part_of_one(n_together: int, most_bytes: int) -> None:
    shape = (6, 1, 2, 1)
    seen: list[int] = []
    for piece in Pieces(most_bytes=most_bytes, n_rooms=1).of(shape, 50, CPU, n_together=n_together):
        samples = range(6)[piece.samples]
        layers = {sample // n_together for sample in samples}
        assert len(layers) == 1 or len(samples) == n_together * len(layers)
        # What all layers have in common comes again for each.
        common = torch.arange(n_together).view(-1, 1, 1, 1, 1)
        expected = [sample % n_together for sample in samples] if n_together > 1 else [0]
        assert piece.of(common).flatten().tolist() == expected
        seen += samples
    assert seen == list(range(6))


def test_a_piece_knows_its_part_of_what_all_heads_or_samples_share() -> None:
    shape = (2, 3, 2, 4)
    whole = torch.arange(48).view(shape)
    for piece, dims in itertools.product(
        Pieces(most_bytes=1, n_rooms=1).of(shape, 5, CPU), itertools.product([True, False], repeat=2)
    ):
        shared = whole
        for axis, is_shared in enumerate(dims):
            shared = shared.narrow(axis, 0, 1) if is_shared else shared
        expected = shared.expand(shape)[piece.place]
        assert torch.equal(piece.of(shared).expand(expected.shape), expected)


def test_closing_gives_room_to_the_next() -> None:
    first = Pieces(most_bytes=1 << 16, n_rooms=1)
    address = first.of((1, 1, 1, 1), 8, CPU)[0].rooms[0].data_ptr()
    first.close()
    second = Pieces(most_bytes=1 << 16, n_rooms=1)
    assert second.of((1, 1, 1, 1), 8, CPU)[0].rooms[0].data_ptr() == address
    # Whoever is used once more after that has room of its own.
    assert first.of((1, 1, 1, 1), 8, CPU)[0].rooms[0].data_ptr() != address
