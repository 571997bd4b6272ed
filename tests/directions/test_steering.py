"""Steering: a planted direction moves the odds, more with every dose; random ones of the same length do not."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from foretell.conversations.pairs import ContrastPair
from foretell.directions.direction import Direction
from foretell.directions.fit_and_judge import steer
from foretell.directions.steering import adding, steered_odds
from foretell.errors import InputError
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from tests.directions.overflow import overflowing_model
from tests.directions.test_direction import direction_for
from tests.reading.tiny import tiny_model

PAIRS = [
    ContrastPair(f"{index}", f"new {index % 2}", f"Question {index * 37}?", f"{word} so+", f"{word} so-")
    for index, word in enumerate(("It", "We say", "Maybe", "They", "All", "Some"))
]
DOSES = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)


@pytest.fixture(scope="module")
def planted() -> tuple[Model, Direction]:
    """A model that says "+" the more, and "-" the less, the farther its last state lies along a vector."""
    tiny = tiny_model("llama")
    generator = np.random.default_rng(11)
    vector = generator.normal(size=tiny.width)
    vector /= np.linalg.norm(vector)
    with torch.no_grad():
        head = tiny.model.lm_head.weight
        for sign, token in ((1.0, "+"), (-1.0, "-")):
            (token_id,) = tiny.tokenizer.encode(token, add_special_tokens=False)
            head[token_id] = torch.as_tensor(sign * vector, dtype=head.dtype)
    made = direction_for(tiny, generator, undefined=None)
    same = np.tile(vector.astype(np.float32), (tiny.n_layers, 1))
    return tiny, replace(made, vectors=same, standard_deviation=np.full(tiny.n_layers, 3.0))


def test_the_curve_of_a_planted_direction_is_monotone_and_has_its_control(planted: tuple[Model, Direction]) -> None:
    tiny, direction = planted
    curve = steer(tiny, direction, PAIRS, layers=[2], doses=DOSES, n_random=8, progress=False)
    own, control = (curve.filter(pl.col("kind") == kind).sort("dose") for kind in ("direction", "random"))
    assert own["dose"].to_list() == sorted((*DOSES, 0.0))
    assert (np.diff(own["shift"].to_numpy()) > 0.0).all()
    assert own.filter(pl.col("dose") == 0.0)["shift"][0] == 0.0
    assert own["shift_lower"][-1] > control["draw_upper"][-1]
    assert np.abs(control["shift"].to_numpy()).max() < 0.5 * own["shift"].to_numpy().max()
    directed = own.filter(pl.col("dose") > 0)
    assert (np.diff(directed["directed"].to_numpy()) > 0.0).all()
    assert directed["directed_lower"].to_numpy().min() > 0.0
    assert directed["directed_p"].to_list() == [pytest.approx(1 / 9)] * 3
    assert own["n_pairs"].unique().to_list() == [len(PAIRS)]
    assert control["n_draws"].unique().to_list() == [8]


def test_odds_are_those_of_the_model_with_the_vector_added_by_hand(planted: tuple[Model, Direction]) -> None:
    tiny, direction = planted
    found = steered_odds(tiny, direction, PAIRS, layers=[0, 2], doses=[2.0], n_random=0, progress=False)
    for index, pair in enumerate(PAIRS):
        odds = []
        for side in ("positive", "negative"):
            conversation, answer = pair.conversation(side)
            one = render(tiny, conversation, answer=answer)
            token_ids = torch.as_tensor(one.token_ids)[None]
            places = np.flatnonzero(one.segments == 4)
            extra = torch.as_tensor(2.0 / 2 * 3.0 * direction.vectors[0])  # shared by two layers

            def add(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
                moved = output.clone()
                moved[:, places[0] - 1 : places[-1] + 1] += extra  # noqa: B023
                return moved

            handles = [tiny.model.model.layers[layer].register_forward_hook(add) for layer in (0, 2)]
            with torch.no_grad():
                scores = tiny.model(input_ids=token_ids).logits[0].log_softmax(-1)
            for handle in handles:
                handle.remove()
            odds.append(sum(float(scores[place - 1, token_ids[0, place]]) for place in places))
        assert found.shifted[0, index] == pytest.approx(odds[0] - odds[1], abs=1e-3)


def test_nothing_added_changes_nothing_and_leaves_no_hook(planted: tuple[Model, Direction]) -> None:
    tiny, direction = planted
    odds = steered_odds(tiny, direction, PAIRS, layers=[1], doses=[0.0], n_random=1, progress=False)
    np.testing.assert_allclose(odds.shifted[0], odds.base, atol=1e-5)
    np.testing.assert_allclose(odds.random[0, 0], odds.base, atol=1e-5)
    before = [dict(block._forward_hooks) for block in tiny.model.model.layers]
    with pytest.raises(RuntimeError, match="stop"), adding(tiny, {0: direction.vectors[0]}, torch.ones(1, 1)):
        raise RuntimeError("stop")
    assert [dict(block._forward_hooks) for block in tiny.model.model.layers] == before


def test_layers_and_doses_count_once(planted: tuple[Model, Direction]) -> None:
    tiny, direction = planted
    once = steer(tiny, direction, PAIRS, layers=[2], doses=[-1.0, 1.0], n_random=2, progress=False)
    twice = steer(tiny, direction, PAIRS, layers=[2, 2], doses=[-1.0, 1, 1.0], n_random=2, progress=False)
    assert twice.equals(once)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 1}, "layers must be a list"),
        ({"layers": [1.9]}, "layers must be whole numbers, not 1.9"),
        ({"layers": [-1]}, "no layer -1; the model has layers 0 to 2"),
        ({"doses": 1.0}, "doses must be a list"),
        ({"doses": ["1"]}, "doses must be finite numbers, not '1'"),
        ({"n_random": -1}, "n_random must be a whole number and at least 0, not -1"),
        ({"n_random": 2.5}, "n_random must be a whole number and at least 0, not 2.5"),
        ({"seed": -1}, "seed must be a whole number and at least 0, not -1"),
    ],
)
def test_settings_that_are_none_are_refused(
    planted: tuple[Model, Direction], options: dict[str, Any], message: str
) -> None:
    tiny, direction = planted
    with pytest.raises(InputError, match=message):
        inspect.unwrap(steer)(tiny, direction, PAIRS, **({"layers": [1], "doses": [1.0]} | options))


def test_a_pair_whose_odds_are_not_finite_is_named() -> None:
    tiny = overflowing_model()
    direction = direction_for(tiny, np.random.default_rng(1), undefined=None)
    pairs = [*PAIRS, replace(PAIRS[0], id="wavy", positive="It ~ so")]
    with pytest.raises(
        InputError, match=r'an answer of pair "wavy": .* not finite in float16; load the model in bfloat'
    ):
        steer(tiny, direction, pairs, layers=[1], doses=[1.0], progress=False)


def test_a_dose_that_passes_the_precision_has_nulls_and_a_reason() -> None:
    tiny = overflowing_model()
    direction = replace(direction_for(tiny, np.random.default_rng(1), undefined=None), standard_deviation=np.ones(3))
    curve = steer(tiny, direction, PAIRS, layers=[1], doses=[-1e6, -1.0, 1.0, 1e6], n_random=2, progress=False)
    for column in curve.select(pl.selectors.float()):
        assert column.is_finite().all() is not False, column.name
    far = curve.filter(pl.col("dose").abs() == 1e6)
    assert far["shift"].null_count() == far["directed"].null_count() == far["directed_p"].null_count() == 4
    assert far["reason"].str.contains(r"the log-odds of \d of 6 pairs are not finite at this dose").all()
    near = curve.filter(pl.col("dose").abs() <= 1.0)
    assert near["shift"].null_count() == 0
    assert near["reason"].null_count() == near.height


def test_the_same_seed_draws_the_same_control(planted: tuple[Model, Direction]) -> None:
    tiny, direction = planted
    first, second, other = (
        steer(tiny, direction, PAIRS, layers=[2], doses=[4.0], seed=seed, progress=False) for seed in (1, 1, 2)
    )
    assert first.equals(second)
    assert not first.equals(other)


def test_what_is_no_test_is_refused(planted: tuple[Model, Direction]) -> None:
    tiny, direction = planted
    known = [replace(pair, topic=direction.source.topics[0]) for pair in PAIRS]
    with pytest.raises(InputError, match='fitted on the topic "a"'):
        steer(tiny, direction, known, layers=[2], doses=[1.0])
    assert steer(tiny, direction, known, layers=[2], doses=[1.0], fitted_topics=True, progress=False).height == 4
    with pytest.raises(InputError, match="no layer 7; the model has layers 0 to 2"):
        steer(tiny, direction, PAIRS, layers=[7])
    with pytest.raises(InputError, match="no doses"):
        steer(tiny, direction, PAIRS, layers=[1], doses=[])
    with pytest.raises(InputError, match="no layers"):
        steer(tiny, direction, PAIRS, layers=[])
    with pytest.raises(InputError, match="finite"):
        steer(tiny, direction, PAIRS, layers=[1], doses=[np.nan])
    reasons = (None, "constant here", None)
    with pytest.raises(InputError, match="no vector at layer 1: constant here"):
        steer(tiny, replace(direction, reasons=reasons), PAIRS, layers=[1])
