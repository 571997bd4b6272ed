"""Names of weights: another one for other weights, the same one however they were loaded."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import dispatch_model  # type: ignore[import-untyped]
from torch import nn

from foretell.errors import NotReadableError
from foretell.reading.models import fingerprints
from foretell.reading.models.fingerprints import weights_differ, weights_fingerprint
from tests.reading.tiny import tiny_model


class Bare(nn.Module):
    """Two weights of one shape, one of integers, a buffer that is saved and one that is not."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.first = nn.Parameter(values.clone())
        self.second = nn.Parameter(values.flip(0) * 3)
        self.packed = nn.Parameter(torch.arange(12, dtype=torch.uint8), requires_grad=False)
        self.register_buffer("correction", values[0].clone())
        self.register_buffer("made", values[1].clone(), persistent=False)


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(3))


def swapped(parameter: torch.Tensor, one: int, other: int) -> None:
    flat = parameter.data.view(-1)
    flat[[one, other]] = flat[[other, one]]


def test_any_two_values_that_change_places_change_the_name(values: torch.Tensor) -> None:
    names = {weights_fingerprint(Bare(values))}
    pairs = list(itertools.combinations(range(values.numel()), 2))
    for pair in pairs:
        model = Bare(values)
        swapped(model.first, *pair)
        names.add(weights_fingerprint(model))
    assert len(names) == 1 + len(pairs)


def test_two_columns_that_change_places_change_the_name() -> None:
    """Also where both hold the same numbers in another order, and where few places of many differ."""
    weight = torch.tensor([[1.0, 2.0, 5.0], [2.0, 1.0, 5.0]])
    narrow, exchanged = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    narrow.weight.data, exchanged.weight.data = weight, weight[:, [1, 0, 2]]
    assert weights_fingerprint(narrow) != weights_fingerprint(exchanged)
    wide, exchanged = nn.Linear(700, 400, bias=False), nn.Linear(700, 400, bias=False)
    order = torch.arange(700)
    order[[5, 6]] = order[[6, 5]]
    exchanged.weight.data = wide.weight.data[:, order].clone()
    assert weights_fingerprint(wide) != weights_fingerprint(exchanged)


def test_every_place_has_a_factor_of_its_own() -> None:
    """So that a difference of 16 bits times a difference of factors is never 0 modulo 2^64."""
    factors = fingerprints._factors(torch.device("cpu")).numpy()
    assert len(np.unique(factors)) == len(factors)
    assert factors.min() > 0
    assert int(factors.max()) * 0xFFFF < 2**63
    assert (factors % 2 == 1).all()


def test_values_far_apart_and_in_other_weights_count_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "_CHUNK", 5)
    weight = torch.arange(24.0).view(6, 4)
    plain, far, moved = Bare(weight), Bare(weight), Bare(weight)
    swapped(far.first, 1, 21)
    moved.first.data, moved.second.data = moved.second.data, moved.first.data
    rolled = Bare(weight)
    rolled.first.data = weight.view(-1).roll(5).view(6, 4)
    assert len({weights_fingerprint(one) for one in (plain, far, moved, rolled)}) == 4


def test_what_is_saved_counts_and_what_is_made_does_not(values: torch.Tensor) -> None:
    names = [weights_fingerprint(Bare(values)) for _ in range(2)]
    assert names[0] == names[1]
    for change in ("packed", "correction", "made"):
        model = Bare(values)
        getattr(model, change).data[2] += 1
        assert (weights_fingerprint(model) == names[0]) == (change == "made"), change


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_oss"])
def test_float32_and_bfloat16_of_one_checkpoint_have_one_name(kind: str) -> None:
    exact, rounded, widened = (tiny_model(kind).model for _ in range(3))
    rounded.to(torch.bfloat16)  # type: ignore[arg-type]
    widened.to(torch.bfloat16).to(torch.float32)  # type: ignore[arg-type]
    assert weights_fingerprint(exact) == weights_fingerprint(rounded) == weights_fingerprint(widened)
    assert weights_differ(rounded, weights_fingerprint(exact)) is None


def test_float16_is_the_same_where_that_can_be_known_and_else_the_reason_is_said() -> None:
    exact, half, brain = (tiny_model().model for _ in range(3))
    half.to(torch.float16)  # type: ignore[arg-type]
    brain.to(torch.bfloat16)  # type: ignore[arg-type]
    assert weights_fingerprint(half).startswith("v2-float16:")
    assert weights_differ(half, weights_fingerprint(half)) is None
    assert weights_differ(exact, weights_fingerprint(half)) is None
    assert "are loaded in float16" in str(weights_differ(half, weights_fingerprint(exact)))
    assert "are loaded in bfloat16" in str(weights_differ(brain, weights_fingerprint(half)))
    with torch.no_grad():
        next(exact.parameters())[3, 3] += 1.0
    assert "are others" in str(weights_differ(exact, weights_fingerprint(half)))


def test_a_name_of_an_older_version_differs_from_other_weights() -> None:
    reason = weights_differ(tiny_model().model, "854b0902e780217e")
    assert reason is not None
    assert "older version" in reason
    assert "are others" not in reason


def test_weights_on_disk_are_named_as_if_they_were_here(tmp_path: Path) -> None:
    whole, spread = tiny_model().model, tiny_model().model
    places = {"model.rotary_emb": "cpu", **dict.fromkeys(("model.embed_tokens", "model.layers", "model.norm"), "disk")}
    dispatch_model(spread, {**places, "lm_head": "disk"}, main_device="cpu", offload_dir=str(tmp_path))
    assert next(spread.parameters()).is_meta
    assert weights_fingerprint(spread) == weights_fingerprint(whole)


def test_a_model_without_weights_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    with pytest.raises(NotReadableError, match=r"Linear: bias has no values .* load its weights"):
        weights_fingerprint(model)


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert [name for name, _ in fingerprints._weights(model)] == ["0.weight"]
