"""The camera keeps the reading direction and gives up plains before peaks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from mpl_toolkits.mplot3d import proj3d
from scipy.interpolate import RegularGridInterpolator

from foretell.showing.figures.surfaces.surface_camera import BOX, best_camera, hidden_points


def seen(height: np.ndarray, at: tuple[int, int], camera: tuple[float, float]) -> bool:
    """Follow the ray from a point to the eye in small steps over the interpolated surface."""
    shape = height.shape
    axes = tuple(np.linspace(0, extent, n) for extent, n in zip(BOX[:2], shape, strict=True))
    surface = RegularGridInterpolator(axes, height * BOX[2] / 2, bounds_error=False, fill_value=-9.0)
    elevation, azimuth = np.deg2rad(camera)
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    start = np.array([axes[0][at[0]], axes[1][at[1]], height[at] * BOX[2] / 2 + 1e-3])
    ray = start + np.linspace(0.0, 3.0, 3000)[:, None] * towards
    return bool((surface(ray[:, :2]) <= ray[:, 2]).all())


def planted(wall: str) -> tuple[np.ndarray, tuple[int, int]]:
    """A peak behind a wall that hides it from the usual view: the wall stands in front of it, or to its right."""
    layer, token = np.indices((32, 40))
    place = (16, 12)
    height = -0.8 + 1.5 * np.exp(-((layer - place[0]) ** 2 + (token - place[1]) ** 2) / 6.0)
    if wall == "front":
        height[:, 3] = 1.0
    else:
        height[21] = 1.0
    return height, place


@pytest.mark.parametrize("wall", ["front", "right"])
def test_a_planted_peak_is_seen_past_the_wall_before_it(wall: str) -> None:
    height, place = planted(wall)
    camera = best_camera([height])
    assert seen(height, place, camera)
    assert not hidden_points(height, camera)[place]


def test_the_usual_view_would_have_hidden_the_peak() -> None:
    for wall in ("front", "right"):
        height, (layer, token) = planted(wall)
        shoulders = [(layer + 1, token - 2), (layer + 2, token - 1), (layer + 2, token)]
        assert not all(seen(height, at, (30.0, -55.0)) for at in shoulders)


def test_layers_run_to_the_right_and_tokens_away_whatever_the_surface(generator: np.random.Generator) -> None:
    canvas = Canvas()
    axes = canvas.add_subplot(projection="3d")
    for _ in range(40):
        rough = np.clip(np.cumsum(generator.normal(size=(12, 15)), axis=generator.integers(2)), -1, 1)
        for height in (rough, rough[::-1], rough[:, ::-1]):
            elevation, azimuth = best_camera([height])
            assert 30.0 <= elevation <= 48.0
            assert -70.0 <= azimuth <= -30.0
            axes.view_init(elev=elevation, azim=azimuth)
            axes.set_box_aspect(BOX)
            x, y, depth = (
                np.array(part) for part in proj3d.proj_transform([0, 1, 0], [0, 0, 1], [0, 0, 0], axes.get_proj())
            )
            assert x[1] > x[0]
            assert y[2] > y[0]
            assert depth[2] != depth[0]


def test_hidden_points_agree_with_rays_over_the_interpolated_surface(generator: np.random.Generator) -> None:
    layer, token = np.indices((24, 30))
    smooth = np.sin(layer / 3.0) * np.cos(token / 4.0) * 0.9
    agreed = []
    for camera in ((30.0, -55.0), (48.0, -30.0)):
        hidden = hidden_points(smooth, camera)
        places = [at for at in product(range(2, 22), range(2, 28)) if generator.random() < 0.15]
        agreed += [seen(smooth, at, camera) == (not hidden[at]) for at in places]
    assert np.mean(agreed) > 0.9


def test_what_is_undefined_neither_hides_nor_counts() -> None:
    height = np.full((6, 7), np.nan)
    assert not hidden_points(height, (30.0, -55.0)).any()
    assert best_camera([height]) == (30.0, -55.0)
