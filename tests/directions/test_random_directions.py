"""Directions drawn at random: even over all directions, the same for ever, and with a scale of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy import stats

from foretell.directions.direction import Direction
from foretell.directions.random_directions import random_scale, random_vectors
from foretell.errors import InputError
from tests.directions.test_direction import direction_for
from tests.reading.tiny import tiny_model


def test_they_are_even_over_all_directions() -> None:
    drawn = random_vectors(4000, 6, seed=3)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0)
    # One coordinate of a uniform unit vector of width w: its square is Beta(1/2, (w - 1) / 2).
    for axis in range(6):
        assert stats.kstest(drawn[:, axis] ** 2, stats.beta(0.5, 2.5).cdf).pvalue > 1e-3
    assert np.abs(drawn.mean(axis=0)).max() < 0.03
    gram = drawn.T @ drawn / len(drawn)
    np.testing.assert_allclose(gram, np.eye(6) / 6, atol=0.02)


def test_a_seed_gives_the_same_vectors_for_ever() -> None:
    known = [0.18660608, -0.32674549, -0.92650718]
    np.testing.assert_allclose(random_vectors(1, 3, seed=0)[0], known, atol=1e-6)
    np.testing.assert_array_equal(random_vectors(5, 7, seed=1)[:2], random_vectors(2, 7, seed=1))
    assert not np.allclose(random_vectors(2, 7, seed=1), random_vectors(2, 7, seed=2))


def test_their_scale_is_that_of_the_calibration_tokens(generator: np.random.Generator) -> None:
    tokens = (generator.normal(size=(90, 3, 8)) * [[[1.0]], [[5.0]], [[0.1]]][1] + 2.0).astype(np.float32)
    tokens[:, 2] = tokens[0, 2]
    scale = random_scale(tokens, n_draws=20, seed=4)
    assert scale.n_draws == 20
    activity = scale.activity(tokens.swapaxes(0, 1))
    np.testing.assert_allclose(activity[:, :2].mean(axis=2), 0.0, atol=1e-6)
    np.testing.assert_allclose(activity[:, :2].std(axis=2), 1.0, atol=1e-6)
    assert np.isnan(activity[:, 2]).all()
    assert (scale.standard_deviation[:, 2] == 0.0).all()
    np.testing.assert_array_equal(scale.activity(tokens.swapaxes(0, 1), n_draws=3), activity[:3])


def test_a_saved_direction_keeps_them_and_one_without_stays_without(
    generator: np.random.Generator, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    bare = direction_for(model, generator)
    random = random_scale(generator.normal(size=(30, model.n_layers, model.width)).astype(np.float32), seed=9)
    for direction in (bare, replace(bare, random=random)):
        direction.save(tmp_path / "lying.safetensors", overwrite=True)
        loaded = Direction.load(tmp_path / "lying.safetensors")
        assert (loaded.random is None) == (direction.random is None)
    assert loaded.random is not None
    assert loaded.random.seed == 9
    assert loaded.random.mean.tobytes() == random.mean.tobytes()
    assert loaded.random.standard_deviation.tobytes() == random.standard_deviation.tobytes()


@pytest.mark.parametrize("damage", ["shape", "negative", "half"])
def test_damaged_scales_are_refused(generator: np.random.Generator, tmp_path: Path, damage: str) -> None:
    model = tiny_model("llama")
    random = random_scale(generator.normal(size=(30, model.n_layers, model.width)).astype(np.float32))
    path = tmp_path / "lying.safetensors"
    replace(direction_for(model, generator), random=random).save(path)
    arrays = load_file(path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    if damage == "shape":
        arrays["random_mean"] = arrays["random_mean"][:, :1]
    elif damage == "negative":
        arrays["random_standard_deviation"] = -arrays["random_standard_deviation"]
    else:
        del arrays["random_mean"]
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, path, metadata=metadata)
    with pytest.raises(InputError, match="holds no direction"):
        Direction.load(path)
